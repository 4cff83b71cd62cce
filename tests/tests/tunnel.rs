//! `adit host` and `adit connect`: with each other, and with hosts and clients of the SDK.
#![cfg(target_os = "linux")]

use rustix::process::Signal;
use tests::adit::{event, event_within, run_to_end, text};
use tests::endpoint::{Endpoint, connect, listen, listen_on_reserved, reserve_port};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::dev_tunnels::DevTunnels;
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange, pattern};
use tests::tunnel::{COMEBACK, Machine, mapping, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Echoes of both sizes, and twenty connections at once.
async fn everything_passes(local: &Endpoint, ending: Ending) -> Outcome {
    for length in [1024, 8 * 1024 * 1024] {
        let echo = exchange(local.connect().await?, length, length, ending);
        within(STEP, &format!("an echo of {length} bytes"), echo).await?;
    }
    let mut all = Vec::new();
    for seed in 0..20 {
        all.push(exchange(local.connect().await?, seed, 64 * 1024, ending));
    }
    within(STEP, "twenty connections", async { futures::future::try_join_all(all).await.map(drop) }).await
}

async fn embedded(protocol: &str) -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let mut host = machine.host(&[&port, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    ensure(host.link.contains("/t/") && host.link.contains("#hk="), || host.link.clone())?;
    let client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    // The number is taken: the target itself has it.
    ensure(client.ports.iter().any(|(remote, local)| *remote == target.port && local != remote), || {
        format!("{:?}", client.ports)
    })?;
    everything_passes(&client.local(target.port)?, Ending::HalfClose).await?;
    client.stop().await?;
    host.process.signal(Signal::TERM)?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())
}

#[tokio::test]
async fn host_and_connect_without_any_set_up() -> Outcome {
    embedded("v1").await
}

#[tokio::test]
async fn the_same_by_the_second_version() -> Outcome {
    embedded("v2").await
}

#[tokio::test]
async fn ports_are_where_they_are_wanted() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let host = machine.host(&[&format!("web={port}"), "--listen", "127.0.0.1:0"]).await?;
    let wanted = reserve_port().await?;
    let client = machine.connect(&[&host.link, "-p", &format!("{wanted}:{port}")]).await?;
    ensure(client.ports == [(target.port, wanted)], || format!("{:?}", client.ports))?;
    // Here and nowhere else: another address of this machine is not listened on.
    connect(wanted).await?;
    let elsewhere = tokio::net::TcpStream::connect(("127.0.0.2", wanted)).await;
    ensure(elsewhere.is_err(), || "others may reach the port".into())?;
    client.stop().await?;
    let (exit, message) = machine.refused(&[&host.link, "--same-ports"]).await?;
    ensure(exit.code == Some(6) && message.contains(&port), || format!("{exit:?}"))?;
    // A port that is taken here does not take the number of the next one, which is not.
    if let Some(next) = target.port.checked_add(1)
        && let Ok(free) = std::net::TcpListener::bind(("127.0.0.1", next))
    {
        drop(free);
        let both = machine.host(&[&port, &next.to_string(), "--listen", "127.0.0.1:0"]).await?;
        let client = machine.connect(&[&both.link]).await?;
        ensure(client.ports.contains(&(next, next)) && client.ports.len() == 2, || {
            format!("{:?}", client.ports)
        })?;
        client.stop().await?;
    }
    // One that the host has not is named.
    let mut client = machine.connect(&[&host.link, "-p", &format!("{wanted}:1")]).await?;
    let warned = event(&mut client.process, "warning").await?;
    ensure(text(&warned, "message")?.contains("port 1 "), || warned.to_string())?;
    client.stop().await?;
    // As an OpenSSH ProxyCommand.
    let mut command = machine.command(&["connect", &host.link, "-W", &format!("anything:{port}")]);
    let sent = pattern(7, 100_000);
    let echoed = tests::process::pipe_through("adit connect -W", &mut command, sent.clone(), STEP).await?;
    ensure(echoed == sent, || format!("{} bytes came back", echoed.len()))?;
    // The same with the link before it, where nobody sees it in a list of processes.
    let mut command = machine.command(&["connect", "-", "-W", &port]);
    let line = format!("{}\n", host.link).into_bytes();
    let all = [line, sent.clone()].concat();
    let echoed = tests::process::pipe_through("adit connect - -W", &mut command, all, STEP).await?;
    ensure(echoed == sent, || format!("{} bytes came back after the link", echoed.len()))
}

