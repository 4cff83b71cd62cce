//! Unmodified hosts and clients of the Dev Tunnels SDK through `adit relay`.
#![cfg(target_os = "linux")]

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::adit::Adit;
use tests::endpoint::{Endpoint, connect, listen_on_reserved};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::dev_tunnels::DevTunnels;
use tests::relay::{SdkEnd, TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An SDK waits for 1, 2, 4 s between tries to reach a relay that is gone, and 6.5 s when one says that it is busy.
const COMEBACK: Duration = Duration::from_secs(45);

/// Echoes of both sizes, twenty connections at once, and a request of HTTP.
async fn everything_passes(client: &SdkEnd, port: u16) -> Outcome {
    let local = Endpoint::Tcp(client.local_port(port)?);
    for length in [1024, 8 * 1024 * 1024] {
        within(
            STEP,
            &format!("an echo of {length} bytes"),
            exchange(local.connect().await?, length, length, Ending::Close),
        )
        .await?;
    }
    let mut all = Vec::new();
    for seed in 0..20 {
        all.push(exchange(local.connect().await?, seed, 64 * 1024, Ending::Close));
    }
    within(STEP, "twenty connections", async { futures::future::try_join_all(all).await.map(drop) }).await
}

async fn http_get(local: u16) -> Outcome {
    let get = async {
        let mut stream = connect(local).await?;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure(
            answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\nyou asked for /hello"),
            || format!("the answer is {answer:?}"),
        )
    };
    within(STEP, "an HTTP request", get).await
}

/// A web server for a request a connection.
async fn web_server() -> Outcome<(u16, tokio::task::AbortHandle)> {
    // The SDK's client listens at the next number.
    let (listener, port) = listen_on_reserved().await?;
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n")
                && stream.read_buf(&mut head).await.is_ok_and(|count| count > 0)
            {}
            let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
            let body = format!("you asked for {path}");
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok((port, task.abort_handle()))
}

async fn both(host: Option<u8>, client: Option<u8>, e2e: bool) -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let host = relay.host(&sdk, host, e2e, target.port).await?;
    let client = relay.client(&sdk, client, e2e, target.port).await?;
    let passed = everything_passes(&client, target.port).await;
    passed.map_err(|failure| host.explain(client.explain(failure)))?;
    client.quit().await?;
    host.quit().await
}

#[tokio::test]
async fn v1() -> Outcome {
    both(Some(1), Some(1), false).await
}

#[tokio::test]
async fn v2() -> Outcome {
    both(Some(2), Some(2), false).await
}

#[tokio::test]
async fn v2_with_end_to_end_encryption() -> Outcome {
    both(Some(2), Some(2), true).await
}

#[tokio::test]
async fn a_v1_client_on_a_v2_host() -> Outcome {
    both(Some(2), Some(1), false).await
}

#[tokio::test]
async fn a_client_that_offers_both_on_a_v1_host() -> Outcome {
    both(Some(1), None, false).await
}

/// Nothing can join the two, and the client is told so for good.
#[tokio::test]
async fn a_v2_client_on_a_v1_host() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let _host = relay.host(&sdk, Some(1), false, target.port).await?;
    match relay.client(&sdk, Some(2), false, target.port).await {
        Ok(_) => Err(Failure::new("a client of v2 got through to a host of v1")),
        Err(failure) => {
            ensure(failure.to_string().contains(" 400"), || format!("another failure: {failure}"))
        }
    }
}

#[tokio::test]
async fn a_web_server() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let relay = TestRelay::start(&Adit::find().await?).await?;
    let (port, server) = web_server().await?;
    for version in [1, 2] {
        let host = relay.host(&sdk, Some(version), version == 2, port).await?;
        let client = relay.client(&sdk, Some(version), version == 2, port).await?;
        for _ in 0..3 {
            let got = http_get(client.local_port(port)?).await;
            got.map_err(|failure| host.explain(client.explain(failure)))?;
        }
        client.quit().await?;
        host.quit().await?;
    }
    server.abort();
    Ok(())
}

