//! What goes wrong is said in one clear line that names the culprit, with the documented exit code, for people and
//! in JSON alike.

use std::time::Duration;

use serde_json::Value;
use tests::adit::{self, Adit};
use tests::algorithms::Suite;
use tests::cases::{Case, run_all};
use tests::endpoint::{listen, reserve_port};
use tests::keys::{KeyFile, KeyKind};
use tests::mistake::{AUTH, BIND, FILE, HOST_KEY, LIMIT, Mistake, NETWORK, PROTOCOL, REMOTE_REFUSED, USAGE};
use tests::outcome::{Failure, Outcome, ensure};
use tests::peers::deaf::Deaf;
use tests::peers::{Host, Keyring, Peer, RunningServer, ServerSettings, USER};
use tests::process::Process;
use tests::traffic::Target;

/// A server, somebody's keys, and a command line that would work.
struct World {
    adit: Adit,
    keys: Keyring,
    server: RunningServer,
    target: String,
}

impl World {
    async fn start() -> Outcome<Self> {
        let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
        let settings = ServerSettings {
            host_key: keys.host(KeyKind::Ed25519)?,
            user_key: keys.user(KeyKind::Ed25519)?,
            suite: &Suite::default(),
            rekey_bytes: None,
        };
        let server = adit.serve(settings).await?;
        let target = format!("{USER}@127.0.0.1:{}", server.port);
        Ok(Self { adit, keys, server, target })
    }

    fn host_key(&self) -> Outcome<&KeyFile> {
        self.keys.host(KeyKind::Ed25519)
    }

    fn user_key(&self) -> Outcome<String> {
        Ok(self.keys.user(KeyKind::Ed25519)?.path.display().to_string())
    }

