//! What happens between the two ends.

use rustix::process::Signal;
use tests::adit::{event, event_within, text};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::Target;
use tests::tunnel::{COMEBACK, Machine, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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
            ensure(relay.links.cut(path) > 0, || format!("there was no {path} to cut"))?;
            let first = event(process, "reconnecting").await?;
            ensure(first.get("reason").is_none(), || format!("{protocol} {path}: {first}"))?;
            // The second one says what the first has come to.
            let second = event(process, "reconnecting").await?;
            let reason = text(&second, "reason")?;
            let is_told = ["(200)", "web page", "log-in"].iter().all(|word| reason.contains(word));
            ensure(is_told, || format!("{protocol} {path}: {second}"))?;
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
