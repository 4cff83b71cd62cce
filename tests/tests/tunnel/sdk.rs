//! The Dev Tunnels SDK at either end.

use std::time::Duration;

use tests::adit::{event, text};
use tests::endpoint::{Endpoint, listen_on_reserved};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::dev_tunnels::DevTunnels;
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange, greeted};
use tests::tunnel::{Client, Machine, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::everything_passes;

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

/// A client of ours that cannot know the SDK host's key.
async fn unpinned(machine: &Machine, arguments: &[String], protocol: &str) -> Outcome<Client> {
    let first = [TUNNEL, "--allow-unpinned-host", "--protocol", protocol];
    machine.connect(&with(&first, arguments)).await
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
        let client = unpinned(&machine, &arguments, protocol).await?;
        let passed = everything_passes(&client.local(target.port)?, Ending::Close).await;
        passed.map_err(|failure| client.process.explain(host.explain(failure)).while_doing(protocol))?;
        client.stop().await?;
        host.quit().await?;
    }
    Ok(())
}

/// The SDK ends a stream with its channel only, as it does after an HTTP/1.0 answer.
#[tokio::test]
async fn an_sdk_client_of_our_host_sees_a_target_that_closes_first() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let machine = Machine::new().await?;
    for (protocol, version, e2e) in [("v1", 1, false), ("v2", 1, false), ("v2", 2, true)] {
        for length in [1000, 3 * 1024 * 1024] {
            let target = Target::greeting(length, length).await?;
            let port = target.port.to_string();
            let relay = TestRelay::start(&machine.adit).await?;
            let arguments = on_relay(&relay);
            let host =
                machine.host(&with(&[&port, "--tunnel", TUNNEL, "--protocol", protocol], &arguments)).await?;
            let client = relay.client(&sdk, Some(version), e2e, target.port).await?;
            let local = Endpoint::Tcp(client.local_port(target.port)?);
            let passed = within(STEP, "an answer and its end", async {
                for _ in 0..3 {
                    greeted(local.connect().await?, length, length).await?;
                }
                Ok(())
            });
            let passed = passed.await;
            passed.map_err(|failure| {
                host.process
                    .explain(client.explain(failure))
                    .while_doing(&format!("{protocol} with {version}: {length} bytes"))
            })?;
            client.quit().await?;
        }
    }
    Ok(())
}

/// An application of our client's that is gone is an end for the target at the SDK's host, which takes no other sign for it
/// than that of the channel.
#[tokio::test]
async fn a_target_of_an_sdk_host_sees_the_end_of_our_client() -> Outcome {
    // Ours waits for 30 s.
    const PATIENCE: Duration = Duration::from_secs(70);
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let machine = Machine::new().await?;
    for (version, protocol, e2e) in [(1, "v1", false), (2, "v2", true)] {
        let (listener, port) = listen_on_reserved().await?;
        let relay = TestRelay::start(&machine.adit).await?;
        let arguments = on_relay(&relay);
        let host = relay.host(&sdk, Some(version), e2e, port).await?;
        let client = unpinned(&machine, &arguments, protocol).await?;
        let passed = within(PATIENCE, "the end of a connection", async {
            let mut near = client.local(port)?.connect().await?;
            near.write_all(b"question").await?;
            let (mut far, _) = listener.accept().await?;
            far.read_exact(&mut [0; 8]).await?;
            far.write_all(b"answer").await?;
            near.read_exact(&mut [0; 6]).await?;
            drop(near);
            // However it is told.
            ensure(matches!(far.read(&mut [0]).await, Ok(0) | Err(_)), || "more came".into())
        });
        let passed = passed.await;
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
    let mut client = unpinned(&machine, &arguments, "v2").await?;
    let sent = exchange(client.local(target.port)?.connect().await?, 1, 1024, Ending::Close).await;
    ensure(sent.is_err(), || "bytes passed without encryption".into())?;
    let refused = event(&mut client.process, "refused").await?;
    ensure(text(&refused, "message")?.contains("end-to-end encryption"), || refused.to_string())
}
