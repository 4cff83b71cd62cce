//! The `adit` binary: found or built, run, and understood through its JSON events.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::algorithms::{Algorithms, Suite};
use crate::endpoint::Endpoint;
use crate::outcome::{Failure, Outcome, STEP, ensure, within};
use crate::peers::{
    ClientSettings, Host, Login, PASSWORD, Peer, RunningClient, RunningServer, ServerSettings, USER,
};
use crate::process::Process;

/// The binary under test.
#[derive(Clone)]
pub struct Adit {
    binary: PathBuf,
    home: PathBuf,
    algorithms: Algorithms,
}

/// How a run ended.
#[derive(Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its events, in order.
    pub events: Vec<Value>,
    /// What it wrote for people.
    pub log: String,
}

/// Takes the proxies of whoever runs the tests away: they are for other places than this machine.
pub fn without_proxies(command: &mut Command) {
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
}

impl Adit {
    /// Finds the binary: `ADIT_BIN`, or built by cargo. Being up to date is cargo's business, so it is asked each
    /// time; a stale binary would let a broken change pass.
    ///
    /// # Errors
    /// When there is none and it cannot be built.
    pub async fn find() -> Outcome<Self> {
        static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
        let binary = match std::env::var_os("ADIT_BIN") {
            Some(path) => PathBuf::from(path),
            None => BINARY.get_or_try_init(build).await?.clone(),
        };
        ensure(binary.is_file(), || format!("there is no {}", binary.display()))?;
        // Nobody's known hosts, keys or configuration.
        let home = binary.with_file_name("no-home");
        Ok(Self { binary, home, algorithms: Algorithms::of_adit() })
    }

    /// A command line of it, cut off from the user's own settings.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("HOME", &self.home).env("NO_COLOR", "1");
        for name in ["ADIT_PASSWORD", "ADIT_LOG", "ADIT_RELAY", "ADIT_TOKEN", "SSH_AUTH_SOCK", "RUST_LOG"] {
            command.env_remove(name);
        }
        without_proxies(&mut command);
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it does not end within `limit`, or prints something that is no event.
    pub async fn run<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        limit: Duration,
    ) -> Outcome<Exit> {
        run_to_end(&mut self.command(arguments), limit).await
    }

    /// As [`serve`](Peer::serve), with more arguments.
    ///
    /// # Errors
    /// As for [`serve`](Peer::serve).
    pub async fn serve_with(
        &self,
        settings: ServerSettings<'_>,
        arguments: &[&OsStr],
    ) -> Outcome<RunningServer> {
        let files = TempDir::new()?;
        let password = files.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        let mut command = self.command(["serve", "--json", "--listen", "127.0.0.1:0"]);
        command.arg("--host-key").arg(&settings.host_key.path);
        command.arg("--authorized-keys").arg(&settings.user_key.public);
        command.arg("--user").arg(format!("{USER}:{}", password.display()));
        command.args(["--permit-open", "any", "--permit-listen", "any"]);
        add_common(&mut command, settings.suite, settings.rekey_bytes);
        command.args(arguments);
        let mut process = Process::spawn("adit serve", &mut command)?;
        let listening = event(&mut process, "listening").await?;
        let port = port(&listening, "addr")?;
        Ok(RunningServer { port, host: Host::Process(Box::new(process)), files: Some(files) })
    }
}

/// Runs an `adit` command line to its end.
///
/// # Errors
/// When it does not end within `limit`, or prints something that is no event.
pub async fn run_to_end(command: &mut Command, limit: Duration) -> Outcome<Exit> {
    let mut process = Process::spawn("adit", command)?;
    let code = process.exit(limit).await?;
    let mut events = Vec::new();
    while let Some(line) = process.next_line(STEP).await? {
        events.push(parse(&line, &process)?);
    }
    Ok(Exit { code, events, log: process.log() })
}

/// The next event called `name`; others are passed over, an `error` is an error.
///
/// # Errors
/// When it reports an error, ends, or says nothing in time.
pub async fn event(process: &mut Process, name: &str) -> Outcome<Value> {
    event_within(STEP, process, name).await
}

/// As [`event`], with a limit of its own for each line.
///
/// # Errors
/// As for [`event`].
pub async fn event_within(limit: Duration, process: &mut Process, name: &str) -> Outcome<Value> {
    events_until(limit, process, name, &mut Vec::new()).await
}

async fn events_until(
    limit: Duration,
    process: &mut Process,
    name: &str,
    passed: &mut Vec<Value>,
) -> Outcome<Value> {
    while let Some(line) = process.next_line(limit).await? {
        let event = parse(&line, process)?;
        match event.get("event").and_then(Value::as_str) {
            Some(found) if found == name => return Ok(event),
            Some("error") => return Err(process.explain(Failure::new(format!("adit reports {line}")))),
            _ => passed.push(event),
        }
    }
    Err(process.explain(Failure::new(format!("adit ended before its {name} event"))))
}

/// The text field `name` of an event.
///
/// # Errors
/// When it has none.
pub fn text<'a>(event: &'a Value, name: &str) -> Outcome<&'a str> {
    event.get(name).and_then(Value::as_str).ok_or_else(|| Failure::new(format!("no {name:?} in {event}")))
}