    /// A file of the test with this text.
    fn file(&self, name: &str, text: &str) -> Outcome<String> {
        let path = self.keys.directory().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn missing(&self, name: &str) -> String {
        self.keys.directory().join(name).display().to_string()
    }

    async fn check(&self, what: &str, mistakes: Vec<Mistake>) -> Outcome {
        let cases = mistakes.iter().map(|mistake| Case::new(mistake.name, mistake.check(&self.adit)));
        run_all(what, 2 * LIMIT, cases.collect()).await
    }
}

#[tokio::test]
async fn command_lines_that_make_no_sense() -> Outcome {
    let world = World::start().await?;
    let forward = |name, rest: &[&str], culprit: &str| {
        let arguments = [&["forward", &world.target][..], rest].concat();
        Mistake::new(name, &arguments, USAGE, &[culprit])
    };
    let mistakes = vec![
        forward("unknown option", &["--frobnicate"], "--frobnicate"),
        forward("short forward", &["-L", "1:2"], "1:2"),
        forward("port too large", &["-L", "127.0.0.1:70000:localhost:80"], "70000"),
        forward("target port 0", &["-L", "127.0.0.1:4000:localhost:0"], "localhost:0"),
        forward("bad remote forward", &["-R", "nonsense"], "nonsense"),
        forward("bad dynamic forward", &["-D", "nonsense"], "nonsense"),
        forward("bad stdio forward", &["-W", "nonsense"], "nonsense"),
        forward("unknown cipher", &["-D", "0", "--cipher", "rot13"], "rot13"),
        forward("unknown key exchange", &["-D", "0", "--kex", "rot13"], "rot13"),
        forward("unknown MAC", &["-D", "0", "--mac", "rot13"], "rot13"),
        forward("unknown policy", &["-D", "0", "--policy", "lax"], "lax"),
        forward("bad fingerprint", &["-D", "0", "--host-key", "MD5:00"], "MD5:00"),
        Mistake::new("bad port of the server", &["forward", "host:99999", "-D", "0"], USAGE, &["99999"]),
        Mistake::new("unknown command", &["frobnicate"], USAGE, &["frobnicate"]),
        Mistake::new(
            "bad listen address",
            &["serve", "--listen", "nonsense", "--permit-open", "any"],
            USAGE,
            &["nonsense"],
        ),
        Mistake::new("unknown kind of key", &["keygen", "-t", "dsa"], USAGE, &["dsa"]),
    ];
    world.check("command lines", mistakes).await
}

#[tokio::test]
async fn files_that_cannot_be_used() -> Outcome {
    let world = World::start().await?;
    let missing = world.missing("missing");
    let garbage = world.file("garbage", "this is no key\n")?;
    let nowhere = world.missing("no/such/folder/key");
    let directory = world.keys.directory().display().to_string();
    let print = world.host_key()?.fingerprint.clone();
    let forward = |name, rest: &[&str], culprit: &str| {
        let arguments =
            [&["forward", &world.target, "-D", "127.0.0.1:0", "--host-key", &print][..], rest].concat();
        Mistake::new(name, &arguments, FILE, &[culprit])
    };
    let host_key = world.host_key()?.path.display().to_string();
    let serve = |name, rest: &[&str], culprit: &str| {
        let arguments = [&["serve", "--listen", "127.0.0.1:0", "--permit-open", "any"][..], rest].concat();
        Mistake::new(name, &arguments, FILE, &[culprit])
    };
    let user = format!("{USER}:{missing}");
    let mistakes = vec![
        forward("missing key", &["-i", &missing], &missing),
        forward("no key in the file", &["-i", &garbage], &garbage),
        forward("a directory as a key", &["-i", &directory], &directory),
        forward("missing password file", &["--password-file", &missing], &missing),
        serve("missing host key", &["--host-key", &missing], &missing),
        serve("no host key in the file", &["--host-key", &garbage], &garbage),
        serve("missing authorized keys", &["--host-key", &host_key, "--authorized-keys", &missing], &missing),
        serve("missing password of a user", &["--host-key", &host_key, "--user", &user], &missing),
        Mistake::new("no folder for a new key", &["keygen", "-f", &nowhere], FILE, &[&nowhere]),
        Mistake::new("a new key over an old one", &["keygen", "-f", &host_key], FILE, &[&host_key]),
        Mistake::new("no key to show", &["keygen", "--fingerprint", "-f", &missing], FILE, &[&missing]),
    ];
    world.check("files", mistakes).await
}

#[tokio::test]
async fn host_keys_that_are_not_trusted() -> Outcome {
    let world = World::start().await?;
    let port = world.server.port;
    let (real, other) = (world.host_key()?, world.keys.user(KeyKind::Ed25519)?);
    let host = format!("[127.0.0.1]:{port}");
    let empty = world.file("empty", "")?;
    let changed = world.file("changed", &format!("{host} {}\n", other.public_line()?))?;
    let revoked = world.file("revoked", &format!("@revoked * {}\n", real.public_line()?))?;
    let user_key = world.user_key()?;
    let forward = |name, rest: &[&str], culprits: &[&str]| {
        let arguments =
            [&["forward", &world.target, "-D", "127.0.0.1:0", "-i", &user_key][..], rest].concat();
        Mistake::new(name, &arguments, HOST_KEY, culprits)
    };
    let both = [real.fingerprint.as_str(), other.fingerprint.as_str()];
    let mistakes = vec![
        forward("unknown", &["--known-hosts", &empty], &[&real.fingerprint, "127.0.0.1"]),
        forward("changed", &["--known-hosts", &changed], &both),
        forward("changed, new ones welcome", &["--known-hosts", &changed, "--accept-new"], &both),
        forward("not the pinned one", &["--host-key", &other.fingerprint], &both),
        forward("revoked", &["--known-hosts", &revoked], &[&real.fingerprint, "revoked"]),
        forward("revoked, new ones welcome", &["--known-hosts", &revoked, "--accept-new"], &["revoked"]),
    ];
    world.check("host keys", mistakes).await?;
    // None of the refusals may have been remembered as an acceptance.
    ensure(std::fs::read_to_string(&empty)?.is_empty(), || "an unknown key was taken down".to_owned())
}

#[tokio::test]
async fn logins_that_are_refused() -> Outcome {
    let world = World::start().await?;
    let print = world.host_key()?.fingerprint.clone();
    let wrong_password = world.file("wrong_password", "battery staple\n")?;
    let wrong_key = world.keys.user(KeyKind::Ecdsa(384))?.path.display().to_string();
    let forward = |name, rest: &[&str]| {
        let arguments =
            [&["forward", &world.target, "-D", "127.0.0.1:0", "--host-key", &print][..], rest].concat();
        Mistake::new(name, &arguments, AUTH, &[USER])
    };
    let mistakes = vec![
        forward("wrong password", &["--password-file", &wrong_password]),
        forward("wrong key", &["-i", &wrong_key]),
        forward("both wrong", &["-i", &wrong_key, "--password-file", &wrong_password]),
        forward("nothing to log in with", &[]),
    ];
    world.check("logins", mistakes).await
}

#[tokio::test]
async fn ports_that_cannot_be_bound() -> Outcome {
    let world = World::start().await?;
    let (_held, busy) = listen().await?;
    let print = world.host_key()?.fingerprint.clone();
    let user_key = world.user_key()?;
    let address = format!("127.0.0.1:{busy}");
    let local = format!("{address}:127.0.0.1:80");
    let host_key = world.host_key()?.path.display().to_string();
    let forward = |name, rest: &[&str]| {
        let arguments =
            [&["forward", &world.target, "-i", &user_key, "--host-key", &print][..], rest].concat();
        Mistake::new(name, &arguments, BIND, &[&address])
    };
    let serve = ["serve", "--listen", &address, "--host-key", &host_key, "--permit-open", "any"];
    let mistakes = vec![
        forward("local forward", &["-L", &local]),
        forward("dynamic forward", &["-D", &address]),
        Mistake::new("server", &serve, BIND, &[&address]),
    ];
    world.check("busy ports", mistakes).await
}

#[tokio::test]
async fn peers_that_are_not_there() -> Outcome {
    let world = World::start().await?;
    let closed = reserve_port().await?.to_string();
    let closed_target = format!("127.0.0.1:{closed}");
    let hangs_up = Deaf::start(|_| true).await?;
    let silent = Deaf::start(|_| false).await?;
    let mistakes = vec![
        Mistake::new(
            "closed port",
            &["forward", &closed_target, "-D", "127.0.0.1:0"],
            NETWORK,
            &[&closed_target],
        ),
        Mistake::new(
            "no such name",
            &["forward", "nobody.invalid", "-D", "127.0.0.1:0"],
            NETWORK,
            &["nobody.invalid"],
        ),
        Mistake::new(
            "hangs up",
            &["forward", &hangs_up.target, "-D", "127.0.0.1:0"],
            NETWORK,
            &[&hangs_up.target],
        ),
        Mistake::new(
            "silent",
            &["forward", &silent.target, "-D", "127.0.0.1:0", "--connect-timeout", "1"],
            NETWORK,
            &[&silent.target],
        ),
    ];
    world.check("absent peers", mistakes).await
}

#[tokio::test]
async fn a_silent_peer_is_given_up_after_fifteen_seconds() -> Outcome {
    let adit = Adit::find().await?;
    let silent = Deaf::start(|_| false).await?;
    let start = tokio::time::Instant::now();
    let exit = adit.run(["forward", &silent.target, "-D", "127.0.0.1:0", "--json"], LIMIT).await?;
    let took = start.elapsed();
    ensure(exit.code == Some(NETWORK.0), || format!("{exit:?}"))?;
    let expected = Duration::from_secs(14)..Duration::from_secs(25);
    ensure(expected.contains(&took), || format!("it took {took:?}"))
}

#[tokio::test]
async fn peers_that_speak_otherwise() -> Outcome {
    let world = World::start().await?;
    let old = Deaf::start(|stream| {
        // It is small enough to be taken whole.
        stream.try_write(b"SSH-1.5-ancient\r\n").is_err()
    })
    .await?;
    let web = Deaf::start(|stream| stream.try_write(&b"<html>what?</html>\r\n".repeat(2000)).is_ok()).await?;
    let keys = &world.keys;
    let suite = Suite { kex: Some("ecdh-sha2-nistp521".to_owned()), ..Suite::default() };
    let (host_key, user_key) = (world.host_key()?, keys.user(KeyKind::Ed25519)?);
    let strange =
        world.adit.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
    let strange_target = format!("{USER}@127.0.0.1:{}", strange.port);
    let mistakes = vec![
        Mistake::new("old version", &["forward", &old.target, "-D", "127.0.0.1:0"], PROTOCOL, &["1.5"]),
        Mistake::new(
            "no SSH at all",
            &["forward", &web.target, "-D", "127.0.0.1:0"],
            PROTOCOL,
            &[&web.target],
        ),
        Mistake::new(
            "no key exchange in common",
            &["forward", &strange_target, "-D", "127.0.0.1:0", "--kex", "curve25519-sha256"],
            PROTOCOL,
            &["ecdh-sha2-nistp521", "curve25519-sha256"],
        ),
    ];
    world.check("other protocols", mistakes).await
}

#[tokio::test]
async fn forwards_that_are_refused() -> Outcome {
    let world = World::start().await?;
    let denied = Target::echo().await?;
    let closed = reserve_port().await?;
    // Allows one port that nobody listens on, and no listening.
    let host_key = world.host_key()?.path.display().to_string();
    let users = world.keys.user(KeyKind::Ed25519)?.public.display().to_string();
    let closed_target = format!("127.0.0.1:{closed}");
    let arguments =
        ["serve", "--json", "--listen", "127.0.0.1:0", "--host-key", &host_key, "--authorized-keys", &users];
    let mut command = world.adit.command(arguments);
    let mut server = Process::spawn("adit serve", command.args(["--permit-open", &closed_target]))?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;

    let (target, user_key) = (format!("{USER}@127.0.0.1:{port}"), world.user_key()?);
    let print = world.host_key()?.fingerprint.clone();
    let forward = |name, rest: &[&str], culprit: &str| {
        let arguments = [&["forward", &target, "-i", &user_key, "--host-key", &print][..], rest].concat();
        Mistake::new(name, &arguments, REMOTE_REFUSED, &[culprit])
    };
    let denied_target = format!("127.0.0.1:{}", denied.port);
    let mistakes = vec![
        forward("listening", &["-R", "127.0.0.1:4567:127.0.0.1:80"], "127.0.0.1:4567"),
        forward("a target that is not allowed", &["-W", &denied_target], &denied_target),
        forward("a target that is not there", &["-W", &closed_target], &closed_target),
    ];
    // A stdio forward has stdout to itself, so it reports to people alone.
    let (stdio, listening): (Vec<_>, Vec<_>) =
        mistakes.into_iter().partition(|m| m.arguments.iter().any(|a| a == "-W"));
    world.check("refused forwards", listening).await?;
    for mistake in stdio {
        let exit = world.adit.run(&mistake.arguments, LIMIT).await?;
        mistake
            .check_human(&exit)
            .map_err(|failure| failure.while_doing(mistake.name).with_log("adit", &exit.log))?;
    }
    Ok(())
}

/// Whoever connects to the port that was named would be at somebody else's.
#[tokio::test]
async fn a_busy_port_at_the_server_is_not_replaced_by_another() -> Outcome {
    let world = World::start().await?;
    let (_held, busy) = listen().await?;
    let address = format!("127.0.0.1:{busy}");
    let remote = format!("{address}:127.0.0.1:80");
    let (user_key, print) = (world.user_key()?, world.host_key()?.fingerprint.clone());
    let arguments = ["forward", &world.target, "-i", &user_key, "--host-key", &print, "-R", &remote];
    let mistakes = vec![Mistake::new("remote forward", &arguments, REMOTE_REFUSED, &[&address])];
    world.check("busy ports of the server", mistakes).await
}

#[tokio::test]
async fn a_lost_connection_ends_a_client_that_shall_not_come_back() -> Outcome {
    let world = World::start().await?;
    let mut command =
        world.adit.command(["forward", "--json", &world.target, "-D", "127.0.0.1:0", "--no-reconnect"]);
    command.args(["-i", &world.user_key()?, "--host-key", &world.host_key()?.fingerprint]);
    let mut client = Process::spawn("adit forward", &mut command)?;
    adit::event(&mut client, "ready").await?;
    let Host::Process(server) = &world.server.host else { return Err(Failure::new("no process")) };
    server.signal(rustix::process::Signal::KILL)?;
    let code = client.exit(LIMIT).await?;
    ensure(code == Some(NETWORK.0), || format!("exit code {code:?}"))
        .map_err(|failure| client.explain(failure))?;
    let mut last = Value::Null;
    while let Some(line) = client.next_line(LIMIT).await? {
        last = serde_json::from_str(&line)?;
    }
    ensure(adit::text(&last, "code")? == NETWORK.1, || format!("last event {last}"))
}

#[tokio::test]
async fn secrets_stay_out_of_every_output() -> Outcome {
    let world = World::start().await?;
    let secret = "planted-secret-4711";
    let file = world.file("secret", &format!("{secret}\n"))?;
    let print = world.host_key()?.fingerprint.clone();
    let (stranger, known) = (world.keys.user(KeyKind::Ecdsa(521))?.path.clone(), world.user_key()?);
    let stranger = stranger.display().to_string();
    // A key that is not let in, then the password, which is wrong; and a key that is.
    let mut command = world.adit.command([
        "forward",
        "--json",
        &world.target,
        "-D",
        "0",
        "--host-key",
        &print,
        "-i",
        &stranger,
        "--password-file",
        &file,
    ]);
    let exit = adit::run_to_end(command.env("ADIT_LOG", "trace"), LIMIT).await?;
    ensure(exit.code == Some(3), || format!("{exit:?}"))?;
    // The first lines of such a file are the same in all of them.
    let body =
        |file: &str| Ok::<_, Failure>(std::fs::read_to_string(file)?.lines().nth(3).map(str::to_owned));
    let bodies = [body(&stranger)?, body(&known)?];
    let [Some(body), Some(other_body)] = bodies else { return Err(Failure::new("short keys")) };
    let said = format!("{:?}{}{}", exit.events, exit.log, world.server.log());
    for hidden in [secret, &body, &other_body] {
        ensure(!said.contains(hidden), || format!("{hidden} was printed"))?;
    }
    Ok(())
}
