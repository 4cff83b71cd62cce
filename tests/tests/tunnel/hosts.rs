//! Hosts that stop, are started anew, and are found again, by name or not.

use rustix::process::Signal;
use tests::adit::{event, event_within, run_to_end, text};
use tests::endpoint::Endpoint;
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tests::tunnel::{COMEBACK, Machine, mapping, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
    }
    // By the second version whoever connects waits for the next host.
    exchange(Endpoint::Tcp(local).connect().await?, 1, 1024, Ending::HalfClose).await?;
    client.stop().await
}

/// Far below the time after which somebody who says nothing is taken for lost.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);

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
    machine.keep_port_for("my-tunnel").await?;
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
    machine.keep_port_for("my-tunnel").await?;
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
    ensure(exit.code == Some(3), || format!("{exit:?}"))?;
    relay.wait_log("\"tunnel made\"").await?;
    let tunnels = listed().await?;
    ensure(tunnels.is_empty(), || format!("after a start that failed: {tunnels:?}"))?;

    // Its name was chosen to be kept.
    let mut host = machine.host(&with(&[&port, "--tunnel", TUNNEL], &operator)).await?;
    host.process.signal(Signal::TERM)?;
    ensure(host.process.exit(STEP).await? == Some(0), || "the host did not end well".into())?;
    ensure(listed().await?.len() == 1, || "a tunnel with a name is gone".into())
}
