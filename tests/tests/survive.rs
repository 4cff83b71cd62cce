//! `adit forward` and `adit serve` when the TCP connection between them does not last.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{Adit, text};
use tests::algorithms::Suite;
use tests::endpoint::{Duplex, Endpoint};
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::openssh::OpenSsh;
use tests::peers::{
    ClientSettings, Host, Keyring, Login, Peer, RunningClient, RunningServer, ServerSettings, USER,
};
use tests::process::Process;
use tests::traffic::{Ending, Target, exchange};
use tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Keys, and a target to forward to.
struct World {
    adit: Adit,
    keys: Keyring,
    suite: Suite,
    echo: Target,
}

impl World {
    async fn new() -> Outcome<Self> {
        Ok(Self {
            adit: Adit::find().await?,
            keys: Keyring::generate().await?,
            suite: Suite::default(),
            echo: Target::echo().await?,
        })
    }

    fn user_key(&self) -> Outcome<&KeyFile> {
        self.keys.user(KeyKind::Ed25519)
    }

    fn server_settings(&self) -> Outcome<ServerSettings<'_>> {
        let host_key = self.keys.host(KeyKind::Ed25519)?;
        Ok(ServerSettings { host_key, user_key: self.user_key()?, suite: &self.suite, rekey_bytes: None })
    }

    async fn serve(&self, arguments: &[&str]) -> Outcome<RunningServer> {
        let arguments: Vec<_> = arguments.iter().map(std::ffi::OsStr::new).collect();
        self.adit.serve_with(self.server_settings()?, &arguments).await
    }

    fn client_settings(&self, port: u16) -> Outcome<ClientSettings<'_>> {
        Ok(ClientSettings {
            port,
            host_key: self.keys.host(KeyKind::Ed25519)?,
            login: Login::Key(self.user_key()?),
            suite: &self.suite,
            local: Some(self.echo.port),
            remote: None,
            rekey_bytes: None,
        })
    }

    async fn forward(&self, wire: &Wire, arguments: &[&str]) -> Outcome<RunningClient> {
        self.adit.connect_with(self.client_settings(wire.port)?, arguments).await
    }
}

fn entry(endpoint: Option<&Endpoint>) -> Outcome<&Endpoint> {
    endpoint.ok_or_else(|| Failure::new("the tunnel has no entry"))
}

/// A connection through the tunnel on which a byte has gone there and back.
async fn open(endpoint: Option<&Endpoint>) -> Outcome<Box<dyn Duplex>> {
    let mut stream = entry(endpoint)?.connect().await?;
    say(&mut stream, b'0').await?;
    Ok(stream)
}

/// A byte there and back.
async fn say(stream: &mut Box<dyn Duplex>, byte: u8) -> Outcome {
    within(STEP, "a byte there and back", async {
        stream.write_all(&[byte]).await?;
        let back = stream.read_u8().await?;
        ensure(back == byte, || format!("{byte} came back as {back}"))
    })
    .await
}

/// Waits for the event `name`.
async fn event(process: &mut Process, name: &str) -> Outcome<Value> {
    tests::adit::event(process, name).await
}

/// How much is sent each way, in bytes, and how many connections are to be lost meanwhile.
fn size() -> Outcome<(u64, u64)> {
    let number = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| Failure::new(format!("{name} is no number"))),
        Err(_) => Ok(default),
    };
    Ok((number("ADIT_SURVIVE_MIB", 64)? * 1024 * 1024, number("ADIT_SURVIVE_KILLS", 25)?))
}

/// The most memory that a process has had, in KiB, where the system tells.
fn most_memory(process: &Process) -> Option<u64> {
    tests::memory::peak_kib(process.id()?)
}

