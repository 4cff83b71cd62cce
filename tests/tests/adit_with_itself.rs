//! Adit and Adit: what no peer at hand has, and the forwards that only its command line offers.

use std::time::Duration;

use tests::adit::{self, Adit};
use tests::algorithms::Suite;
use tests::endpoint::{connect, reserve_port};
use tests::keys::{KeyKind, output};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{Host, Keyring, PASSWORD, Peer, RunningServer, ServerSettings, USER};
use tests::process::Process;
use tests::proxy::Ask;
use tests::scenarios::{Pair, Way, every_algorithm, every_login, half_close, many_connections};
use tests::traffic::{Ending, Target, exchange, request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

#[tokio::test]
async fn every_algorithm_with_itself() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_algorithm(&adit, &adit, &keys).await
}

#[tokio::test]
async fn sessions_with_itself() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_login(&adit, &adit, &keys, &KeyKind::ALL).await?;
    half_close(&Pair::new(&adit, &adit, &keys)).await?;
    many_connections(&Pair::new(&adit, &adit, &keys), Way::Local, 200).await?;
    many_connections(&Pair::new(&adit, &adit, &keys), Way::Remote, 200).await
}

#[tokio::test]
async fn new_keys_with_itself() -> Outcome {
    const REKEY: u64 = 1024 * 1024;
    const LENGTH: u64 = 64 * 1024 * 1024;
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    for (server, client) in [(None, Some(REKEY)), (Some(REKEY), None), (Some(REKEY), Some(REKEY))] {
        let pair = Pair::new(&adit, &adit, &keys).rekey(server, client);
        pair.echo(&[Way::Local, Way::Remote], LENGTH).await?;
    }
    Ok(())
}

#[tokio::test]
async fn dynamic_forwards() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let server = serve(&adit, &keys).await?;
    // Here, and at the server.
    let mut client = forward(&adit, &keys, &server, &["-D", "127.0.0.1:0", "-R", "127.0.0.1:0"])?;
    let mut proxies = Vec::new();
    for kind in ["dynamic", "remote"] {
        let event = adit::event(&mut client, "forward").await?;
        ensure(adit::text(&event, "kind")? == kind, || format!("another kind: {event}"))?;
        ensure(event.get("target").is_none(), || format!("a proxy leads nowhere: {event}"))?;
        proxies.push((kind, adit::port(&event, "listen")?));
    }
    adit::event(&mut client, "ready").await?;

    let (echo, reply) = (Target::echo().await?, Target::reply(7, 2_000_000).await?);
    let dead = reserve_port().await?;
    for ((kind, proxy), ask) in proxies.into_iter().flat_map(|proxy| Ask::ALL.map(|ask| (proxy, ask))) {
        let run = async {
            let stream = ask.open(proxy, echo.port).await?;
            exchange(Box::new(stream), 5, 400_000, Ending::HalfClose).await?;
            request(Box::new(ask.open(proxy, reply.port).await?), 7, 2_000_000).await?;
            let refused = ask.open(proxy, dead).await;
            ensure(refused.is_err(), || "a dead port was reported as connected".to_owned())
        };
        let outcome = run.await.map_err(|failure| failure.while_doing(&format!("{kind} {ask:?}")));
        outcome.map_err(|failure| client.explain(failure))?;
    }
    Ok(())
}

#[tokio::test]
async fn several_forwards_of_one_session() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let server = serve(&adit, &keys).await?;
    let (one, two) = (Target::reply(1, 100_000).await?, Target::reply(2, 100_000).await?);
    let (to_one, to_two) =
        (format!("0:127.0.0.1:{}", one.port), format!("127.0.0.1:0:localhost:{}", two.port));
    let arguments = ["-L", &to_one, "-L", &to_two, "-R", &to_one, "-R", &to_two];
    let mut client = forward(&adit, &keys, &server, &arguments)?;
    // Events come in any order, but each names its target.
    let mut listeners = Vec::new();
    for _ in 0..4 {
        let event = adit::event(&mut client, "forward").await?;
        let seed = if adit::text(&event, "target")?.ends_with(&format!(":{}", one.port)) { 1 } else { 2 };
        listeners.push((adit::text(&event, "kind")?.to_owned(), seed, adit::port(&event, "listen")?));
    }
    adit::event(&mut client, "ready").await?;
    for kind in ["local", "remote"] {
        for seed in [1, 2] {
            let mut found = listeners.iter().filter(|(its, of, _)| its == kind && *of == seed);
            let port = found.next().map(|(_, _, port)| *port);
            let port = port.ok_or_else(|| Failure::new(format!("no {kind} forward to {seed}")))?;
            request(Box::new(connect(port).await?), seed, 100_000).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn signals_end_both_commands_cleanly() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let target = Target::echo().await?;
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut server = serve(&adit, &keys).await?;
        let forwards = format!("127.0.0.1:0:127.0.0.1:{}", target.port);
        let mut client = forward(&adit, &keys, &server, &["-L", &forwards])?;
        let event = adit::event(&mut client, "forward").await?;
        let port = adit::port(&event, "listen")?;
        adit::event(&mut client, "ready").await?;
        // A connection in use must not hold the end up.
        let mut open = connect(port).await?;
        open.write_all(b"still here").await?;

        client.signal(signal)?;
        adit::event(&mut client, "closed").await?;
        let code = client.exit(Duration::from_secs(10)).await?;
        ensure(code == Some(0), || format!("forward ended with {code:?}")).map_err(|f| client.explain(f))?;

        let Host::Process(process) = &mut server.host else { continue };
        process.signal(signal)?;
        let code = process.exit(Duration::from_secs(10)).await?;
        ensure(code == Some(0), || format!("serve ended with {code:?}")).map_err(|f| process.explain(f))?;
    }
    Ok(())
}

