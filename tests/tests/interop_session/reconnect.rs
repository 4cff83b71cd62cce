//! Sessions that lose what was under way in both directions, and lack nothing afterwards.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use ssh_core::Session;
use ssh_core::channel::Channel;
use ssh_core::error::{Error, ReconnectFailure};
use ssh_core::server::{self, DetachedSessions};
use ssh_core::session::{ReconnectOffer, SessionEvent};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::end::{
    End, client_config, dial, end_client, end_server, host_key, server_config, server_config_with,
};

const ROUNDS: u32 = 3;
/// Below any window and any buffer of the system, so that it can be written into the void.
const LENGTH: usize = 40_000;

fn settings() -> Value {
    json!({ "reconnect": true })
}

async fn enabled(end: &mut End, session: &Session) -> Outcome {
    let both = async {
        while !session.is_reconnect_enabled() || end.ask("facts", json!({})).await?["reconnect"] != true {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    within(STEP, "reconnecting being enabled", both).await
}

fn pattern() -> Vec<u8> {
    (0..LENGTH).map(|i| u8::try_from(i % 251).unwrap_or_default()).collect()
}

/// Both sides write, ours asks, and nothing of it arrives.
async fn write_into_the_void(wire: &Wire, end: &mut End, channel: &mut Channel) -> Outcome {
    wire.swallow(true);
    channel.write_all(&pattern()).await?;
    end.tell("write", json!({ "channel": "it", "length": LENGTH })).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    wire.swallow(false);
    wire.cut();
    Ok(())
}

async fn all_is_there(end: &mut End, channel: &mut Channel) -> Outcome {
    let mut received = vec![0; LENGTH];
    within(STEP, "what they wrote", async { Ok(channel.read_exact(&mut received).await?) }).await?;
    ensure(received == pattern(), || "what they wrote differs".to_owned())?;
    let read = end.ask("read", json!({ "channel": "it", "length": LENGTH, "pattern": true })).await?;
    ensure(read["same"] == true, || "what we wrote differs".to_owned())
}

/// Both have counted, and both have measured.
async fn facts_agree(end: &mut End, session: &Session) -> Outcome {
    let facts = end.ask("facts", json!({})).await?;
    ensure(session.reconnections() == ROUNDS && facts["reconnections"] == ROUNDS, || facts.to_string())?;
    let latency = session.latency().ok_or_else(|| Failure::new("we have not measured"))?;
    ensure(
        latency.samples > 0 && latency.min <= latency.average() && latency.average() <= latency.max,
        || format!("{latency:?}"),
    )?;
    let theirs = |name: &str| facts["latency"][name].as_f64().unwrap_or_default();
    ensure(theirs("max") > 0.0 && theirs("min") <= theirs("max"), || facts.to_string())?;
    // It is one machine: nobody waits for a second, unless a side takes a unit for another.
    let far_too_long = latency.max > STEP || theirs("max") > STEP.as_secs_f64() * 1000.0;
    ensure(!far_too_long, || format!("{latency:?} {facts}"))
}

#[tokio::test]
async fn we_come_back_to_their_server() -> Outcome {
    let Some(mut end) = end_server(settings()).await? else { return Ok(()) };
    let wire = Wire::to(end.port).await?;
    let config = client_config().offer_reconnect(ReconnectOffer::default()).build()?;
    let session = dial(wire.port, config).await?;
    end.next("ready").await?;
    enabled(&mut end, &session).await?;
    end.tell("open", json!({ "channel": "it", "kind": "session" })).await?;
    let mut channel = session.accept_channel(None).await?;
    end.next("open").await?;
    for round in 0..ROUNDS {
        let mut events = session.events();
        // An answer that is owed over the loss is not the answer to the reconnect.
        let asking = tokio::spawn({
            let session = session.clone();
            async move { session.request("slow", b"over").await }
        });
        end.next("global").await?;
        write_into_the_void(&wire, &mut end, &mut channel).await?;
        while !matches!(events.next().await, Some(SessionEvent::Disconnected(_))) {}
        session.reconnect(TcpStream::connect(("127.0.0.1", wire.port)).await?).await?;
        end.next("reconnected").await?;
        all_is_there(&mut end, &mut channel).await?;
        let answer = within(STEP, "the answer", async { Ok(asking.await??) }).await?;
        ensure(answer.as_deref() == Some(b"re:over"), || format!("round {round}: {answer:?}"))?;
    }
    facts_agree(&mut end, &session).await
}

#[tokio::test]
async fn their_client_comes_back_to_us() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let wire = Wire::to(listener.local_addr()?.port()).await?;
    let Some(mut end) = end_client(wire.port, settings())? else { return Ok(()) };
    let config = server_config()?.detached_sessions(DetachedSessions::default()).build()?;
    let mut logins = serve(listener, config);
    let session = logins.recv().await.ok_or_else(|| Failure::new("no login"))??;
    end.next("ready").await?;
    enabled(&mut end, &session).await?;
    end.tell("open", json!({ "channel": "it", "kind": "session" })).await?;
    let mut channel = session.accept_channel(None).await?;
    end.next("open").await?;
    for _ in 0..ROUNDS {
        let asking = tokio::spawn({
            let session = session.clone();
            async move { session.request("slow", b"over").await }
        });
        end.next("global").await?;
        write_into_the_void(&wire, &mut end, &mut channel).await?;
        end.next("disconnected").await?;
        // Theirs is still taking its old connection apart.
        tokio::time::sleep(Duration::from_millis(500)).await;
        end.ask("reconnect", json!({})).await?;
        handed_over(&mut logins).await?;
        all_is_there(&mut end, &mut channel).await?;
        let answer = within(STEP, "the answer", async { Ok(asking.await??) }).await?;
        ensure(answer.as_deref() == Some(b"re:over"), || format!("{answer:?}"))?;
    }
    facts_agree(&mut end, &session).await
}

/// All logins, good or not.
fn serve(
    listener: TcpListener,
    config: Arc<server::Config>,
) -> mpsc::UnboundedReceiver<Result<Session, Error>> {
    let (logins, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if logins.send(server::accept(stream, Arc::clone(&config)).await).is_err() {
                return;
            }
        }
    });
    received
}

