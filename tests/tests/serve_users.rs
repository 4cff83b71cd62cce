//! Who may log in at `adit serve`: with the same `authorized_keys` as OpenSSH's server, with certificates, hashed
//! passwords, several steps, and after files have changed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::algorithms::Suite;
use tests::endpoint::Endpoint;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::openssh::OpenSsh;
use tests::peers::{ClientSettings, Keyring, Login, PASSWORD, Peer, ServerSettings, USER};
use tests::process::Process;
use tests::traffic::{Ending, Target, exchange};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// What a client is let do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct May {
    log_in: bool,
    reach_one: bool,
    reach_two: bool,
    listen: bool,
}

const ALL: May = May { log_in: true, reach_one: true, reach_two: true, listen: true };
const NOTHING: May = May { log_in: false, reach_one: false, reach_two: false, listen: false };
const NO_FORWARDS: May = May { log_in: true, ..NOTHING };
const ONE_AND_LISTEN: May = May { reach_two: false, ..ALL };

struct World {
    adit: Adit,
    openssh: OpenSsh,
    keys: Keyring,
    one: Target,
    two: Target,
}

impl World {
    async fn new() -> Outcome<Option<Self>> {
        let Some(openssh) = OpenSsh::find().await? else { return Ok(None) };
        let (one, two) = (Target::echo().await?, Target::echo().await?);
        Ok(Some(Self { adit: Adit::find().await?, openssh, keys: Keyring::generate().await?, one, two }))
    }

    /// What OpenSSH's client may do with `key` where `authorized` is the file of authorized keys.
    async fn may<P: Peer>(&self, server: &P, authorized: &Path, key: &KeyFile) -> Outcome<May> {
        let suite = Suite::default();
        let host_key = self.keys.host(KeyKind::Ed25519)?;
        let user_key = &KeyFile { public: authorized.to_owned(), ..key.clone() };
        let server =
            server.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
        let settings = ClientSettings {
            port: server.port,
            host_key,
            login: Login::Key(key),
            suite: &suite,
            local: None,
            remote: None,
            rekey_bytes: None,
        };
        let client = match self.openssh.connect(settings).await {
            Ok(client) => client,
            Err(failure) if failure.to_string().contains("Permission denied") => return Ok(NOTHING),
            Err(failure) => return Err(failure.with_log("server", &server.log())),
        };
        drop(client);
        let mut may = NO_FORWARDS;
        for (target, reached) in [(&self.one, &mut may.reach_one), (&self.two, &mut may.reach_two)] {
            let client =
                self.openssh.connect(ClientSettings { local: Some(target.port), ..settings }).await?;
            *reached = is_echoed(client.local.as_ref()).await?;
        }
        let remote = self.openssh.connect(ClientSettings { remote: Some(self.one.port), ..settings }).await;
        may.listen = match remote {
            Ok(client) => is_echoed(client.remote.as_ref()).await?,
            Err(_) => false,
        };
        Ok(may)
    }

    async fn compare(&self, name: &str, lines: &str, key: &KeyFile, expected: May) -> Outcome {
        let folder = TempDir::new()?;
        let authorized = folder.path().join("authorized_keys");
        std::fs::write(&authorized, lines)?;
        let there = self.may(&self.openssh, &authorized, key).await?;
        let here = self.may(&self.adit, &authorized, key).await?;
        ensure(there == expected, || format!("{name}: OpenSSH allows {there:?}, not {expected:?}"))?;
        ensure(here == expected, || format!("{name}: Adit allows {here:?}, OpenSSH {there:?}"))
    }
}

async fn is_echoed(entry: Option<&Endpoint>) -> Outcome<bool> {
    let Some(entry) = entry else { return Ok(false) };
    let stream = entry.connect().await?;
    Ok(within(STEP, "an exchange", exchange(stream, 3, 1000, Ending::HalfClose)).await.is_ok())
}

