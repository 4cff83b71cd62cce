//! A session of theirs, ours in the middle, and another of theirs: what one end does arrives at the other.

use serde_json::{Value, json};
use ssh_core::error::{DisconnectReason, Error};
use ssh_core::{Session, session};
use tests::outcome::{Outcome, STEP, ensure, within};
use tokio::task::JoinHandle;

use crate::end::{End, client_config, hex, server_config, their_client, their_server};

/// Their client, their server, and the pipe between.
async fn piped() -> Outcome<Option<(End, End, JoinHandle<Error>)>> {
    let Some((near, inner_near)) = their_client(json!({}), server_config()?).await? else { return Ok(None) };
    let Some((far, inner_far)) = their_server(json!({}), client_config()).await? else { return Ok(None) };
    let pipe = tokio::spawn(async move { inner_near.pipe(&inner_far).await });
    Ok(Some((near, far, pipe)))
}

/// A channel from `a` to `b` under the same name at both.
async fn channel(a: &mut End, b: &mut End, kind: &str) -> Outcome<Value> {
    a.ask("open", json!({ "channel": "it", "kind": kind })).await?;
    let offered = b.next("channel").await?;
    ensure(offered["kind"] == kind, || offered.to_string())?;
    Ok(offered["channel"].clone())
}

#[tokio::test]
async fn channels_open_with_their_fields_when_the_far_side_has_confirmed() -> Outcome {
    let Some((mut near, mut far, _pipe)) = piped().await? else { return Ok(()) };
    for round in 0..2 {
        let (a, b) = if round == 0 { (&mut near, &mut far) } else { (&mut far, &mut near) };
        let fields = hex(b"\x00\x01fields of its own");
        let opened = a.ask("open", json!({ "channel": "x", "kind": "confirm", "fields": fields })).await?;
        b.expect("channel", json!({ "kind": "confirm", "fields": fields })).await?;
        ensure(opened["fields"] == hex(b"yes"), || opened.to_string())?;

        a.tell("open", json!({ "channel": "y", "kind": "slow" })).await?;
        b.expect("channel", json!({ "kind": "slow" })).await?;
        a.next("open").await?;

        a.tell("open", json!({ "channel": "z", "kind": "refuse" })).await?;
        b.expect("channel", json!({ "kind": "refuse" })).await?;
        a.expect("failed", json!({ "command": "open", "reason": 2, "message": "nobody there" })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn requests_keep_their_payloads_and_their_order() -> Outcome {
    let Some((mut near, mut far, _pipe)) = piped().await? else { return Ok(()) };
    for round in 0..2 {
        let (a, b) = if round == 0 { (&mut near, &mut far) } else { (&mut far, &mut near) };
        // Of the session.
        for number in 0..8_u8 {
            let name = ["slow", "ping", "no"][usize::from(number % 3)];
            a.tell("ask", json!({ "name": name, "fields": hex(&[number]) })).await?;
        }
        for number in 0..8_u8 {
            let name = ["slow", "ping", "no"][usize::from(number % 3)];
            b.expect("global", json!({ "name": name, "fields": hex(&[number]), "reply": true })).await?;
            let fields = if name == "no" { hex(b"why") } else { hex(&[b"re:", &[number][..]].concat()) };
            a.expect("ask", json!({ "name": name, "accepted": name != "no", "fields": fields })).await?;
        }
        a.ask("ask", json!({ "name": "note", "fields": hex(b"only told"), "reply": false })).await?;
        b.expect("global", json!({ "name": "note", "fields": hex(b"only told"), "reply": false })).await?;

        // Of a channel.
        let there = channel(a, b, "session").await?;
        for number in 0..8_u8 {
            let name = ["slow", "exec", "no"][usize::from(number % 3)];
            let call =
                json!({ "channel": "it", "name": name, "fields": hex(&[7, number]), "number": number });
            a.tell("call", call).await?;
        }
        for number in 0..8_u8 {
            let name = ["slow", "exec", "no"][usize::from(number % 3)];
            let arrived =
                json!({ "channel": there, "name": name, "fields": hex(&[7, number]), "reply": true });
            b.expect("request", arrived).await?;
            a.expect("call", json!({ "number": number, "accepted": name != "no" })).await?;
        }
        a.ask("signal", json!({ "channel": "it", "signal": "TERM" })).await?;
        b.expect("request", json!({ "channel": there, "name": "signal", "fields": hex(b"\0\0\0\x04TERM") }))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn data_stderr_ends_and_exits_pass_both_ways() -> Outcome {
    /// Past their window of 1 MiB.
    const LENGTH: usize = 3 * 1024 * 1024 + 7;
    let Some((mut near, mut far, _pipe)) = piped().await? else { return Ok(()) };
    let exits = [
        (json!({ "status": 7 }), json!({ "status": 7 })),
        (
            json!({ "signal": "KILL", "message": "process killed" }),
            json!({ "signal": "KILL", "message": "process killed" }),
        ),
        (json!({}), json!({ "status": null, "signal": null })),
    ];
    for (round, (close, closed)) in exits.iter().chain(&exits).enumerate() {
        let (a, b) = if round < exits.len() { (&mut near, &mut far) } else { (&mut far, &mut near) };
        let there = channel(a, b, "session").await?;
        a.tell("write", json!({ "channel": "it", "length": LENGTH })).await?;
        let read = b.ask("read", json!({ "channel": there, "length": LENGTH, "pattern": true })).await?;
        ensure(read["same"] == true, || "the data differs".to_owned())?;
        a.next("write").await?;
        b.ask("write", json!({ "channel": there, "stderr": true, "text": "careful" })).await?;
        let read = a.ask("read", json!({ "channel": "it", "stderr": true, "length": 7 })).await?;
        ensure(read["text"] == "careful", || read.to_string())?;
        a.ask("end_of_data", json!({ "channel": "it" })).await?;
        b.expect("eof", json!({ "channel": there })).await?;
        // The other way is still open.
        b.ask("write", json!({ "channel": there, "text": "answer" })).await?;
        let read = a.ask("read", json!({ "channel": "it", "length": 6 })).await?;
        ensure(read["text"] == "answer", || read.to_string())?;

        let mut close = close.clone();
        close["channel"] = there;
        b.ask("close", close).await?;
        let mut closed = closed.clone();
        closed["channel"] = json!("it");
        a.expect("closed", closed).await?;
        b.next("closed").await?;
        // Ours sends one ahead of each close.
        a.forget("eof");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_closes_for_the_reason_of_the_other() -> Outcome {
    for reason in [11, 2] {
        for from_near in [true, false] {
            let Some((mut near, mut far, pipe)) = piped().await? else { return Ok(()) };
            let (a, b) = if from_near { (&mut near, &mut far) } else { (&mut far, &mut near) };
            channel(a, b, "session").await?;
            a.ask("disconnect", json!({ "reason": reason, "message": "that was all" })).await?;
            b.expect("session_closed", json!({ "reason": reason, "message": "that was all" })).await?;
            let ended = within(STEP, "the pipe", async { Ok(pipe.await?) }).await?;
            let told = matches!(&ended, Error::Disconnected { reason: told, text, .. }
                if *told == DisconnectReason(reason) && &**text == "that was all");
            ensure(told, || format!("{ended:?}"))?;
        }
    }
    Ok(())
}

/// `Channel::pipe` alone: the sessions are ours to use.
#[tokio::test]
async fn channels_are_piped_one_by_one() -> Outcome {
    let Some((mut near, inner_near)) = their_client(json!({}), server_config()?).await? else {
        return Ok(());
    };
    let Some((mut far, inner_far)) = their_server(json!({}), client_config()).await? else { return Ok(()) };
    near.tell("open", json!({ "channel": "it", "kind": "session" })).await?;
    let pipe = join(&inner_near, &inner_far).await?;
    near.next("open").await?;
    far.expect("channel", json!({ "channel": "in0", "kind": "other" })).await?;
    near.ask("write", json!({ "channel": "it", "text": "there" })).await?;
    let read = far.ask("read", json!({ "channel": "in0", "length": 5 })).await?;
    ensure(read["text"] == "there", || read.to_string())?;
    let answered = far.ask("call", json!({ "channel": "in0", "name": "no" })).await?;
    ensure(answered["accepted"] == false, || answered.to_string())?;
    near.ask("close", json!({ "channel": "it", "status": 3 })).await?;
    far.expect("closed", json!({ "channel": "in0", "status": 3 })).await?;
    within(STEP, "the pipe", async { Ok(pipe.await?) }).await?;
    for (end, session) in [(&mut near, &inner_near), (&mut far, &inner_far)] {
        ensure(!session.is_closed(), || "a session went with its channel".to_owned())?;
        let facts = end.ask("facts", json!({})).await?;
        ensure(facts["software"].is_string(), || facts.to_string())?;
    }
    Ok(())
}

async fn join(near: &Session, far: &Session) -> Outcome<JoinHandle<()>> {
    let offer: session::IncomingChannel = near.next_channel(None).await?;
    let there = far.open_channel("other").await?;
    let here = offer.accept()?;
    Ok(tokio::spawn(here.pipe(there)))
}