/// The port of the address in an event's field `name`.
///
/// # Errors
/// When there is none.
pub fn port(event: &Value, name: &str) -> Outcome<u16> {
    let address = text(event, name)?;
    let parsed: Result<SocketAddr, _> = address.parse();
    let port = parsed.map_err(|_| Failure::new(format!("{address:?} is no address")))?.port();
    ensure(port != 0, || format!("{event} names no real port"))?;
    Ok(port)
}

impl Peer for Adit {
    fn name(&self) -> &'static str {
        "Adit"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.serve_with(settings, &[]).await
    }

    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.connect_with(settings, &[]).await
    }
}

impl Adit {
    /// As [`connect`](Peer::connect), with more arguments.
    ///
    /// # Errors
    /// As for [`connect`](Peer::connect).
    pub async fn connect_with(
        &self,
        settings: ClientSettings<'_>,
        arguments: &[&str],
    ) -> Outcome<RunningClient> {
        let files = TempDir::new()?;
        let mut command = self.command(["forward", "--json", &format!("{USER}@127.0.0.1:{}", settings.port)]);
        command.args(["--host-key", &settings.host_key.fingerprint]);
        add_login(&mut command, settings.login, files.path())?;
        for (option, target) in [("-L", settings.local), ("-R", settings.remote)] {
            if let Some(target) = target {
                command.arg(option).arg(format!("127.0.0.1:0:127.0.0.1:{target}"));
            }
        }
        add_common(&mut command, settings.suite, settings.rekey_bytes);
        command.args(arguments);
        let mut process = Process::spawn("adit forward", &mut command)?;
        let mut forwards = Vec::new();
        let ready = events_until(STEP, &mut process, "ready", &mut forwards).await?;
        check_ready(&ready, settings)?;
        let listener = |kind: &str, wanted: Option<u16>| -> Outcome<Option<Endpoint>> {
            let Some(_) = wanted else { return Ok(None) };
            let found = forwards.iter().find(|event| event.get("kind").and_then(Value::as_str) == Some(kind));
            let event = found.ok_or_else(|| Failure::new(format!("no forward event of kind {kind}")))?;
            Ok(Some(Endpoint::Tcp(port(event, "listen")?)))
        };
        let (local, remote) = (listener("local", settings.local)?, listener("remote", settings.remote)?);
        Ok(RunningClient { process, local, remote, files: Some(files) })
    }
}

fn check_ready(ready: &Value, settings: ClientSettings<'_>) -> Outcome {
    let suite = settings.suite;
    for (name, wanted) in [("kex", suite.kex.as_deref()), ("cipher", suite.cipher.as_deref())] {
        if let Some(wanted) = wanted {
            ensure(text(ready, name)? == wanted, || format!("asked for {wanted}, got {ready}"))?;
        }
    }
    let shown = text(ready, "host_key")?;
    ensure(shown == settings.host_key.fingerprint, || format!("{shown} is not the host key's fingerprint"))
}

fn add_login(command: &mut Command, login: Login<'_>, directory: &Path) -> Outcome {
    match login {
        Login::Key(key) => command.arg("-i").arg(&key.path),
        Login::Password => {
            let file = directory.join("password");
            std::fs::write(&file, format!("{PASSWORD}\n"))?;
            command.arg("--password-file").arg(file)
        }
    };
    Ok(())
}

fn add_common(command: &mut Command, suite: &Suite, rekey_bytes: Option<u64>) {
    for (option, value) in [("--kex", &suite.kex), ("--cipher", &suite.cipher), ("--mac", &suite.mac)] {
        if let Some(value) = value {
            command.args([option, value]);
        }
    }
    if let Some(bytes) = rekey_bytes {
        command.args(["--rekey-bytes", &bytes.to_string()]);
    }
}

fn parse(line: &str, process: &Process) -> Outcome<Value> {
    let parsed: Result<Value, _> = serde_json::from_str(line);
    parsed.map_err(|error| process.explain(Failure::new(format!("{line:?} is no event: {error}"))))
}

/// Builds the binary for the profile these tests were built for, next to where they are.
async fn build() -> Outcome<PathBuf> {
    /// A first build of everything, on a slow machine.
    const LIMIT: Duration = Duration::from_secs(1200);
    let test = std::env::current_exe()?;
    // target/<profile>/deps/<test>
    let profile_folder = test.ancestors().nth(2).ok_or_else(|| Failure::new("the test has no folder"))?;
    let target = profile_folder.parent().unwrap_or(profile_folder);
    let profile = match profile_folder.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", "cli", "--bin", "adit", "--profile", profile]);
    command.arg("--target-dir").arg(target).current_dir(crate::peers::workspace());
    let mut process = Process::spawn("cargo build", &mut command)?;
    let code = within(LIMIT, "building adit", process.exit(LIMIT)).await?;
    ensure(code == Some(0), || "cannot build adit".to_owned()).map_err(|failure| process.explain(failure))?;
    Ok(profile_folder.join("adit"))
}