#[tokio::test]
async fn options_of_authorized_keys_mean_what_they_mean_to_openssh() -> Outcome {
    let Some(world) = World::new().await? else { return Ok(()) };
    let key = world.keys.user(KeyKind::Ed25519)?;
    let line = key.public_line()?;
    let other = world.keys.user(KeyKind::Ecdsa(256))?.public_line()?;
    let one = world.one.port;
    let open_one = format!("permitopen=\"127.0.0.1:{one}\"");
    for (options, expected) in [
        ("", ALL),
        ("no-pty,no-X11-forwarding,no-agent-forwarding,no-user-rc,command=\"echo \\\"a, b\\\"\"", ALL),
        ("from=\"127.0.0.1\"", ALL),
        ("from=\"127.0.0.0/8\"", ALL),
        ("from=\"127.0.*\"", ALL),
        ("from=\"10.0.0.0/8,127.0.0.1/32\"", ALL),
        ("from=\"10.0.0.0/8\"", NOTHING),
        ("from=\"*,!127.0.0.1\"", NOTHING),
        ("from=\"!127.0.0.0/8,*\"", NOTHING),
        ("from=\"!10.0.0.0/8\"", NOTHING),
        ("from=\"*.example.com\"", NOTHING),
        ("from=\"127.0.0.1/8\"", NOTHING),
        ("from=\"::1\"", NOTHING),
        ("from=\"127.0.0.1\",from=\"127.0.0.1\"", NOTHING),
        ("expiry-time=\"20200101\"", NOTHING),
        ("expiry-time=\"202001011200Z\"", NOTHING),
        ("expiry-time=\"20991231\"", ALL),
        ("expiry-time=\"20991231235959Z\"", ALL),
        ("expiry-time=\"20991231\",expiry-time=\"20200101\"", NOTHING),
        ("expiry-time=\"tomorrow\"", NOTHING),
        ("no-port-forwarding", NO_FORWARDS),
        ("restrict", NO_FORWARDS),
        ("restrict,port-forwarding", ALL),
        ("port-forwarding,restrict", NO_FORWARDS),
        (&open_one, ONE_AND_LISTEN),
        (&format!("{open_one},permitopen=\"localhost:1\""), ONE_AND_LISTEN),
        (&format!("restrict,{open_one}"), NO_FORWARDS),
        (&format!("restrict,port-forwarding,{open_one}"), ONE_AND_LISTEN),
        ("permitopen=\"127.0.0.1:*\"", ALL),
        ("permitlisten=\"1\"", May { listen: false, ..ALL }),
        ("permitlisten=\"localhost:1\"", May { listen: false, ..ALL }),
        ("permitopen=\"nonsense\"", NOTHING),
        ("cert-authority", NOTHING),
        ("unknown-option", NOTHING),
        ("restrict=\"x\"", NOTHING),
        ("command=unquoted", NOTHING),
        ("command=\"unclosed", NOTHING),
        ("environment=\"A=b\",tunnel=\"0\"", ALL),
    ] {
        world.compare(options, &format!("{options} {line}\n"), key, expected).await?;
    }
    let lines =
        format!("# comment\n\nfrom=\"10.0.0.1\" {line}\n{other}\n\trestrict {line} someone\n{line}\n");
    world.compare("the first line that allows it", &lines, key, NO_FORWARDS).await
}

#[tokio::test]
async fn certificates_mean_what_they_mean_to_openssh() -> Outcome {
    let Some(world) = World::new().await? else { return Ok(()) };
    let authority = world.keys.user(KeyKind::Ecdsa(384))?;
    let line = authority.public_line()?;
    // The lines' options, what the certificate is made with, and what follows.
    for (options, made_with, expected) in [
        ("cert-authority", &["-n", USER][..], ALL),
        ("cert-authority", &["-n", "somebody,else"], NOTHING),
        ("cert-authority,principals=\"team,boss\"", &["-n", "x,team"], ALL),
        ("cert-authority,principals=\"team\"", &["-n", USER], NOTHING),
        ("", &["-n", USER], NOTHING),
        ("cert-authority,restrict", &["-n", USER], NO_FORWARDS),
        ("cert-authority,from=\"10.0.0.1\"", &["-n", USER], NOTHING),
        ("cert-authority,expiry-time=\"20200101\"", &["-n", USER], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "20200101:20200102"], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "+1d:+2d"], NOTHING),
        ("cert-authority", &["-n", USER, "-V", "-1h:+1h"], ALL),
        ("cert-authority", &["-n", USER, "-O", "source-address=10.0.0.0/8"], NOTHING),
        ("cert-authority", &["-n", USER, "-O", "source-address=127.0.0.1/32"], ALL),
        ("cert-authority", &["-n", USER, "-O", "no-port-forwarding"], NO_FORWARDS),
        ("cert-authority", &["-n", USER, "-O", "clear"], NO_FORWARDS),
        ("cert-authority", &["-n", USER, "-O", "critical:unknown@example.com"], NOTHING),
        ("cert-authority", &["-n", USER, "-O", "extension:unknown@example.com"], ALL),
        ("cert-authority", &["-n", USER, "-h"], NOTHING),
        ("cert-authority,command=\"true\"", &["-n", USER], ALL),
        ("cert-authority,command=\"true\"", &["-n", USER, "-O", "force-command=true"], ALL),
        ("cert-authority,command=\"true\"", &["-n", USER, "-O", "force-command=false"], NOTHING),
    ] {
        let folder = TempDir::new()?;
        let key = certified(folder.path(), authority, made_with).await?;
        let name = format!("{options} {made_with:?}");
        world.compare(&name, &format!("{options} {line}\n"), &key, expected).await?;
    }
    Ok(())
}