#[tokio::test]
async fn a_link_that_is_not_right_is_refused_by_name() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let host = machine.host(&[&target.port.to_string(), "--listen", "127.0.0.1:0"]).await?;
    let (base, rest) = host.link.split_once("#hk=").ok_or_else(|| Failure::new("no key in the link"))?;
    let (key, token) = rest.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let other = if key.starts_with('A') { 'B' } else { 'A' };
    let wrong_key = format!("{base}#hk={other}{}&t={token}", &key[1..]);
    let no_tunnel = format!("{}x#hk={key}&t={token}", base);
    let free = reserve_port().await?;
    for (link, code, words) in [
        (wrong_key, 4, "somebody else is at the other end"),
        (format!("{base}#hk={key}"), 3, "401"),
        (format!("{base}#hk={key}&t={}x", token), 3, "token"),
        (format!("{base}#t={token}"), 2, "--allow-unpinned-host"),
        (format!("{base}#hk={}&t={token}", &key[1..]), 2, "43 characters"),
        (no_tunnel, 7, "404"),
        (format!("http://127.0.0.1:{free}/t/xyz#hk={key}"), 5, "cannot reach the relay"),
        ("fun-hill".into(), 2, "no link"),
    ] {
        let (exit, message) = machine.refused(&[&link]).await?;
        ensure(exit.code == Some(code) && message.contains(words), || format!("{link}: {exit:?}"))?;
        ensure(!message.contains(token), || format!("the token is in {message}"))?;
    }
    // What people and their mail programs make of it is understood.
    for link in [host.link.replacen("http:", "HTTP:", 1), format!("\u{201c}{}\u{201d}", host.link)] {
        machine.connect(&[&link]).await?.stop().await?;
    }
    // A relay does not tell apart what does not exist and what the token is not for.
    ensure(!host.process.log().contains(token), || "the token is in the log".into())
}

#[tokio::test]
async fn everybody_may_come_where_that_is_allowed() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let host = machine.host(&[&port, "--listen", "127.0.0.1:0", "--allow", "anonymous"]).await?;
    ensure(!host.link.contains("t="), || host.link.clone())?;
    let client = machine.connect(&[&host.link]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await?;
    // Rules that could let nobody in are mistakes.
    for rule in ["user:bob", "10.0.0.0/99"] {
        let mut command = machine.command(&["host", "--json", &port, "--allow", rule]);
        let exit = run_to_end(&mut command, STEP).await?;
        ensure(exit.code == Some(2), || format!("{rule}: {exit:?}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn an_sdk_client_of_our_host() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    for (protocol, version, e2e) in [("v1", 1, false), ("v2", 1, false), ("v2", 2, true), ("v2", 2, false)] {
        let relay = TestRelay::start(&machine.adit).await?;
        let arguments = on_relay(&relay);
        let host =
            machine.host(&with(&[&port, "--tunnel", TUNNEL, "--protocol", protocol], &arguments)).await?;
        let client = relay.client(&sdk, Some(version), e2e, target.port).await?;
        let local = Endpoint::Tcp(client.local_port(target.port)?);
        let passed = everything_passes(&local, Ending::Close).await;
        passed.map_err(|failure| host.process.explain(client.explain(failure)).while_doing(protocol))?;
        client.quit().await?;
    }
    Ok(())
}

#[tokio::test]
async fn our_client_of_an_sdk_host() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    for (version, protocol, e2e) in [(1, "v1", false), (2, "v1", false), (2, "v2", true)] {
        let relay = TestRelay::start(&machine.adit).await?;
        let arguments = on_relay(&relay);
        let host = relay.host(&sdk, Some(version), e2e, target.port).await?;
        let (exit, message) = machine.refused(&with(&[TUNNEL, "--protocol", protocol], &arguments)).await?;
        ensure(exit.code == Some(2) && message.contains("--allow-unpinned-host"), || format!("{exit:?}"))?;
        let first = [TUNNEL, "--allow-unpinned-host", "--protocol", protocol];
        let client = machine.connect(&with(&first, &arguments)).await?;
        let passed = everything_passes(&client.local(target.port)?, Ending::Close).await;
        passed.map_err(|failure| client.process.explain(host.explain(failure)).while_doing(protocol))?;
        client.stop().await?;
        host.quit().await?;
    }
    Ok(())
}

/// The host, or a relay that takes the wish out, does without encryption: nothing is sent that way.
#[tokio::test]
async fn stripped_encryption_of_the_second_version_is_not_given_in_to() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let _host = relay.host(&sdk, Some(2), false, target.port).await?;
    let first = [TUNNEL, "--allow-unpinned-host", "--protocol", "v2"];
    let mut client = machine.connect(&with(&first, &arguments)).await?;
    let sent = exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::Close).await;
    ensure(sent.is_err(), || "bytes passed without encryption".into())?;
    let refused = event(&mut client.process, "refused").await?;
    ensure(text(&refused, "message")?.contains("end-to-end encryption"), || refused.to_string())
}