#[tokio::test]
async fn known_hosts_and_first_contact() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let server = serve(&adit, &keys).await?;
    let known = keys.directory().join("known");
    let known_text = known.display().to_string();
    let target = format!("{USER}@127.0.0.1:{}", server.port);
    let user_key = keys.user(KeyKind::Ed25519)?.path.display().to_string();
    let base =
        ["forward", "--json", &target, "-D", "127.0.0.1:0", "-i", &user_key, "--known-hosts", &known_text];

    // Taken down at the first contact, recognised at the second.
    for extra in [&["--accept-new"][..], &[]] {
        let mut client = Process::spawn("adit forward", adit.command(base).args(extra))?;
        let ready = adit::event(&mut client, "ready").await?;
        let shown = adit::text(&ready, "host_key")?;
        ensure(shown == keys.host(KeyKind::Ed25519)?.fingerprint, || format!("host key {shown}"))?;
    }
    // In the form that OpenSSH reads.
    let mut find = Command::new("ssh-keygen");
    find.args(["-F", &format!("[127.0.0.1]:{}", server.port), "-f"]).arg(&known);
    let listed = output(&mut find).await?;
    ensure(listed.contains("ssh-ed25519"), || "ssh-keygen does not find the host".to_owned())
}

#[tokio::test]
async fn password_from_the_environment() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let server = serve(&adit, &keys).await?;
    let target = format!("{USER}@127.0.0.1:{}", server.port);
    let host_key = &keys.host(KeyKind::Ed25519)?.fingerprint;
    let mut command =
        adit.command(["forward", "--json", "-D", "127.0.0.1:0", &target, "--host-key", host_key]);
    let mut client = Process::spawn("adit forward", command.env("ADIT_PASSWORD", PASSWORD))?;
    adit::event(&mut client, "ready").await.map(drop)
}

#[tokio::test]
async fn a_refused_target_leaves_the_session_up() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let (allowed, denied) = (Target::echo().await?, Target::echo().await?);
    let mut server = serve_with(&adit, &keys, &["--permit-open", &format!("127.0.0.1:{}", allowed.port)])?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    let [to_allowed, to_denied] =
        [&allowed, &denied].map(|target| format!("127.0.0.1:0:127.0.0.1:{}", target.port));
    let mut client = forward_to(&adit, &keys, port, &["-L", &to_allowed, "-L", &to_denied])?;
    let mut ports = Vec::new();
    for _ in 0..2 {
        let event = adit::event(&mut client, "forward").await?;
        ports.push((adit::text(&event, "target")?.to_owned(), adit::port(&event, "listen")?));
    }
    adit::event(&mut client, "ready").await?;
    let port_to = |target: u16| {
        let found = ports.iter().find(|(text, _)| text.ends_with(&format!(":{target}")));
        found.map(|(_, port)| *port).ok_or_else(|| Failure::new("a forward is missing"))
    };
    let denied = port_to(denied.port)?;
    // The reset may come before the connection is looked at for the first time.
    let refused =
        async { exchange(Box::new(connect(denied).await?), 1, 1000, Ending::HalfClose).await }.await;
    ensure(refused.is_err(), || "a forbidden target was reached".to_owned())?;
    let open = connect(port_to(allowed.port)?).await?;
    within(STEP, "the permitted target", exchange(Box::new(open), 1, 1000, Ending::HalfClose))
        .await
        .map_err(|failure| client.explain(failure))
}

