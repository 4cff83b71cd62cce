//! TCP connections that are reset after any number of bytes.

use futures::StreamExt as _;
use ssh_core::client::{self, Credential};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::{PASSWORD, USER};
use tests::wire::Wire;
use tokio::net::TcpStream;

use super::world::{World, assert_well};

/// Up to a login and a channel, both ways together.
const CONVERSATION: u64 = 9000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_survives_a_reset_after_any_number_of_bytes() -> Outcome {
    const STEPS: u64 = 9;
    let world = World::new().await?;
    let (mut server, port) = world.serve(&["--no-penalties"]).await?;
    // Every remainder comes up, so that each field is cut somewhere.
    let wire = Wire::with_budget(port, |number| {
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        Some(number.wrapping_mul(STEPS) % CONVERSATION + number % STEPS)
    })
    .await?;
    let port = wire.port;
    let tries = futures::stream::iter(0..CONVERSATION / STEPS).for_each_concurrent(8, |_| async move {
        let config = client::Config::builder(USER)
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .authenticate(Credential::password(PASSWORD));
        let (Ok(config), Ok(stream)) = (config.build(), TcpStream::connect(("127.0.0.1", port)).await) else {
            return;
        };
        if let Ok(session) = client::connect(stream, config).await {
            let _ = session.open_channel("session").await;
            session.close();
        }
    });
    within(4 * STEP, "a thousand connections that are reset", async {
        tries.await;
        Ok(())
    })
    .await
    .map_err(|failure| server.explain(failure))?;
    ensure(wire.kills() > 500, || format!("only {} connections were reset", wire.kills()))?;
    assert_well(&mut server)?;
    wire.lead_to(0);
    drop(wire);
    let events = server.lines_so_far();
    ensure(!events.iter().any(|line| line.contains(r#""event":"error""#)), || format!("{events:#?}"))?;
    assert_well(&mut server)
}

#[tokio::test]
async fn a_client_ends_cleanly_after_a_reset_at_any_place() -> Outcome {
    let world = World::new().await?;
    let (mut server, port) = world.serve(&["--no-penalties"]).await?;
    let wire =
        Wire::with_budget(port, |number| Some(u64::try_from(number).unwrap_or_default() * 211)).await?;
    for number in 0..32 {
        match world.forward(wire.port, &["--no-reconnect"]).await {
            Ok(mut client) => {
                // It was quick enough to be ready. What it was not is to go on.
                let stream = super::world::open(&client).await;
                if stream.is_err() {
                    let code = client.process.exit(STEP).await?;
                    ensure(code == Some(5), || format!("{number}: it ended with {code:?}"))?;
                }
                let log = client.process.log();
                ensure(!log.contains("panicked"), || format!("{number}: {log}"))?;
            }
            Err(failure) => {
                let text = failure.to_string();
                let is_network = text.contains(r#""code":"network""#);
                ensure(is_network && !text.contains("panicked"), || format!("{number}: {text}"))?;
            }
        }
    }
    ensure(wire.kills() > 10, || format!("only {} connections were reset", wire.kills()))?;
    assert_well(&mut server)?;
    world.check(port).await
}