#[tokio::test]
async fn another_host_of_the_tunnel_is_not_taken_for_the_first() -> Outcome {
    let (first, second, target) = (Machine::new().await?, Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let relay = TestRelay::start(&first.adit).await?;
    let arguments = on_relay(&relay);
    let arguments = with(&[&port, "--tunnel", TUNNEL], &arguments);
    let mut host = first.host(&arguments).await?;
    let mut client = first.connect(&[&host.link]).await?;
    let other = second.host(&arguments).await?;
    // The first one makes way and says for whom.
    let code = host.process.exit(STEP).await?;
    ensure(code == Some(7), || format!("the first host ended with {code:?}"))?;
    // Who is connected notices, and so does who comes.
    let code = client.process.exit(COMEBACK).await?;
    ensure(code == Some(4), || format!("the client ended with {code:?}"))?;
    let (exit, message) = first.refused(&[&host.link]).await?;
    ensure(exit.code == Some(4) && message.contains("somebody else"), || format!("{exit:?}"))?;
    let client = second.connect(&[&other.link]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await
}

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_goes_on_with_it() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let host = machine.host(&with(&[&target.port.to_string(), "--tunnel", TUNNEL], &arguments)).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    // As the host has printed it: nobody has to find the token in it.
    let mut revoke = machine.command(&with(&["token", "revoke"], &arguments));
    let link = format!("'{}'\n", host.link).into_bytes();
    tests::process::pipe_through("adit token revoke", &mut revoke, link, STEP).await?;
    let code = client.process.exit(COMEBACK).await?;
    ensure(code == Some(3), || format!("adit connect ended with {code:?}"))?;
    let ended = within(STEP, "the end of the connection", async { Ok(open.read_u8().await) }).await?;
    ensure(ended.is_err(), || "the connection goes on".into())
}

/// A token that is about to end is replaced in its file; nobody has to be told.
#[tokio::test]
async fn a_token_that_was_replaced_in_its_file_ends_nothing() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let host = machine.host(&with(&[&target.port.to_string(), "--tunnel", TUNNEL], &arguments)).await?;
    let (link, first) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, first)?;
    let mut client = machine.connect(&[link, "--token-file", &file.to_string_lossy()]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    let made = relay.operate(&["token", "create", "--tunnel", TUNNEL, "--scope", "connect"]).await?;
    let second = made["token"].as_str().ok_or_else(|| Failure::new(format!("no token: {made}")))?;
    std::fs::write(&file, second)?;
    let mut revoke = machine.command(&with(&["token", "revoke"], &arguments));
    tests::process::pipe_through("adit token revoke", &mut revoke, first.into(), STEP).await?;
    event_within(COMEBACK, &mut client.process, "disconnected").await?;
    event_within(COMEBACK, &mut client.process, "resumed").await?;
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
    ensure(&back == b"still there", || format!("{back:?}"))?;
    client.stop().await
}

#[tokio::test]
async fn a_host_that_is_started_anew_is_found_again_with_its_ports() -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let (first, second) = (one.port.to_string(), two.port.to_string());
    let host = machine.host(&with(&[&first, "--tunnel", TUNNEL], &arguments)).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    drop(host);
    let _host = machine.host(&with(&[&second, "--tunnel", TUNNEL], &arguments)).await?;
    let added = event_within(COMEBACK, &mut client.process, "port_added").await?;
    let (remote, local) = mapping(&added)?;
    ensure(remote == two.port, || added.to_string())?;
    exchange(Endpoint::Tcp(local).connect().await?, 1, 1024, Ending::HalfClose).await?;
    let removed = event(&mut client.process, "port_removed").await?;
    ensure(mapping(&removed)?.0 == one.port, || removed.to_string())
}

/// What was open ends at once, and nobody says that it waits; the next host is found.
async fn stopped(protocol: &str) -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (arguments, port) = (on_relay(&relay), target.port.to_string());
    let arguments = with(&[&port, "--tunnel", TUNNEL, "--protocol", protocol], &arguments);
    let mut host = machine.host(&arguments).await?;
    let mut client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    let mut back = [0; 5];
    open.write_all(b"there").await?;
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
    host.process.signal(Signal::TERM)?;
    let ended = within(SOON, "that the stream ends", async { Ok(open.read(&mut back).await) }).await?;
    let kind = ended.err().map(|error| error.kind());
    ensure(kind == Some(std::io::ErrorKind::ConnectionReset), || format!("it ended with {kind:?}"))?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())?;
    let _host = machine.host(&arguments).await?;
    let local = client.local_port(target.port)?;
    if protocol == "v1" {
        let lost = event(&mut client.process, "disconnected").await?;
        ensure(lost["resumable"] == false, || lost.to_string())?;
        let resumed = within(COMEBACK, "coming back", event(&mut client.process, "resumed")).await?;
        ensure(resumed["new_session"] == true, || resumed.to_string())?;
    } else {
        within(COMEBACK, "coming back", event(&mut client.process, "port_added")).await?;
    }
    exchange(Endpoint::Tcp(local).connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await
}