/// The full size, with an optimised binary:
///
/// ```sh
/// cargo build --release -p cli
/// ADIT_BIN=$PWD/target/release/adit ADIT_SURVIVE_MIB=1024 ADIT_SURVIVE_KILLS=200 \
///     cargo test -p tests --test survive nothing_is_lost -- --nocapture
/// ```
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_however_often_the_connection_is() -> Outcome {
    const CONNECTIONS: u64 = 8;
    const MOST_KIB: u64 = 200 * 1024;
    let (bytes, kills) = size()?;
    let world = World::new().await?;
    let server = world.serve(&[]).await?;
    // What goes over the wire is a little more than both ways together, so there will be more kills than asked for.
    let most = 2 * (2 * bytes) / (kills + kills / 3);
    let wire = Wire::with_budget(server.port, move |number| {
        // Each at another offset, and every fifth while the two sides still talk about coming back.
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let random = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
        match number {
            0 => Some(most),
            _ if number % 5 == 0 => Some(random % 4000),
            _ => Some(random % most),
        }
    })
    .await?;
    let mut client = world.forward(&wire, &[]).await?;

    let started = tokio::time::Instant::now();
    let local = client.local.clone();
    let run = (0..CONNECTIONS).map(|number| {
        let local = local.clone();
        tokio::spawn(async move {
            let stream = entry(local.as_ref())?.connect().await?;
            exchange(stream, number, bytes / CONNECTIONS, Ending::HalfClose).await
        })
    });
    let all = async {
        for connection in futures::future::join_all(run).await {
            connection??;
        }
        Ok(())
    };
    let limit = Duration::from_secs(60).max(Duration::from_secs(bytes >> 20));
    let explain = |failure: Failure| client.process.explain(failure.with_log("adit serve", &server.log()));
    within(limit, "sending through connections that break", all).await.map_err(explain)?;
    let took = started.elapsed();

    let killed = wire.kills();
    let memory = [most_memory(&client.process), host_process(&server).and_then(most_memory)];
    eprintln!(
        "{} MiB each way in {took:.1?}, {killed} of {} connections cut, {memory:?} KiB resident at most",
        bytes >> 20,
        wire.connections()
    );
    ensure(killed >= usize::try_from(kills)?, || format!("only {killed} connections were cut"))?;
    ensure(memory.iter().flatten().all(|kib| *kib < MOST_KIB), || format!("{memory:?} KiB resident"))?;
    // The last bytes may have been on a connection that was cut right behind them.
    let mut events = client.process.lines_so_far();
    loop {
        let count = |name: &str| events.iter().filter(|line| line.contains(name)).count();
        let resumed = count(r#""event":"resumed","new_session":false,"streams_lost":0"#);
        if resumed > 0 && resumed == count(r#""event":"disconnected""#) {
            return ensure(count(r#""event":"reconnecting""#) >= resumed, || format!("{events:#?}"));
        }
        let next = client.process.next_line(STEP).await?;
        events.push(next.ok_or_else(|| Failure::new(format!("{events:#?}")))?);
    }
}

fn host_process(server: &RunningServer) -> Option<&Process> {
    match &server.host {
        Host::Process(process) => Some(process),
        Host::Inetd(_) => None,
    }
}

#[tokio::test]
async fn a_connection_that_carries_nothing_any_more_is_replaced_in_time() -> Outcome {
    let world = World::new().await?;
    let server = world.serve(&[]).await?;
    let wire = Wire::to(server.port).await?;
    // Silence of three seconds is death, and so is an attempt that takes two.
    let mut client = world.forward(&wire, &["--keepalive", "1", "--connect-timeout", "2"]).await?;
    let mut stream = open(client.local.as_ref()).await?;
    wire.swallow(true);
    let started = tokio::time::Instant::now();
    stream.write_all(b"1").await?;
    let lost = event(&mut client.process, "disconnected").await?;
    ensure(lost["resumable"] == true, || lost.to_string())?;
    let after = started.elapsed();
    // By keepalives alone it would take 15 s.
    ensure(after < Duration::from_secs(10), || format!("noticed after {after:?}"))?;
    // The next ones are no better at first.
    loop {
        let attempt = event(&mut client.process, "reconnecting").await?;
        if attempt["attempt"] == 3 {
            break;
        }
    }
    wire.swallow(false);
    event(&mut client.process, "resumed").await?;
    let back = within(STEP, "the byte that was swallowed", async { Ok(stream.read_u8().await?) }).await?;
    ensure(back == b'1', || format!("{back} came back"))?;
    say(&mut stream, b'2').await
}

#[tokio::test]
async fn a_server_that_was_started_again_is_logged_in_to_anew() -> Outcome {
    let world = World::new().await?;
    let first = world.serve(&[]).await?;
    let wire = Wire::to(first.port).await?;
    let settings = ClientSettings { remote: Some(world.echo.port), ..world.client_settings(wire.port)? };
    let folder = TempDir::new()?;
    let path = folder.path().join("s");
    let socket = format!("{}:127.0.0.1:{}", path.display(), world.echo.port);
    let mut client = world.adit.connect_with(settings, &["-L", &socket]).await?;
    let inode = std::fs::symlink_metadata(&path)?.ino();
    let mut streams = [open(client.local.as_ref()).await?, open(client.local.as_ref()).await?];
    // Without a goodbye.
    wire.refuse(true);
    drop(first);
    let lost = event(&mut client.process, "disconnected").await?;
    ensure(lost["resumable"] == true, || lost.to_string())?;
    let second = world.serve(&[]).await?;
    wire.lead_to(second.port);
    wire.refuse(false);
    let forward = event(&mut client.process, "forward").await?;
    ensure(forward["kind"] == "remote", || forward.to_string())?;
    let resumed = event(&mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == true && resumed["streams_lost"] == 2, || resumed.to_string())?;
    for stream in &mut streams {
        let end = within(STEP, "the end of a stream", async { Ok(stream.read_u8().await) }).await?;
        ensure(end.is_err(), || "a stream of the lost session goes on".to_owned())?;
    }
    let mut stream = open(client.local.as_ref()).await?;
    say(&mut stream, b'1').await?;
    let _remote = open(client.remote.as_ref()).await?;

    // And with one.
    let Host::Process(process) = &second.host else { return Err(Failure::new("no process")) };
    process.signal(Signal::TERM)?;
    let lost = event(&mut client.process, "disconnected").await?;
    ensure(lost["resumable"] == false, || lost.to_string())?;
    // A listener is there all the time, a socket's as a port's.
    let mut early: [Box<dyn Duplex>; 2] =
        [Box::new(UnixStream::connect(&path).await?), entry(client.local.as_ref())?.connect().await?];
    let third = world.serve(&[]).await?;
    wire.lead_to(third.port);
    let resumed = event(&mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == true && resumed["streams_lost"] == 2, || resumed.to_string())?;
    for stream in &mut early {
        say(stream, b'e').await?;
    }
    ensure(std::fs::symlink_metadata(&path)?.ino() == inode, || "the socket is another".to_owned())?;
    open(client.local.as_ref()).await.map(drop)?;

    client.process.signal(Signal::TERM)?;
    within(STEP, "the end of the socket", async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_server_that_knows_no_reconnecting_is_logged_in_to_anew() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let world = World::new().await?;
    let server = openssh.serve(world.server_settings()?).await?;
    let wire = Wire::to(server.port).await?;
    let settings = ClientSettings { remote: Some(world.echo.port), ..world.client_settings(wire.port)? };
    let mut client = world.adit.connect_with(settings, &[]).await?;
    let mut stream = open(client.local.as_ref()).await?;
    wire.refuse(true);
    wire.cut();
    let lost = event(&mut client.process, "disconnected").await?;
    ensure(lost["resumable"] == false, || lost.to_string())?;
    ensure(stream.read_u8().await.is_err(), || "the stream goes on".to_owned())?;
    let mut early = entry(client.local.as_ref())?.connect().await?;
    event(&mut client.process, "reconnecting").await?;
    wire.refuse(false);
    let resumed = event(&mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == true && resumed["streams_lost"] == 1, || resumed.to_string())?;
    say(&mut early, b'e').await?;
    within(STEP, "the remote forward", async {
        while open(client.remote.as_ref()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_key_that_was_taken_away_resumes_nothing() -> Outcome {
    let world = World::new().await?;
    let folder = TempDir::new()?;
    let authorized = folder.path().join("authorized_keys");
    let line = world.user_key()?.public_line()?;
    let other = world.keys.user(KeyKind::Ecdsa(256))?.public_line()?;
    std::fs::write(&authorized, format!("{line}\n"))?;
    let key = KeyFile { public: authorized.clone(), ..world.user_key()?.clone() };
    let settings = ServerSettings { user_key: &key, ..world.server_settings()? };
    let server = world.adit.serve_with(settings, &[]).await?;
    let wire = Wire::to(server.port).await?;
    let mut client = world.forward(&wire, &[]).await?;
    let mut stream = open(client.local.as_ref()).await?;

    // Another line is no reason to lose anything, but less permission is.
    for (lines, new_session) in [(format!("{other}\n{line}\n"), false), (format!("no-pty {line}\n"), true)] {
        change_while_away(&wire, &mut client, &authorized, &lines).await?;
        let resumed = event(&mut client.process, "resumed").await?;
        ensure(resumed["new_session"] == new_session, || format!("{resumed} with {lines}"))?;
        if new_session {
            stream = open(client.local.as_ref()).await?;
        }
        say(&mut stream, b'1').await?;
    }
    change_while_away(&wire, &mut client, &authorized, &format!("{other}\n")).await?;
    let code = client.process.exit(STEP).await?;
    ensure(code == Some(3), || format!("it ended with {code:?}"))
        .map_err(|failure| client.process.explain(failure))?;
    let last = client.process.lines_so_far().pop().unwrap_or_default();
    let last: Value = serde_json::from_str(&last)?;
    ensure(text(&last, "code")? == "auth", || last.to_string())
}

async fn change_while_away(wire: &Wire, client: &mut RunningClient, file: &Path, lines: &str) -> Outcome {
    wire.refuse(true);
    wire.cut();
    event(&mut client.process, "disconnected").await?;
    std::fs::write(file, lines)?;
    wire.refuse(false);
    Ok(())
}

#[tokio::test]
async fn either_side_may_do_without() -> Outcome {
    let world = World::new().await?;
    let server = world.serve(&[]).await?;
    let wire = Wire::to(server.port).await?;
    let mut client = world.forward(&wire, &["--no-reconnect"]).await?;
    open(client.local.as_ref()).await?;
    wire.cut();
    let code = client.process.exit(STEP).await?;
    ensure(code == Some(5), || format!("it ended with {code:?}"))?;

    let server = world.serve(&["--no-reconnect"]).await?;
    wire.lead_to(server.port);
    let mut client = world.forward(&wire, &[]).await?;
    let _stream = open(client.local.as_ref()).await?;
    wire.cut();
    let resumed = event(&mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == true && resumed["streams_lost"] == 1, || resumed.to_string())
}

/// An OpenSSH that it is the ProxyCommand of hears of a loss by its end alone, and people by what it says.
#[tokio::test]
async fn a_server_that_stays_away_has_an_end_for_standard_input() -> Outcome {
    let world = World::new().await?;
    let server = world.serve(&[]).await?;
    let wire = Wire::to(server.port).await?;
    let (target, peer) =
        (format!("127.0.0.1:{}", world.echo.port), format!("{USER}@127.0.0.1:{}", wire.port));
    let mut command = world.adit.command(["forward", &peer, "-W", &target, "--resume-timeout", "5"]);
    command.arg("-i").arg(&world.user_key()?.path);
    command.args(["--host-key", &world.keys.host(KeyKind::Ed25519)?.fingerprint]);
    let mut client = Process::spawn("adit forward -W", &mut command)?;
    let lost = |log: &str| log.matches("the connection was lost").count();
    for losses in 1..=2 {
        client.say("there and back").await?;
        let back = client.next_line(STEP).await?;
        ensure(back.as_deref() == Some("there and back"), || format!("{back:?}"))?;
        wire.refuse(true);
        wire.cut();
        client.wait_log("the loss", |log| (lost(log) == losses).then_some(())).await?;
        wire.refuse(losses == 2);
    }
    let code = client.exit(STEP).await?;
    let log = client.log();
    ensure(code == Some(5) && log.contains("not back after 5 s"), || format!("{code:?}: {log}"))?;
    ensure(!log.contains("attempt"), || log)
}

#[tokio::test]
async fn who_is_away_gives_way_to_who_comes() -> Outcome {
    let world = World::new().await?;
    let mut server = world.serve(&["--max-sessions", "1"]).await?;
    let wire = Wire::to(server.port).await?;
    let client = world.forward(&wire, &[]).await?;
    open(client.local.as_ref()).await?;
    // As long as it is here, there is no room.
    let second = world.forward(&wire, &["--no-reconnect"]).await;
    let open_late = match &second {
        Ok(second) => open(second.local.as_ref()).await.is_ok(),
        Err(_) => false,
    };
    ensure(!open_late, || "there is room for two sessions".to_owned())?;
    drop(client);
    let Host::Process(process) = &mut server.host else { return Err(Failure::new("no process")) };
    event(process, "disconnected").await?;
    let third = world.forward(&wire, &["--no-reconnect"]).await?;
    open(third.local.as_ref()).await.map(drop)
}

#[tokio::test]
async fn a_server_with_another_host_key_is_not_the_same() -> Outcome {
    let world = World::new().await?;
    let server = world.serve(&[]).await?;
    let other = world.keys.host(KeyKind::Ecdsa(256))?;
    let other =
        world.adit.serve_with(ServerSettings { host_key: other, ..world.server_settings()? }, &[]).await?;
    let wire = Wire::to(server.port).await?;
    let mut client = world.forward(&wire, &[]).await?;
    let mut stream = open(client.local.as_ref()).await?;
    wire.lead_to(other.port);
    wire.cut();
    let code = client.process.exit(STEP).await?;
    ensure(code == Some(4), || format!("it ended with {code:?}"))
        .map_err(|failure| client.process.explain(failure))?;
    ensure(stream.read_u8().await.is_err(), || "the stream goes on".to_owned())
}