#[tokio::test]
async fn too_many_channels_are_refused_and_the_rest_live_on() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let echo = Target::echo().await?;
    let mut server = serve_with(&adit, &keys, &["--permit-open", "any", "--max-channels", "2"])?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    let to_echo = format!("127.0.0.1:0:127.0.0.1:{}", echo.port);
    let mut client = forward_to(&adit, &keys, port, &["-L", &to_echo])?;
    let listen = adit::port(&adit::event(&mut client, "forward").await?, "listen")?;
    adit::event(&mut client, "ready").await?;

    let (mut first, mut second) = (connect(listen).await?, connect(listen).await?);
    for stream in [&mut first, &mut second] {
        check_echo(stream).await?;
    }
    let third = within(STEP, "the third", check_echo(&mut connect(listen).await?)).await;
    ensure(third.is_err(), || "a third channel was opened".to_owned())?;
    check_echo(&mut first).await?;
    drop(second);
    // The channel is free once both sides have closed it, which nobody tells us.
    within(STEP, "a free channel", async {
        while check_echo(&mut connect(listen).await?).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await?;
    check_echo(&mut first).await
}

#[tokio::test]
async fn too_many_sessions_are_refused_and_the_rest_live_on() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let echo = Target::echo().await?;
    let mut server = serve_with(&adit, &keys, &["--permit-open", "any", "--max-sessions", "1"])?;
    let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
    let to_echo = format!("127.0.0.1:0:127.0.0.1:{}", echo.port);
    let mut first = forward_to(&adit, &keys, port, &["-L", &to_echo])?;
    let listen = adit::port(&adit::event(&mut first, "forward").await?, "listen")?;
    adit::event(&mut first, "ready").await?;
    let mut second = forward_to(&adit, &keys, port, &["-L", &to_echo])?;
    let code = second.exit(STEP).await?;
    ensure(code.is_some_and(|code| code != 0), || format!("the second session ended with {code:?}"))?;
    check_echo(&mut connect(listen).await?).await
}

#[tokio::test]
async fn keys_of_one_user_admit_nobody_else() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let users = keys.user(KeyKind::Ed25519)?;
    for (name, admitted) in [(USER, true), ("somebody-else", false)] {
        let mut command =
            adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
        command.arg("--host-key").arg(&keys.host(KeyKind::Ed25519)?.path);
        command.arg("--authorized-keys").arg(format!("{name}:{}", users.public.display()));
        let mut server = Process::spawn("adit serve", &mut command)?;
        let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
        let mut client = forward_to(&adit, &keys, port, &["-D", "127.0.0.1:0"])?;
        let ready = adit::event(&mut client, "ready").await;
        ensure(ready.is_ok() == admitted, || format!("with the keys of {name}: {ready:?}"))?;
        if !admitted {
            let code = client.exit(STEP).await?;
            ensure(code == Some(3), || format!("refused with {code:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_may_be_opened_is_what_was_permitted() -> Outcome {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let (one, two) = (Target::echo().await?, Target::echo().await?);
    let to_one = format!("127.0.0.1:{}", one.port);
    // What is permitted, and whether each of the two is reached.
    for (permit, reached) in
        [(to_one.as_str(), [true, false]), ("127.0.0.1:*", [true, true]), ("10.0.0.1:*", [false; 2])]
    {
        let mut server = serve_with(&adit, &keys, &["--permit-open", permit])?;
        let port = adit::port(&adit::event(&mut server, "listening").await?, "addr")?;
        let mut client = forward_to(&adit, &keys, port, &["-D", "127.0.0.1:0"])?;
        let proxy = adit::port(&adit::event(&mut client, "forward").await?, "listen")?;
        adit::event(&mut client, "ready").await?;
        for (target, reached) in [&one, &two].into_iter().zip(reached) {
            let opened = Ask::Socks5Address.open(proxy, target.port).await;
            ensure(opened.is_ok() == reached, || format!("{permit}: {:?}", opened.err()))?;
        }
    }
    Ok(())
}

async fn check_echo(stream: &mut TcpStream) -> Outcome {
    stream.write_all(b"?").await?;
    let echoed = within(STEP, "an echo", async { Ok(stream.read_u8().await?) }).await?;
    ensure(echoed == b'?', || format!("echoed {echoed}"))
}

fn serve_with(adit: &Adit, keys: &Keyring, arguments: &[&str]) -> Outcome<Process> {
    let mut command = adit.command(["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.arg("--host-key").arg(&keys.host(KeyKind::Ed25519)?.path);
    command.arg("--authorized-keys").arg(&keys.user(KeyKind::Ed25519)?.public).args(arguments);
    Process::spawn("adit serve", &mut command)
}

async fn serve(adit: &Adit, keys: &Keyring) -> Outcome<RunningServer> {
    let settings = ServerSettings {
        host_key: keys.host(KeyKind::Ed25519)?,
        user_key: keys.user(KeyKind::Ed25519)?,
        suite: &Suite::default(),
        rekey_bytes: None,
    };
    adit.serve(settings).await
}

fn forward(adit: &Adit, keys: &Keyring, server: &RunningServer, arguments: &[&str]) -> Outcome<Process> {
    forward_to(adit, keys, server.port, arguments)
}

fn forward_to(adit: &Adit, keys: &Keyring, port: u16, arguments: &[&str]) -> Outcome<Process> {
    let target = format!("{USER}@127.0.0.1:{port}");
    let mut command = adit.command(["forward", "--json", &target]);
    command.args(["--host-key", &keys.host(KeyKind::Ed25519)?.fingerprint]);
    command.arg("-i").arg(&keys.user(KeyKind::Ed25519)?.path).args(arguments);
    Process::spawn("adit forward", &mut command)
}