/// Far below the time after which somebody who says nothing is taken for lost.
const SOON: std::time::Duration = std::time::Duration::from_secs(5);

#[tokio::test]
async fn a_host_that_stops_ends_what_is_open() -> Outcome {
    stopped("v1").await
}

#[tokio::test]
async fn a_host_of_the_second_version_that_stops_ends_what_is_open() -> Outcome {
    stopped("v2").await
}

/// Without a relay of somebody else's, a name is enough to be found again, after whatever end.
#[tokio::test]
async fn a_tunnel_with_a_name_keeps_its_link() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let arguments = [&*target.port.to_string(), "--tunnel", "my-tunnel"];
    let mut host = machine.host(&arguments).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    // There is one of a name at a time.
    let second = run_to_end(machine.command(&["host", "--json"]).args(arguments), STEP).await?;
    ensure(second.code == Some(8) && format!("{second:?}").contains("my-tunnel"), || format!("{second:?}"))?;
    let first_link = host.link.clone();
    host.process.signal(Signal::KILL)?;
    host.process.exit(STEP).await?;
    let host = machine.host(&arguments).await?;
    let place = |link: &str| link.split("&t=").next().unwrap_or_default().to_owned();
    ensure(place(&host.link) == place(&first_link), || format!("{} is not {first_link}", host.link))?;
    let resumed = event_within(COMEBACK, &mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == true, || resumed.to_string())?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await?;
    // The token of the first link, too, is what it was.
    let client = machine.connect(&[&first_link]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await
}

/// Who looks for a host by an old link finds it once its port is free again, and is not left in the dark before.
#[tokio::test]
async fn a_port_that_is_taken_is_said_and_not_forgotten() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let arguments = [&*target.port.to_string(), "--tunnel", "my-tunnel"];
    let stop = async |mut process: Process| -> Outcome {
        process.signal(Signal::TERM)?;
        ensure(process.exit(STEP).await? == Some(0), || "the host did not end well".into())
    };
    let place = |link: &str| link.split("&t=").next().unwrap_or_default().to_owned();
    let first = machine.host(&arguments).await?;
    let old = place(&first.link);
    let address = old.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    stop(first.process).await?;

    let taken = std::net::TcpListener::bind(address)?;
    let mut second = Process::spawn("adit host", machine.command(&["host", "--json"]).args(arguments))?;
    let warned = event(&mut second, "warning").await?;
    ensure(text(&warned, "message")?.contains(address), || warned.to_string())?;
    let ready = event(&mut second, "ready").await?;
    ensure(!text(&ready, "link")?.contains(address), || ready.to_string())?;
    let client = machine.connect(&[text(&ready, "link")?]).await?;
    exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await?;
    stop(second).await?;

    drop(taken);
    let third = machine.host(&arguments).await?;
    ensure(place(&third.link) == old, || format!("{} is not {old}", third.link))
}

/// What a host allows lasts as long as a host says so; the rules that others have made stay, and are said where they count.
#[tokio::test]
async fn rules_are_their_makers() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (port, arguments) = (target.port.to_string(), on_relay(&relay));
    let arguments = with(&[&port, "--tunnel", TUNNEL], &arguments);
    let rules = async || -> Outcome<Vec<String>> {
        let shown = relay.operate(&["tunnel", "access", TUNNEL]).await?;
        let entries = shown["entries"].as_array().cloned().unwrap_or_default();
        Ok(entries.iter().map(|rule| format!("{} {}", rule["isDeny"] == true, rule["type"])).collect())
    };
    let (others, ours) = (["false \"Users\"", "true \"IPAddressRanges\""], "false \"Anonymous\"");
    relay.operate(&["tunnel", "create", TUNNEL]).await?;
    let theirs = ["tunnel", "access", TUNNEL, "--allow", "user:bob", "--deny", "192.0.2.0/24"];
    relay.operate(&theirs).await?;
    let host = machine.host(&[&arguments[..], &["--allow", "anonymous"]].concat()).await?;
    let found = rules().await?;
    ensure(found == [others[0], others[1], ours], || format!("with --allow: {found:?}"))?;
    machine.connect(&[&host.link]).await?.stop().await?;
    drop(host);
    let host = machine.host(&arguments).await?;
    let found = rules().await?;
    ensure(found == others, || format!("without --allow: {found:?}"))?;
    let (open, _) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let (exit, _) = machine.refused(&[open]).await?;
    ensure(exit.code == Some(3), || format!("without a token: {exit:?}"))?;
    drop(host);

    // Said twice it is one rule.
    for _ in 0..2 {
        relay.operate(&["tunnel", "access", TUNNEL, "--allow", "anonymous"]).await?;
    }
    let mut host = Process::spawn("adit host", machine.command(&["host", "--json"]).args(&arguments))?;
    let warned = event(&mut host, "warning").await?;
    let message = text(&warned, "message")?;
    ensure(message.contains("everybody") && message.contains("adit tunnel access"), || warned.to_string())?;
    event(&mut host, "ready").await?;
    let found = rules().await?;
    ensure(found == [others[0], others[1], ours], || format!("by somebody else: {found:?}"))
}