/// Nothing is sent while the link is away: an SDK client that is given data then breaks the order of its stream, which
/// nobody else can mend.
#[tokio::test]
async fn a_stream_of_v1_outlives_its_links() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let mut host = relay.host(&sdk, Some(1), false, target.port).await?;
    let mut client = relay.client(&sdk, Some(1), false, target.port).await?;
    let mut stream = connect(client.local_port(target.port)?).await?;
    round_trip(&mut stream, 1).await?;
    for (path, round) in [("/client", 2), ("/host", 3), ("/client", 4)] {
        ensure(relay.links.cut(path) > 0, || format!("there was no {path} to cut"))?;
        if path == "/host" {
            host.status("connected", COMEBACK).await?;
        }
        client.status("connected", COMEBACK).await?;
        round_trip(&mut stream, round)
            .await
            .map_err(|failure| failure.while_doing(&format!("after {path} was cut")))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_v2_comes_back() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let mut host = relay.host(&sdk, Some(2), false, target.port).await?;
    let mut client = relay.client(&sdk, Some(2), false, target.port).await?;
    for path in ["/client", "/host"] {
        let cut = relay.links.cut(path);
        ensure(cut > 0, || format!("there was no {path} to cut"))?;
        let again = if path == "/client" { &mut client } else { &mut host };
        let mut passed = again.status("connected", COMEBACK).await.map(drop);
        if passed.is_ok() {
            passed = works_again(&mut client, target.port).await;
        }
        passed.map_err(|failure| host.explain(client.explain(failure.while_doing(path))))?;
    }
    Ok(())
}

/// Killed and started again on its port, twice: both ends come back, and a stream of v1 goes on where it was. Connections
/// wait meanwhile, since an SDK client gives its streams up when it is refused once.
#[tokio::test]
async fn the_relay_is_killed() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (mut relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let mut host = relay.host(&sdk, Some(1), false, target.port).await?;
    let mut client = relay.client(&sdk, Some(1), false, target.port).await?;
    let mut stream = connect(client.local_port(target.port)?).await?;
    round_trip(&mut stream, 1).await?;
    relay.links.hold(true);
    for round in 2..4 {
        relay.stop(Signal::KILL).await?;
        relay.restart().await?;
        host.status("connected", COMEBACK).await?;
        client.status("connected", COMEBACK).await?;
        let passed = round_trip(&mut stream, round).await;
        passed.map_err(|failure| host.explain(client.explain(failure)))?;
    }
    Ok(())
}

/// It ends by itself, in time and with success; both versions come back to its successor.
#[tokio::test]
async fn the_relay_is_told_to_stop() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    for version in [1, 2] {
        let (mut relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
        let mut host = relay.host(&sdk, Some(version), false, target.port).await?;
        let mut client = relay.client(&sdk, Some(version), false, target.port).await?;
        let code = within(Duration::from_secs(15), "stopping", relay.stop(Signal::TERM)).await?;
        ensure(code == Some(0), || format!("v{version}: the relay ended with {code:?}"))?;
        relay.restart().await?;
        host.status("connected", COMEBACK).await?;
        client.status("connected", COMEBACK).await?;
        let passed = works_again(&mut client, target.port).await;
        passed.map_err(|failure| host.explain(client.explain(failure)))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_second_host_replaces_the_first() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    for version in [1, 2] {
        let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
        let mut first = relay.host(&sdk, Some(version), false, target.port).await?;
        let mut second = relay.host(&sdk, Some(version), false, target.port).await?;
        let why = first.status("disconnected", STEP).await?;
        ensure(why.contains("another host"), || format!("the first host is told {why:?}"))?;
        ensure(second.is_quiet(Duration::from_secs(3)).await?, || "the two fight over the tunnel".into())?;
        ensure(first.is_quiet(Duration::from_millis(100)).await?, || "the first host comes back".into())?;
        let mut client = relay.client(&sdk, Some(version), false, target.port).await?;
        works_again(&mut client, target.port).await?;
    }
    Ok(())
}

/// A token that has been taken back: the relay says 401, the SDK asks for another and gets in.
#[tokio::test]
async fn a_token_is_refreshed() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let _host = relay.host(&sdk, None, false, target.port).await?;
    let stale = make_token(&relay).await?;
    revoke(&relay, &stale).await?;
    let settings = serde_json::json!({
        "role": "client", "url": relay.url(), "tunnel": TUNNEL, "ports": [target.port],
        "user_token": relay.admin_token()?, "connect_token": token_of(&stale)?,
    });
    let mut client = SdkEnd::start(sdk.relay(&settings, None)?).await?;
    ensure(client.statuses.iter().any(|(status, _)| status.starts_with("refreshing")), || {
        format!("no token was refreshed: {:?}", client.statuses)
    })?;
    works_again(&mut client, target.port).await
}

