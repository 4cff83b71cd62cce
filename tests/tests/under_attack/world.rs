//! A server under attack, and somebody who needs it.

use std::ffi::OsStr;
use std::time::Duration;

use tests::adit::{self, Adit};
use tests::algorithms::Suite;
use tests::endpoint::Duplex;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{ClientSettings, Keyring, Login, PASSWORD, RunningClient, USER};
use tests::process::Process;
use tests::traffic::Target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

pub(super) struct World {
    pub(super) adit: Adit,
    keys: Keyring,
    suite: Suite,
    echo: Target,
    files: tempfile::TempDir,
}

impl World {
    pub(super) async fn new() -> Outcome<Self> {
        let files = tempfile::TempDir::new()?;
        std::fs::write(files.path().join("password"), format!("{PASSWORD}\n"))?;
        Ok(Self {
            adit: Adit::find().await?,
            keys: Keyring::generate().await?,
            suite: Suite::default(),
            echo: Target::echo().await?,
            files,
        })
    }

    fn user_key(&self) -> Outcome<&KeyFile> {
        self.keys.user(KeyKind::Ed25519)
    }

    /// The command line of a server with these arguments.
    pub(super) fn server(&self, arguments: &[&str]) -> Outcome<Command> {
        let mut command = self.adit.command(["serve", "--json", "--listen", "127.0.0.1:0"]);
        command.arg("--host-key").arg(&self.keys.host(KeyKind::Ed25519)?.path);
        command.arg("--authorized-keys").arg(&self.user_key()?.public);
        command.arg("--user").arg(format!("{USER}:{}", self.files.path().join("password").display()));
        command.args(["--permit-open", "any"]).args(arguments);
        Ok(command)
    }

    pub(super) async fn serve(&self, arguments: &[&str]) -> Outcome<(Process, u16)> {
        self.start(&mut self.server(arguments)?).await
    }

    /// Starts a server's command line; its port.
    pub(super) async fn start(&self, command: &mut Command) -> Outcome<(Process, u16)> {
        let mut process = Process::spawn("adit serve", command)?;
        let port = adit::port(&adit::event(&mut process, "listening").await?, "addr")?;
        Ok((process, port))
    }

    /// `adit forward` to there, with a way to an echo.
    pub(super) async fn forward(&self, port: u16, arguments: &[&str]) -> Outcome<RunningClient> {
        let settings = ClientSettings {
            port,
            host_key: self.keys.host(KeyKind::Ed25519)?,
            login: Login::Key(self.user_key()?),
            suite: &self.suite,
            local: Some(self.echo.port),
            remote: None,
            rekey_bytes: None,
        };
        self.adit.connect_with(settings, arguments).await
    }

    /// Somebody logs in, and is served.
    pub(super) async fn check(&self, port: u16) -> Outcome {
        let client = self.forward(port, &[]).await?;
        let mut stream = open(&client).await?;
        say(&mut stream, b'1').await
    }
}

/// A connection through the tunnel.
pub(super) async fn open(client: &RunningClient) -> Outcome<Box<dyn Duplex>> {
    let entry = client.local.as_ref().ok_or_else(|| Failure::new("the tunnel has no entry"))?;
    let mut stream = entry.connect().await?;
    say(&mut stream, b'0').await?;
    Ok(stream)
}

/// A byte there and back.
pub(super) async fn say(stream: &mut Box<dyn Duplex>, byte: u8) -> Outcome {
    within(STEP, "a byte there and back", async {
        stream.write_all(&[byte]).await?;
        let back = stream.read_u8().await?;
        ensure(back == byte, || format!("{byte} came back as {back}"))
    })
    .await
}

/// The command line, run by a shell that does this first.
pub(super) fn after(script: &str, command: &Command) -> Command {
    let command = command.as_std();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{script}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove::<&OsStr>(name),
        };
    }
    shell
}

/// Processor time that a process has taken.
pub(super) fn processor_time(process: &Process) -> Outcome<Duration> {
    let id = process.id().ok_or_else(|| Failure::new("it has ended"))?;
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    let all = ticks(11).zip(ticks(12)).ok_or_else(|| Failure::new("the times are not there"))?;
    // In hundredths of a second on every Linux.
    Ok(Duration::from_millis((all.0 + all.1) * 10))
}

/// The server is as well as before: it runs, and nothing in it failed.
pub(super) fn assert_well(process: &mut Process) -> Outcome {
    ensure(process.is_running(), || "the server has ended".to_owned())
        .and_then(|()| ensure(!process.log().contains("panicked"), || "something panicked".to_owned()))
        .map_err(|failure| process.explain(failure))
}