/// The same without a relay of somebody else's, where all rules are the host's.
#[tokio::test]
async fn a_tunnel_with_a_name_is_as_private_as_it_looks() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    let arguments = [&*port, "--tunnel", "my-tunnel", "--listen", "127.0.0.1:0"];
    let host = machine.host(&[&arguments[..], &["--allow", "anonymous"]].concat()).await?;
    machine.connect(&[&host.link]).await?.stop().await?;
    drop(host);
    let host = machine.host(&arguments).await?;
    let (open, _) = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?;
    let (exit, _) = machine.refused(&[open]).await?;
    ensure(exit.code == Some(3), || format!("without a token: {exit:?}"))
}

/// A tunnel that nobody has named is of no use to anybody once its host is gone.
#[tokio::test]
async fn a_tunnel_without_a_name_goes_with_its_host() -> Outcome {
    const DAYS: u64 = 24 * 3600;
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (port, operator) = (target.port.to_string(), on_relay(&relay));
    let listed = async || -> Outcome<Vec<serde_json::Value>> {
        let exit =
            run_to_end(&mut machine.command(&with(&["tunnel", "list", "--json"], &operator)), STEP).await?;
        Ok(exit.events)
    };
    let mut host = machine.host(&with(&[&port], &operator)).await?;
    let tunnels = listed().await?;
    let expires = tunnels.first().and_then(|shown| shown.pointer("/tunnel/customExpiration")?.as_u64());
    ensure(tunnels.len() == 1 && expires.is_some_and(|seconds| seconds <= 3 * DAYS), || {
        format!("{tunnels:?}")
    })?;
    host.process.signal(Signal::TERM)?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())?;
    let tunnels = listed().await?;
    ensure(tunnels.is_empty(), || format!("after the end: {tunnels:?}"))?;

    // A start that fails half-way.
    let token = relay.operate(&["token", "create", "--subject", "ada", "--scope", "create,manage"]).await?;
    let file = machine.home.path().join("token");
    std::fs::write(&file, text(&token, "token")?)?;
    let maker = ["host", "--json", &port, "--relay", &relay.url(), "--token-file", &file.to_string_lossy()];
    let exit = run_to_end(&mut machine.command(&maker), STEP).await?;
    ensure(exit.code == Some(3) && relay.log().contains("\"tunnel made\""), || format!("{exit:?}"))?;
    let tunnels = listed().await?;
    ensure(tunnels.is_empty(), || format!("after a start that failed: {tunnels:?}"))?;

    // Its name was chosen to be kept.
    let mut host = machine.host(&with(&[&port, "--tunnel", TUNNEL], &operator)).await?;
    host.process.signal(Signal::TERM)?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())?;
    ensure(listed().await?.len() == 1, || "a tunnel with a name is gone".into())
}

/// A proxy that takes every name for this machine. It says how it was asked.
async fn proxy() -> Outcome<(u16, tokio::sync::mpsc::UnboundedReceiver<&'static str>)> {
    let (listener, port) = listen().await?;
    let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move { drop(by_proxy(stream, &asked).await) });
        }
    });
    Ok((port, asks))
}

