//! The ends of streams of the second version without encryption, where the relay is the peer of the Dev Tunnels SDK: its
//! library in TypeScript makes nothing of a channel's EOF.

use std::time::Duration;

use tests::endpoint::{connect, listen_on_reserved};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::dev_tunnels::DevTunnels;
use tests::relay::{TUNNEL, TestRelay};
use tests::tunnel::{Machine, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

const LENGTH: usize = 1000;

/// A target that says its piece and closes at once.
async fn speaker() -> Outcome<u16> {
    let (listener, port) = listen_on_reserved().await?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(&[7; LENGTH]).await;
        }
    });
    Ok(port)
}

/// A target that says nothing, and what it has heard of each connection until its end.
async fn listener() -> Outcome<(u16, mpsc::UnboundedReceiver<Vec<u8>>)> {
    let (listener, port) = listen_on_reserved().await?;
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                // A reset is an end too.
                let _ = stream.read_to_end(&mut all).await;
                sender.send(all)
            });
        }
    });
    Ok((port, heard))
}

async fn reads_all(local: u16) -> Outcome {
    for _ in 0..5 {
        let mut stream = connect(local).await?;
        let mut all = Vec::new();
        within(STEP, "the target's end", async { Ok(stream.read_to_end(&mut all).await?) }).await?;
        ensure(all == [7; LENGTH], || format!("{} bytes came", all.len()))?;
    }
    Ok(())
}

#[tokio::test]
async fn an_sdk_client_sees_the_end_of_our_hosts_target() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, port) = (Machine::new().await?, speaker().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (arguments, number) = (on_relay(&relay), port.to_string());
    let first = [&number, "--tunnel", TUNNEL, "--protocol", "v2", "--no-e2e"];
    let host = machine.host(&with(&first, &arguments)).await?;
    let client = relay.client(&sdk, Some(2), false, port).await?;
    let passed = reads_all(client.local_port(port)?).await;
    passed.map_err(|failure| host.process.explain(client.explain(failure)))
}

#[tokio::test]
async fn an_sdk_client_sees_the_end_of_an_sdk_hosts_target() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, port) = (Machine::new().await?, speaker().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let host = relay.host(&sdk, Some(2), false, port).await?;
    let client = relay.client(&sdk, Some(2), false, port).await?;
    let passed = reads_all(client.local_port(port)?).await;
    passed.map_err(|failure| host.explain(client.explain(failure)))
}

/// At once if its client closes; if that only ends its own way, once an answer has been waited for.
#[tokio::test]
async fn an_sdk_hosts_target_sees_the_end_of_a_client() -> Outcome {
    /// So long an answer is waited for.
    const PATIENCE: Duration = Duration::from_secs(30);
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (machine, (port, mut heard)) = (Machine::new().await?, listener().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let host = relay.host(&sdk, Some(2), false, port).await?;
    let client = relay.client(&sdk, Some(2), false, port).await?;
    for (closes, limit) in [(true, STEP), (false, PATIENCE.saturating_add(STEP))] {
        let mut stream = connect(client.local_port(port)?).await?;
        stream.write_all(b"the last words").await?;
        stream.shutdown().await?;
        let _open = (!closes).then_some(stream);
        let ended = within(limit, "the client's end", async { Ok(heard.recv().await) }).await;
        let heard = ended.map_err(|failure| host.explain(client.explain(failure)))?;
        ensure(heard.as_deref() == Some(b"the last words"), || format!("{heard:?}, closes: {closes}"))?;
    }
    Ok(())
}
