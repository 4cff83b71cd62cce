//! A client of Go on a tunnel of ours, as the Dev Tunnels SDK for Go is one: gorilla's WebSocket, and in it Go's SSH.

use serde_json::json;
use tests::endpoint::Endpoint;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::go::Go;
use tests::relay::{SdkEnd, TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tests::tunnel::{Host, Machine, on_relay, with};

async fn client(go: &Go, relay: &TestRelay, host: &Host, token: &str, port: u16) -> Outcome<SdkEnd> {
    let settings = json!({ "url": relay.url(), "tunnel": host.tunnel, "token": token, "tunnel_port": port });
    SdkEnd::start(go.spawn("relay_client", &settings)?).await
}

#[tokio::test]
async fn a_client_of_our_host_on_our_relay() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let port = target.port.to_string();
    for protocol in ["v1", "v2"] {
        let relay = TestRelay::start(&machine.adit).await?;
        let arguments = on_relay(&relay);
        let host =
            machine.host(&with(&[&port, "--tunnel", TUNNEL, "--protocol", protocol], &arguments)).await?;
        let token = host.link.split_once("&t=").ok_or_else(|| Failure::new("no token in the link"))?.1;
        let refused = client(&go, &relay, &host, "not a token", target.port).await;
        let why = refused.err().map(|failure| failure.to_string()).unwrap_or_default();
        ensure(why.contains("401"), || format!("without a right: {why}"))?;

        let client = client(&go, &relay, &host, token, target.port).await?;
        let passed = everything_passes(&Endpoint::Tcp(client.local_port(target.port)?)).await;
        passed.map_err(|failure| host.process.explain(client.explain(failure)).while_doing(protocol))?;
        client.quit().await?;
    }
    Ok(())
}

async fn everything_passes(local: &Endpoint) -> Outcome {
    for length in [1024, 8 * 1024 * 1024] {
        let echo = exchange(local.connect().await?, length, length, Ending::HalfClose);
        within(STEP, &format!("an echo of {length} bytes"), echo).await?;
    }
    let mut all = Vec::new();
    for seed in 0..20 {
        all.push(exchange(local.connect().await?, seed, 64 * 1024, Ending::HalfClose));
    }
    within(STEP, "twenty connections", async { futures::future::try_join_all(all).await.map(drop) }).await
}