async fn by_proxy(
    mut near: tokio::net::TcpStream,
    asked: &tokio::sync::mpsc::UnboundedSender<&'static str>,
) -> Outcome {
    let first = near.read_u8().await?;
    let port = if first == 5 {
        // RFC 1928: a greeting with one method, then a name.
        let mut rest = [0; 2];
        near.read_exact(&mut rest).await?;
        near.write_all(&[5, 0]).await?;
        let mut head = [0; 5];
        near.read_exact(&mut head).await?;
        ensure(head[..4] == [5, 1, 0, 3], || format!("asked for {head:?}"))?;
        let mut name = vec![0; head[4].into()];
        near.read_exact(&mut name).await?;
        ensure(name == NAME.as_bytes(), || format!("asked for {name:?}"))?;
        let port = near.read_u16().await?;
        near.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
        asked.send("socks5")?;
        port
    } else {
        let mut head = vec![first];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let port = target.and_then(|target| target.strip_prefix(NAME)?.strip_prefix(':')?.parse().ok());
        ensure(head.contains("Proxy-Authorization: Basic YWRhOnNlY3JldA=="), || head.clone())?;
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        asked.send("connect")?;
        port.ok_or_else(|| Failure::new(head))?
    };
    let mut far = connect(port).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// Nobody but a proxy of the test knows it.
const NAME: &str = "relay.test";

#[tokio::test]
async fn tls_by_an_authority_of_ones_own_and_through_proxies() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let file = |name: &str| machine.home.path().join(name).display().to_string();
    let (certificate, key, data) = (file("cert.pem"), file("key.pem"), file("relay"));
    let mut make = tokio::process::Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    make.args(["-subj", "/CN=relay", "-addext", &format!("subjectAltName=DNS:{NAME},IP:127.0.0.1")]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate]);
    let made = make.output().await?;
    ensure(made.status.success(), || String::from_utf8_lossy(&made.stderr).into_owned())?;
    let arguments = ["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir", &data, "--host-name", NAME];
    let mut command = machine.command(&arguments);
    command.args(["--tls-cert", &certificate, "--tls-key", &key]);
    let mut relay = Process::spawn("adit relay", &mut command)?;
    let listening = event(&mut relay, "listening").await?;
    let url = text(&listening, "public_url")?.to_owned();
    let token = format!("{data}/admin-token");
    let port = target.port.to_string();
    let host =
        machine.host(&[&port, "--relay", &url, "--token-file", &token, "--ca-file", &certificate]).await?;

    let client = machine.connect(&[&host.link, "--ca-file", &certificate]).await?;
    everything_passes(&client.local(target.port)?, Ending::HalfClose).await?;
    let (exit, message) = machine.refused(&[&host.link]).await?;
    ensure(exit.code == Some(5) && message.contains("certificate"), || format!("{exit:?}"))?;

    let link = host.link.replacen("127.0.0.1", NAME, 1);
    let (proxy, mut asks) = proxy().await?;
    for (variable, kind) in [
        (format!("http://ada:secret@127.0.0.1:{proxy}"), "connect"),
        (format!("socks5://127.0.0.1:{proxy}"), "socks5"),
    ] {
        let mut command = machine.command(&["connect", "--json", &link, "--ca-file", &certificate]);
        let mut process = Process::spawn("adit connect", command.env("https_proxy", &variable))?;
        let ready = event(&mut process, "ready").await?;
        let (_, local) = mapping(&ready["ports"][0])?;
        exchange(Endpoint::Tcp(local).connect().await?, 1, 100_000, Ending::HalfClose).await?;
        ensure(asks.try_recv() == Ok(kind), || format!("no proxy was asked by {kind}"))?;

        // The relay's API is asked in the same way: once for each request, and a host asks before it connects.
        let by_name = format!("https://{NAME}:{}", url.rsplit(':').next().unwrap_or_default());
        let api = ["--relay", &by_name, "--token-file", &token, "--ca-file", &certificate].map(str::to_owned);
        for verb in
            [&["tunnel", "list"][..], &["token", "create", "--tunnel", &host.tunnel, "--scope", "connect"]]
        {
            let mut command = machine.command(&with(verb, &api));
            let exit = run_to_end(command.arg("--json").env("https_proxy", &variable), STEP).await?;
            ensure(exit.code == Some(0), || format!("{verb:?}: {exit:?}"))?;
            ensure(asks.try_recv() == Ok(kind) && asks.try_recv().is_err(), || {
                format!("{verb:?} by {kind}")
            })?;
            // Nobody but the proxy knows the name.
            let mut command = machine.command(&with(verb, &api));
            command.arg("--json").env("https_proxy", &variable).env("no_proxy", "else.test,.relay.test");
            let exit = run_to_end(&mut command, STEP).await?;
            ensure(exit.code == Some(5) && asks.try_recv().is_err(), || format!("{verb:?}: {exit:?}"))?;
        }
        let mut command = machine.command(&with(&["host", "--json", &port], &api));
        let mut process = Process::spawn("adit host", command.env("all_proxy", &variable))?;
        event(&mut process, "ready").await?;
        let asked: Vec<_> = std::iter::from_fn(|| asks.try_recv().ok()).collect();
        ensure(asked.len() > 2 && asked.iter().all(|how| *how == kind), || {
            format!("a host asked {asked:?}")
        })?;
    }
    // One that makes no sense counts where a proxy would be asked.
    let by_name = format!("https://{NAME}");
    let mut command = machine.command(&["tunnel", "list", "--json", "--relay", &by_name]);
    let exit = run_to_end(command.env("https_proxy", "ftp://127.0.0.1"), STEP).await?;
    ensure(exit.code == Some(2), || format!("{exit:?}"))
}

