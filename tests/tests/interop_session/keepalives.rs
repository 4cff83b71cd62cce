//! Keepalives as events: each side counts those that the other answers, and those that it does not.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use ssh_core::Session;
use ssh_core::config::Limits;
use ssh_core::session::SessionEvent;
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::wire::Wire;

use crate::end::{both_roles, client_config, dial, end_server, server_config, their_client, their_server};

const COUNTED: u32 = 3;

#[tokio::test]
async fn they_count_what_we_answer() -> Outcome {
    // Long enough for a machine that is busy.
    for (mut end, _session) in both_roles(json!({ "keep_alive": 1 })).await? {
        // An answer that takes a second is none to them, and they begin again.
        let mut before = 0;
        while before < u64::from(COUNTED) {
            let event = end.next("keepalive").await?;
            let count = event["count"].as_u64().unwrap_or_default();
            let is_next = event["answered"] == false || count == before + 1;
            ensure(is_next, || format!("{event} after {before}"))?;
            before = if event["answered"] == true { count } else { 0 };
        }
    }
    Ok(())
}

#[tokio::test]
async fn they_count_what_nobody_answers() -> Outcome {
    let Some(mut end) = end_server(json!({ "keep_alive": 1 })).await? else { return Ok(()) };
    let wire = Wire::to(end.port).await?;
    let _session = dial(wire.port, client_config().build()?).await?;
    end.expect("keepalive", json!({ "answered": true, "count": 1 })).await?;
    wire.swallow(true);
    loop {
        let event = end.next("keepalive").await?;
        if event["answered"] == false {
            return ensure(event["count"] == 1, || event.to_string());
        }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(30));
    limits.keepalive_misses = 1000;
    limits
}

/// Theirs answers with a success, and an answer that somebody else waits for stays that one's.
#[tokio::test]
async fn we_count_what_they_answer() -> Outcome {
    let with_client = their_client(json!({}), server_config()?.limits(limits())).await?;
    let with_server = their_server(json!({}), client_config().limits(limits())).await?;
    for (_end, session) in with_client.into_iter().chain(with_server) {
        let counting = tokio::spawn(count(session.clone(), true));
        for round in 0..10_u8 {
            let answer = session.request(if round % 2 == 0 { "slow" } else { "ping" }, &[round]).await?;
            ensure(answer.as_deref() == Some(&[b'r', b'e', b':', round][..]), || {
                format!("{round}: {answer:?}")
            })?;
        }
        let counts = within(STEP, "keepalives", async { Ok(counting.await?) }).await?;
        ensure(counts.len() == COUNTED as usize && counts.iter().all(|count| *count > 0), || {
            format!("{counts:?}")
        })?;
    }
    Ok(())
}

#[tokio::test]
async fn we_count_what_nobody_answers_until_it_is_the_end() -> Outcome {
    let Some(end) = end_server(json!({})).await? else { return Ok(()) };
    let wire = Wire::to(end.port).await?;
    let mut limits = limits();
    limits.keepalive = Some(Duration::from_millis(200));
    limits.keepalive_misses = COUNTED;
    let session = dial(wire.port, client_config().limits(limits).build()?).await?;
    let counting = tokio::spawn(count(session.clone(), false));
    wire.swallow(true);
    let counts = within(STEP, "keepalives", async { Ok(counting.await?) }).await?;
    ensure(counts == [1, 2, 3], || format!("{counts:?}"))?;
    within(STEP, "the end", async { Ok(session.closed().await) }).await.map(drop)
}

async fn count(session: Session, answered: bool) -> Vec<u32> {
    let counts = session.events().filter_map(|event| async move {
        match event {
            SessionEvent::KeepAliveSucceeded { count } if answered => Some(count),
            SessionEvent::KeepAliveFailed { count } if !answered => Some(count),
            _ => None,
        }
    });
    counts.take(COUNTED as usize).collect().await
}