async fn handed_over(logins: &mut mpsc::UnboundedReceiver<Result<Session, Error>>) -> Outcome {
    match logins.recv().await {
        Some(Err(Error::Reconnect(ReconnectFailure::HandedOver))) => Ok(()),
        other => Err(Failure::new(format!("not handed over: {other:?}"))),
    }
}

/// What either side says of a session that is not to be had.
#[tokio::test]
async fn failures_have_their_codes() -> Outcome {
    const SESSION_NOT_FOUND: u32 = 2;
    const DIFFERENT_HOST_KEY: u32 = 102;
    for (code, same_key) in [(SESSION_NOT_FOUND, true), (DIFFERENT_HOST_KEY, false)] {
        let first = TcpListener::bind("127.0.0.1:0").await?;
        let second = TcpListener::bind("127.0.0.1:0").await?;
        let other = second.local_addr()?.port();
        let wire = Wire::to(first.local_addr()?.port()).await?;
        let Some(mut end) = end_client(wire.port, settings())? else { return Ok(()) };
        let key = host_key()?;
        let config = |key| server_config_with(key)?.detached_sessions(DetachedSessions::default()).build();
        let mut logins = serve(first, config(&key)?);
        let session = logins.recv().await.ok_or_else(|| Failure::new("no login"))??;
        end.next("ready").await?;
        enabled(&mut end, &session).await?;
        let _others = serve(second, if same_key { config(&key)? } else { config(&host_key()?)? });
        wire.lead_to(other);
        wire.cut();
        end.next("disconnected").await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        end.tell("reconnect", json!({})).await?;
        end.expect("failed", json!({ "command": "reconnect", "reason": code })).await?;
    }

    let (Some(mut end), Some(other)) = (end_server(settings()).await?, end_server(settings()).await?) else {
        return Ok(());
    };
    let config = client_config().offer_reconnect(ReconnectOffer::default()).build()?;
    let wire = Wire::to(end.port).await?;
    let session = dial(wire.port, config).await?;
    enabled(&mut end, &session).await?;
    let mut events = session.events();
    wire.cut();
    while !matches!(events.next().await, Some(SessionEvent::Disconnected(_))) {}
    let failed = session.reconnect(TcpStream::connect(("127.0.0.1", other.port)).await?).await;
    let different = matches!(failed, Err(Error::Reconnect(ReconnectFailure::DifferentHostKey)));
    ensure(different, || format!("{failed:?}"))
}