/// What goes on with a token ends within five seconds of its revocation, and does not come back.
#[tokio::test]
async fn a_token_is_revoked() -> Outcome {
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    for version in [1, 2] {
        let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
        let _host = relay.host(&sdk, Some(version), false, target.port).await?;
        let token = make_token(&relay).await?;
        let mut client = relay.client_with_token(&sdk, version, token_of(&token)?, target.port).await?;
        let mut stream = connect(client.local_port(target.port)?).await?;
        round_trip(&mut stream, 1).await?;
        revoke(&relay, &token).await?;
        client.status("disconnected", Duration::from_secs(5)).await?;
        ensure(client.is_quiet(Duration::from_secs(2)).await?, || "the client comes back".into())?;
    }
    Ok(())
}

/// The relay logs as loudly as it can, and what passes through it is in no line.
#[tokio::test]
async fn payloads_and_tokens_are_not_logged() -> Outcome {
    const CANARY: &[u8] = b"canary-in-the-payload";
    let Some(sdk) = DevTunnels::find().await? else { return Ok(()) };
    let (relay, target) = (TestRelay::start(&Adit::find().await?).await?, Target::echo().await?);
    let host = relay.host(&sdk, Some(2), false, target.port).await?;
    let client = relay.client(&sdk, Some(2), false, target.port).await?;
    let mut stream = connect(client.local_port(target.port)?).await?;
    stream.write_all(CANARY).await?;
    let mut back = [0; CANARY.len()];
    within(STEP, "the echo", async { Ok(stream.read_exact(&mut back).await.map(drop)?) }).await?;
    assert_eq!(back, CANARY);
    for words in ["client connected", "DEBUG"] {
        relay.wait_log(words).await?;
    }
    let log = relay.log();
    let hex: String = CANARY.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = CANARY.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    for secret in
        ["canary", &hex, &decimal, &relay.admin_token()?, &host.token("connect")?, &host.token("host")?]
    {
        assert!(!log.contains(secret), "{secret:?} is in the log");
    }
    Ok(())
}

async fn make_token(relay: &TestRelay) -> Outcome<Value> {
    relay.operate(&["token", "create", "--tunnel", TUNNEL, "--scope", "connect", "--expires", "10m"]).await
}

fn token_of(event: &Value) -> Outcome<&str> {
    tests::adit::text(event, "token")
}

async fn revoke(relay: &TestRelay, event: &Value) -> Outcome {
    relay.operate(&["token", "revoke", "--id", tests::adit::text(event, "id")?]).await.map(drop)
}

/// A connection right after a comeback may find that the ports are not there yet.
async fn works_again(client: &mut SdkEnd, port: u16) -> Outcome {
    within(STEP, "a connection that works", async {
        loop {
            client.ask_ports().await?;
            let tried = async {
                let local = Endpoint::Tcp(client.local_port(port)?);
                exchange(local.connect().await?, 7, 100_000, Ending::Close).await
            };
            if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(5), tried).await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
}

/// Bytes there and back on a connection that stays open.
async fn round_trip(stream: &mut tokio::net::TcpStream, seed: u64) -> Outcome {
    let sent = tests::traffic::pattern(seed, 64 * 1024);
    let mut received = vec![0; sent.len()];
    within(STEP, "a round trip", async {
        let (mut read, mut write) = stream.split();
        let (read, written) = tokio::join!(read.read_exact(&mut received), write.write_all(&sent));
        written?;
        read?;
        Ok(())
    })
    .await?;
    ensure(sent == received, || "bytes came back changed".to_owned())
}