/// Ports come and go with the file that lists them, for who is connected too: by the host's word, whatever the relay shows.
async fn ports_by_file(protocol: &str) -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let file = machine.home.path().join("ports");
    let name = file.display().to_string();
    let write = |text: String| std::fs::write(&file, text);
    write(format!("# what there is\nweb={}\n", one.port))?;
    let mut host =
        machine.host(&["--ports-file", &name, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    let mut client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    let first = client.local(one.port)?;
    let mut open = first.connect().await?;

    write(format!("{}\n\n{} # the other\n", one.port, two.port))?;
    let offered = event(&mut host.process, "ports").await?;
    let mut both = [one.port, two.port];
    both.sort_unstable();
    ensure(offered["ports"] == serde_json::json!(both), || offered.to_string())?;
    let (remote, local) = mapping(&event(&mut client.process, "port_added").await?)?;
    ensure(remote == two.port, || format!("{remote} was added"))?;
    let second = Endpoint::Tcp(local);
    exchange(second.connect().await?, 1, 1024, Ending::HalfClose).await?;

    // With a mistake in it, nothing of the file counts, and it is said where it is.
    write(format!("{}\nnonsense\n", two.port))?;
    let error = event(&mut host.process, "error").await?;
    let message = text(&error, "message")?;
    ensure(text(&error, "code")? == "file" && message.contains("line 2") && message.contains(&name), || {
        error.to_string()
    })?;
    for local in [&first, &second] {
        exchange(local.connect().await?, 2, 1024, Ending::HalfClose).await?;
    }

    write(format!("{}\n", two.port))?;
    let (remote, _) = mapping(&event(&mut client.process, "port_removed").await?)?;
    ensure(remote == one.port, || format!("{remote} was removed"))?;
    // What is open goes on; nothing new comes, not even for who does not ask what there is.
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
    ensure(&back == b"still there", || format!("{back:?}"))?;
    ensure(first.connect().await.is_err(), || "the port is still listened on".into())?;
    let insists = ["connect", "--json", &host.link, "-W", &one.port.to_string(), "--protocol", protocol];
    let exit = run_to_end(&mut machine.command(&insists), COMEBACK).await?;
    ensure(exit.code == Some(7) && exit.log.contains("does not offer"), || format!("{exit:?}"))?;
    exchange(second.connect().await?, 3, 1024, Ending::HalfClose).await?;
    client.stop().await
}

#[tokio::test]
async fn ports_of_a_running_host_are_those_of_its_file() -> Outcome {
    ports_by_file("v1").await
}

#[tokio::test]
async fn ports_of_a_running_host_of_the_second_version_are_those_of_its_file() -> Outcome {
    ports_by_file("v2").await
}

/// A port that comes later and is taken here is said, and ends nothing; it is there once it can be.
async fn a_taken_port(protocol: &str) -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let third = Target::echo().await?;
    let file = machine.home.path().join("ports");
    let name = file.display().to_string();
    std::fs::write(&file, format!("{}\n", one.port))?;
    let host =
        machine.host(&["--ports-file", &name, "--listen", "127.0.0.1:0", "--protocol", protocol]).await?;
    let (taken, wanted) = listen_on_reserved().await?;
    let pair = format!("{wanted}:{}", two.port);
    let mut client = machine.connect(&[&host.link, "-p", &pair, "--protocol", protocol]).await?;
    let mut open = client.local(one.port)?.connect().await?;

    std::fs::write(&file, format!("{}\n{}\n", one.port, two.port))?;
    let failed = event(&mut client.process, "port_failed").await?;
    ensure(mapping(&failed)? == (two.port, wanted), || failed.to_string())?;
    ensure(text(&failed, "reason")?.contains("in use"), || failed.to_string())?;
    open.write_all(b"still there").await?;
    let mut back = [0; 11];
    within(STEP, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;

    drop(taken);
    std::fs::write(&file, format!("{}\n{}\n{}\n", one.port, two.port, third.port))?;
    let mut added = Vec::new();
    for _ in 0..2 {
        added.push(mapping(&event(&mut client.process, "port_added").await?)?);
    }
    ensure(added.contains(&(two.port, wanted)), || format!("{added:?}"))?;
    exchange(Endpoint::Tcp(wanted).connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await
}

#[tokio::test]
async fn a_port_that_comes_later_and_is_taken_here_ends_nothing() -> Outcome {
    a_taken_port("v1").await?;
    a_taken_port("v2").await
}

/// Beside ports of the command line, which stay; and the relay shows what there is.
#[tokio::test]
async fn a_file_of_ports_beside_those_of_the_command_line() -> Outcome {
    let (machine, one, two) = (Machine::new().await?, Target::echo().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let file = machine.home.path().join("ports");
    let (fixed, name) = (one.port.to_string(), file.display().to_string());
    // No port at all, and no file where one was named.
    for (arguments, code) in [(vec!["host", "--json"], 2), (vec!["host", "--json", "--ports-file", &name], 8)]
    {
        let exit = run_to_end(&mut machine.command(&arguments), STEP).await?;
        ensure(exit.code == Some(code), || format!("{arguments:?}: {exit:?}"))?;
    }
    std::fs::write(&file, "# nothing yet\n")?;
    let arguments = on_relay(&relay);
    let arguments = with(&[&fixed, "--tunnel", TUNNEL, "--ports-file", &name], &arguments);
    let host = machine.host(&arguments).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    std::fs::write(&file, format!("other={}\n", two.port))?;
    let (remote, local) = mapping(&event(&mut client.process, "port_added").await?)?;
    ensure(remote == two.port, || format!("{remote} was added"))?;
    for local in [client.local(one.port)?, Endpoint::Tcp(local)] {
        exchange(local.connect().await?, 1, 1024, Ending::HalfClose).await?;
    }
    let shown = async || -> Outcome<Vec<serde_json::Value>> {
        let shown = relay.operate(&["tunnel", "show", TUNNEL]).await?;
        Ok(shown.pointer("/tunnel/ports").and_then(|ports| ports.as_array()).cloned().unwrap_or_default())
    };
    let is_shown = async {
        while !shown().await?.iter().any(|port| port["portNumber"] == two.port && port["name"] == "other") {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(STEP, "the relay's list", is_shown).await?;
    std::fs::remove_file(&file)?;
    std::fs::write(&file, "")?;
    let (remote, _) = mapping(&event(&mut client.process, "port_removed").await?)?;
    ensure(remote == two.port, || format!("{remote} was removed"))?;
    let is_gone = async {
        while shown().await?.len() != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(STEP, "the relay's list", is_gone).await
}

/// A network whose log-in page answers in the relay's place ends nobody who has been at the relay before.
#[tokio::test]
async fn the_page_of_a_network_on_the_way_ends_nothing() -> Outcome {
    for protocol in ["v1", "v2"] {
        let (machine, target) = (Machine::new().await?, Target::echo().await?);
        let relay = TestRelay::start(&machine.adit).await?;
        let (arguments, port) = (on_relay(&relay), target.port.to_string());
        let words = [&port, "--tunnel", TUNNEL, "--protocol", protocol];
        let mut host = machine.host(&with(&words, &arguments)).await?;
        let mut client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
        let mut open = client.local(target.port)?.connect().await?;
        open.write_all(b"x").await?;
        within(STEP, "the first echo", async { Ok(open.read_u8().await?) }).await?;
        relay.links.page(true);
        for (path, process) in [("/client", &mut client.process), ("/host", &mut host.process)] {
            ensure(relay.links.cut(path) == 1, || format!("there was no {path} to cut"))?;
            // The second one says that the first has been answered.
            for _ in 0..2 {
                event(process, "reconnecting").await?;
            }
        }
        relay.links.page(false);
        event_within(COMEBACK, &mut host.process, "resumed").await?;
        let resumed = event_within(COMEBACK, &mut client.process, "resumed").await?;
        ensure(resumed["new_session"] == false, || format!("{protocol}: {resumed}"))?;
        open.write_all(b"still there").await?;
        let mut back = [0; 11];
        let echo = within(COMEBACK, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await;
        echo.map_err(|failure| client.process.explain(host.process.explain(failure).while_doing(protocol)))?;
        ensure(&back == b"still there", || format!("{protocol}: {back:?}"))?;
    }
    Ok(())
}

/// Row "relay or host half open" of the threat model: who says nothing any more is noticed, and who then goes on finds
/// everything as it was.
#[tokio::test]
async fn who_stands_still_is_noticed_and_loses_nothing() -> Outcome {
    const NOTICED: std::time::Duration = std::time::Duration::from_secs(80);
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let arguments = on_relay(&relay);
    let mut host = machine.host(&with(&[&target.port.to_string(), "--tunnel", TUNNEL], &arguments)).await?;
    let mut client = machine.connect(&[&host.link]).await?;
    let mut open = client.local(target.port)?.connect().await?;
    for round in ["relay", "host"] {
        let frozen = if round == "relay" { relay.process() } else { &host.process };
        frozen.signal(Signal::STOP)?;
        let sent = async { open.write_all(b"to whom it may concern").await.map_err(Failure::from) };
        sent.await?;
        event_within(NOTICED, &mut client.process, "disconnected").await?;
        if round == "relay" {
            event_within(NOTICED, &mut host.process, "disconnected").await?;
        }
        let frozen = if round == "relay" { relay.process() } else { &host.process };
        frozen.signal(Signal::CONT)?;
        let resumed = event_within(COMEBACK, &mut client.process, "resumed").await?;
        ensure(resumed["new_session"] == false, || resumed.to_string())?;
        let mut back = [0; 22];
        within(COMEBACK, "the echo", async { Ok(open.read_exact(&mut back).await?) }).await?;
        ensure(&back == b"to whom it may concern", || format!("{back:?}"))?;
    }
    client.stop().await
}