/// A key with a certificate beside it.
async fn certified(folder: &Path, authority: &KeyFile, made_with: &[&str]) -> Outcome<KeyFile> {
    let key = KeyFile::generate(folder, "certified", KeyKind::Ed25519).await?;
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "its id", "-s"]).arg(&authority.path).args(made_with).arg(&key.public);
    output(&mut sign).await?;
    Ok(key)
}

/// `adit serve` with these users, and OpenSSH's client at its door.
struct Door {
    process: Process,
    port: u16,
    files: TempDir,
    host_key: String,
}

impl Door {
    async fn open(arguments: &[&str], files: TempDir) -> Outcome<Self> {
        let adit = Adit::find().await?;
        let host = KeyFile::generate(files.path(), "host", KeyKind::Ed25519).await?;
        let mut command =
            adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
        command.arg("--host-key").arg(&host.path).args(arguments);
        let mut process = Process::spawn("adit serve", &mut command)?;
        let port = adit::port(&adit::event(&mut process, "listening").await?, "addr")?;
        Ok(Self { process, port, files, host_key: host.public_line()? })
    }

    fn ssh(&self, options: &[&str], password: &str) -> Outcome<Command> {
        use std::os::unix::fs::PermissionsExt;
        let known_hosts = self.files.path().join("known_hosts");
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {}\n", self.port, self.host_key))?;
        let askpass = self.files.path().join("askpass");
        std::fs::write(&askpass, format!("#!/bin/sh\necho '{password}'\n"))?;
        std::fs::set_permissions(&askpass, PermissionsExt::from_mode(0o700))?;
        let mut command = Command::new("ssh");
        command.env_remove("SSH_AUTH_SOCK").env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
        command.args(["-F", "none", "-N", "-p", &self.port.to_string(), "-l", USER, "127.0.0.1"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
        for option in [
            "GlobalKnownHostsFile=none",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "NumberOfPasswordPrompts=1",
            "PermitLocalCommand=yes",
            "LocalCommand=echo ready",
        ] {
            command.args(["-o", option]);
        }
        command.args(options);
        Ok(command)
    }

    /// Whether `ssh` gets in, and what it says.
    async fn lets_in(&self, options: &[&str], password: &str) -> Outcome<(bool, String)> {
        let mut client = Process::spawn("ssh", &mut self.ssh(options, password)?)?;
        let said = client.next_line(STEP).await?;
        if said.is_none() {
            client.exit(STEP).await?;
        }
        Ok((said.as_deref() == Some("ready"), client.log()))
    }

    async fn expect(&self, options: &[&str], password: &str, expected: bool) -> Outcome {
        let (came_in, log) = self.lets_in(options, password).await?;
        ensure(came_in == expected, || format!("{options:?} {password:?}: came in: {came_in}; {log}"))
            .map_err(|failure| self.process.explain(failure))
    }
}

const PASSWORD_ONLY: &[&str] = &["-o", "PreferredAuthentications=password"];

async fn hash_password(password: &str) -> Outcome<String> {
    let adit = Adit::find().await?;
    let mut command = adit.command(["hash-password"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("no stdin"))?;
    stdin.write_all(format!("{password}\r\nsecond line\n").as_bytes()).await?;
    drop(stdin);
    let said = within(STEP, "hashing", async { Ok(child.wait_with_output().await?) }).await?;
    let text = String::from_utf8_lossy(&said.stdout).trim_end().to_owned();
    ensure(said.status.success() && text.lines().count() == 1, || format!("hash-password said {text:?}"))?;
    Ok(text)
}

fn write(folder: &TempDir, name: &str, content: &str) -> Outcome<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

#[tokio::test]
async fn hashed_passwords_let_in_and_a_changed_file_counts_at_once() -> Outcome {
    let files = TempDir::new()?;
    let argon = hash_password(PASSWORD).await?;
    ensure(argon.starts_with("$argon2id$v=19$"), || argon.clone())?;
    let crypt = output(Command::new("openssl").args(["passwd", "-6", PASSWORD])).await?;
    let path = write(&files, "password", &format!("{argon}\n"))?;
    let mut door = Door::open(&["--user", &format!("{USER}:{}", path.display())], files).await?;
    door.expect(PASSWORD_ONLY, PASSWORD, true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["methods"] == serde_json::json!(["password"]), || event.to_string())?;
    door.expect(PASSWORD_ONLY, "wrong", false).await?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    ensure(event["reason"] == "wrong password" && event["user"] == USER, || event.to_string())?;

    // The same password under another hash, another password, none, and a hash that costs too much.
    std::fs::write(&path, &crypt)?;
    door.expect(PASSWORD_ONLY, PASSWORD, true).await?;
    std::fs::write(&path, hash_password("another").await?)?;
    door.expect(PASSWORD_ONLY, PASSWORD, false).await?;
    door.expect(PASSWORD_ONLY, "another", true).await?;
    for broken in [
        "",
        "$6$rounds=999999999$salt$x",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA",
    ] {
        std::fs::write(&path, broken)?;
        door.expect(PASSWORD_ONLY, "another", false).await?;
        let warning = adit::event(&mut door.process, "warning").await?;
        ensure(adit::text(&warning, "message")?.contains("it lets nobody in"), || warning.to_string())?;
    }
    std::fs::write(&path, "plain\n")?;
    door.expect(PASSWORD_ONLY, "plain", true).await?;
    let warning = adit::event(&mut door.process, "warning").await?;
    ensure(adit::text(&warning, "message")?.contains("adit hash-password"), || warning.to_string())
}

#[tokio::test]
async fn a_key_that_is_taken_away_is_refused_without_a_restart() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let path = write(&files, "authorized", &format!("{} as a fingerprint\n", key.fingerprint))?;
    let arguments = ["--authorized-keys", &path.display().to_string()];
    let mut door = Door::open(&arguments, files).await?;
    let with_key = ["-i", &key.path.display().to_string()];
    door.expect(&with_key, "", true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["keys"] == serde_json::json!([key.fingerprint]), || event.to_string())?;
    for (content, expected) in [
        ("# nobody\n".to_owned(), false),
        (format!("from=\"10.0.0.1\" {}", key.public_line()?), false),
        (key.public_line()?, true),
    ] {
        std::fs::write(&path, content)?;
        door.expect(&with_key, "", expected).await?;
    }
    std::fs::remove_file(&path)?;
    door.expect(&with_key, "", false).await?;
    // Each of them is on record, though the client only asked if its key would do.
    std::fs::write(&path, "# nobody\n")?;
    door.expect(&with_key, "", false).await?;
    for reason in ["not this user's", "from=", "could not be checked", "not this user's"] {
        let event = adit::event(&mut door.process, "login_failed").await?;
        ensure(event["method"] == "publickey" && adit::text(&event, "reason")?.contains(reason), || {
            format!("{event} instead of {reason}")
        })?;
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_a_kind_that_is_off_by_default_may_be_added_later() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ecdsa(521)).await?;
    let path = write(&files, "authorized", "# nobody yet\n")?;
    let door = Door::open(&["--authorized-keys", &path.display().to_string()], files).await?;
    let with_key = ["-i", &key.path.display().to_string()];
    door.expect(&with_key, "", false).await?;
    std::fs::write(&path, key.public_line()?)?;
    door.expect(&with_key, "", true).await
}

#[tokio::test]
async fn a_banner_is_shown_whole_or_its_file_is_complained_of() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    let user = format!("{USER}:{}", write(&files, "password", PASSWORD)?.display());
    // 8 KiB, the most that there may be.
    let text = format!("{}\n", "x".repeat(127)).repeat(64);
    let banner = write(&files, "banner", &text)?;
    let arguments = ["--user", &user, "--banner", &banner.display().to_string()];
    let mut door = Door::open(&arguments, files).await?;
    for expected in [Some(text.as_str()), None] {
        if expected.is_none() {
            std::fs::write(&banner, "x".repeat(8193))?;
        }
        let shown = std::sync::Arc::new(std::sync::Mutex::new(None));
        let noted = std::sync::Arc::clone(&shown);
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .on_banner(move |text| {
                *noted.lock().unwrap_or_else(|error| error.into_inner()) = Some(text.to_owned())
            })
            .authenticate(Credential::password(PASSWORD));
        let config = config.build().map_err(|error| Failure::new(error.to_string()))?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", door.port)).await?;
        client::connect(stream, config).await.map_err(|error| Failure::new(error.to_string()))?;
        let shown = shown.lock().map_or(None, |mut shown| shown.take());
        ensure(shown.as_deref().map(str::trim_end) == expected.map(str::trim_end), || format!("{shown:?}"))?;
    }
    within(STEP, "the complaint", async {
        loop {
            let warning = adit::event(&mut door.process, "warning").await?;
            let message = adit::text(&warning, "message")?.to_owned();
            if message.contains("banner") {
                return ensure(message.contains("nobody is shown it"), || message);
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_reason_for_a_refused_key_is_said_here_and_not_there() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let path = write(&files, "authorized", &format!("expiry-time=\"20200101Z\" {}\n", key.public_line()?))?;
    let mut door = Door::open(&["--authorized-keys", &path.display().to_string()], files).await?;
    let (came_in, log) = door.lets_in(&["-i", &key.path.display().to_string()], "").await?;
    ensure(!came_in && !log.contains("expiry"), || log)?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    let reason = adit::text(&event, "reason")?;
    ensure(reason.contains("authorized:1") && reason.contains("expiry-time"), || event.to_string())
}

#[tokio::test]
async fn a_trusted_authority_lets_in_whom_it_names() -> Outcome {
    let files = TempDir::new()?;
    let authority = KeyFile::generate(files.path(), "ca", KeyKind::Ed25519).await?;
    let named = TempDir::new()?;
    let other = TempDir::new()?;
    let ours = certified(named.path(), &authority, &["-n", USER]).await?;
    let theirs = certified(other.path(), &authority, &["-n", "theirs"]).await?;
    let mut door = Door::open(&["--trusted-ca", &authority.public.display().to_string()], files).await?;
    door.expect(&["-i", &ours.path.display().to_string()], "", true).await?;
    let event = adit::event(&mut door.process, "logged_in").await?;
    ensure(event["keys"] == serde_json::json!([ours.fingerprint]), || event.to_string())?;
    door.expect(&["-i", &theirs.path.display().to_string()], "", false).await?;
    let event = adit::event(&mut door.process, "login_failed").await?;
    ensure(adit::text(&event, "reason")?.contains("its id"), || event.to_string())?;
    // The authority itself is nobody.
    door.expect(&["-i", &authority.path.display().to_string()], "", false).await
}

#[tokio::test]
async fn what_is_required_is_required() -> Outcome {
    let files = TempDir::new()?;
    let key = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let second = KeyFile::generate(files.path(), "second", KeyKind::Ecdsa(256)).await?;
    let lines = format!("restrict,port-forwarding {}\n{}\n", key.public_line()?, second.public_line()?);
    let authorized = write(&files, "authorized", &lines)?.display().to_string();
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    let (key, second) = (key.path.display().to_string(), second.path.display().to_string());
    let one_key = ["-i", &key];
    let (with_one, with_two) = (
        ["-i", &key, "-o", "PreferredAuthentications=publickey"],
        ["-i", &key, "-i", &second, "-o", "PreferredAuthentications=publickey"],
    );
    let banner = write(&files, "banner", "Only for those who may.\n")?.display().to_string();
    let common = ["--authorized-keys", &authorized, "--user", &user, "--banner", &banner, "--require"];

    let both = Door::open(&[&common[..], &["publickey+password"]].concat(), TempDir::new()?).await?;
    both.expect(&one_key, PASSWORD, true).await?;
    both.expect(&one_key, "wrong", false).await?;
    both.expect(&with_one, PASSWORD, false).await?;
    both.expect(&with_two, PASSWORD, false).await?;
    both.expect(PASSWORD_ONLY, PASSWORD, false).await?;
    let (_, log) = both.lets_in(&one_key, PASSWORD).await?;
    ensure(log.contains("Only for those who may."), || format!("no banner: {log}"))?;

    let either =
        Door::open(&[&common[..], &["publickey+publickey,keyboard-interactive"]].concat(), TempDir::new()?)
            .await?;
    either.expect(&with_two, PASSWORD, true).await?;
    either.expect(&with_one, PASSWORD, false).await?;
    let asked = ["-o", "PreferredAuthentications=keyboard-interactive"];
    either.expect(&asked, PASSWORD, true).await?;
    either.expect(&asked, "wrong", false).await?;
    either.expect(PASSWORD_ONLY, PASSWORD, false).await
}

/// Says the password, after somebody has written to a file.
#[derive(Debug)]
struct Meanwhile(PathBuf, String);

impl ssh_core::client::PasswordPrompt for Meanwhile {
    fn password(&self) -> futures::future::BoxFuture<'_, Option<zeroize::Zeroizing<String>>> {
        let written = std::fs::write(&self.0, &self.1);
        Box::pin(std::future::ready(written.ok().map(|()| zeroize::Zeroizing::new(PASSWORD.to_owned()))))
    }
}

#[tokio::test]
async fn what_an_earlier_step_may_not_do_the_login_may_not_do() -> Outcome {
    use ssh_core::client::{self, Credential};
    use ssh_core::keys::{KeyPair, SigningKey};
    let files = TempDir::new()?;
    let failure = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let file = KeyFile::generate(files.path(), "user", KeyKind::Ed25519).await?;
    let key = KeyPair::read_file(&file.path, None).map_err(|error| failure(&error))?;
    let (one, two) = (Target::echo().await?, Target::echo().await?);
    let line = file.public_line()?;
    let restricted = format!("permitopen=\"127.0.0.1:{}\" {line}\n", one.port);
    let authorized = write(&files, "authorized", &restricted)?;
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    let path = authorized.display().to_string();
    let arguments = ["--authorized-keys", &path, "--user", &user, "--require", "publickey+password"];
    let door = Door::open(&arguments, TempDir::new()?).await?;
    // The file between the two steps, and what is then allowed.
    for (meanwhile, expected) in [
        (restricted, Some([true, false])),
        (format!("{line}\n"), Some([true, true])),
        (format!("restrict {line}\n"), Some([false, false])),
        ("# nobody\n".to_owned(), None),
    ] {
        std::fs::write(&authorized, format!("{line}\n"))?;
        let signing = SigningKey::new(&key.private, ssh_core::crypto::default_provider());
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .authenticate(Credential::key(signing.map_err(|error| failure(&error))?))
            .authenticate(Credential::ask_password(Meanwhile(authorized.clone(), meanwhile.clone())))
            .build()
            .map_err(|error| failure(&error))?;
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", door.port)).await?;
        let session = client::connect(stream, config).await;
        ensure(session.is_ok() == expected.is_some(), || {
            format!("{meanwhile}: {:?}", session.as_ref().err())
        })?;
        let (Ok(session), Some(expected)) = (session, expected) else { continue };
        for (target, opens) in [&one, &two].into_iter().zip(expected) {
            let mut fields = Vec::new();
            for port in [u32::from(target.port), 1] {
                fields.extend(9_u32.to_be_bytes());
                fields.extend(b"127.0.0.1");
                fields.extend(port.to_be_bytes());
            }
            let opened = session.open_channel_with("direct-tcpip", &fields).await;
            ensure(opened.is_ok() == opens, || format!("{meanwhile}: {:?}", opened.err()))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_met_is_said_at_once() -> Outcome {
    let adit = Adit::find().await?;
    let files = TempDir::new()?;
    let password = write(&files, "password", "x")?;
    let costly = write(&files, "costly", "$6$rounds=999999999$salt$x")?;
    let user = |path: &Path| format!("{USER}:{}", path.display());
    let base = ["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"];
    let missing = files.path().join("missing").display().to_string();
    for (arguments, code, part) in [
        (
            vec!["--user".to_owned(), user(&password), "--require".into(), "publickey+password".into()],
            2,
            "--trusted-ca",
        ),
        (vec!["--require".into(), "password".into()], 2, "--user"),
        (vec!["--require".into(), "magic".into()], 2, "publickey"),
        (vec!["--user".into(), user(&costly)], 8, "rounds"),
        (vec!["--trusted-ca".into(), missing.clone()], 8, "missing"),
        (vec!["--banner".into(), missing], 8, "missing"),
    ] {
        let arguments = base.iter().map(|text| (*text).to_owned()).chain(arguments);
        let exit = adit.run(arguments, STEP).await?;
        let said = exit.events.iter().map(Value::to_string).collect::<String>();
        ensure(exit.code == Some(code) && said.contains(part), || format!("{:?}: {said}", exit.code))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_source_whose_logins_fail_too_often_is_turned_away() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    let user = format!("{USER}:{}", write(&files, "password", &hash_password(PASSWORD).await?)?.display());
    for (arguments, is_refused) in
        [(vec!["--user", &user], true), (vec!["--user", &user, "--no-penalties"], false)]
    {
        let mut door = Door::open(&arguments, TempDir::new()?).await?;
        let port = door.port;
        let fail = move |_| async move {
            let mut config = client::Config::builder(USER).verify_host_key(client::danger::AcceptAnyHostKey);
            for number in 0..5 {
                config = config.authenticate(Credential::password(format!("guess {number}")));
            }
            let Ok(config) = config.build() else { return };
            let Ok(stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
            let _ = client::connect(stream, config).await;
        };
        // Five guesses and the end of each connection: three hundred are too many for loopback.
        futures::StreamExt::for_each_concurrent(futures::stream::iter(0..75), 30, fail).await;
        let (came_in, log) = door.lets_in(PASSWORD_ONLY, PASSWORD).await?;
        ensure(came_in != is_refused, || format!("refused {is_refused}: {log}"))?;
        if is_refused {
            let warning = within(Duration::from_secs(5), "the warning", async {
                loop {
                    let warning = adit::event(&mut door.process, "warning").await?;
                    if warning["message"].as_str().is_some_and(|text| text.contains("turned away")) {
                        return Ok(warning);
                    }
                }
            });
            warning.await.map_err(|failure| door.process.explain(failure))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_guess_counts_although_its_client_does_not_wait_for_the_answer() -> Outcome {
    use ssh_core::client::{self, Credential};
    let files = TempDir::new()?;
    // One that is quickly checked, as are those of users that do not exist.
    let hash = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
    let user = format!("{USER}:{}", write(&files, "password", hash)?.display());
    let mut door = Door::open(&["--user", &user], files).await?;
    let port = door.port;
    let guess = |user: &str, guesses: usize| {
        let mut config = client::Config::builder(user).verify_host_key(client::danger::AcceptAnyHostKey);
        for number in 0..guesses {
            config = config.authenticate(Credential::password(format!("guess {number}")));
        }
        config.build()
    };
    let fail = |number: usize| {
        let config = guess(&format!("loud {number}"), 5);
        async move {
            let (Ok(config), Ok(stream)) =
                (config, tokio::net::TcpStream::connect(("127.0.0.1", port)).await)
            else {
                return;
            };
            let _ = client::connect(stream, config).await;
        }
    };
    // From a hundred failures on, loopback has to wait; after ten more, a second.
    futures::StreamExt::for_each_concurrent(futures::stream::iter(0..25), 25, fail).await;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let config = guess("hasty", 1).map_err(|error| Failure::new(error.to_string()))?;
    let (login, driver) =
        client::connect_with_driver(stream, config).map_err(|error| Failure::new(error.to_string()))?;
    driver.spawn();
    let login = tokio::spawn(login);
    within(STEP, "the guess is on record", async {
        loop {
            let event = adit::event(&mut door.process, "login_failed").await?;
            if event["user"] == "hasty" {
                return ensure(event["reason"] == "unknown user", || event.to_string());
            }
        }
    })
    .await
    .map_err(|failure| door.process.explain(failure))?;
    // On record, while the client still waits out most of its second.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure(!login.is_finished(), || "the client was told as soon as the guess was on record".to_owned())?;
    login.abort();
    Ok(())
}
