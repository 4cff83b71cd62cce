//! Requests, answers, refusals and ends.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use ssh_core::OpenError;
use ssh_core::channel::ExitStatus;
use ssh_core::config::Limits;
use ssh_core::error::DisconnectReason;
use ssh_core::session::{Incoming, OpenFailureReason, SessionEvent};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::end::hex;

use crate::end::{Terms, both_roles, string};

#[tokio::test]
async fn requests_of_channels_and_their_answers() -> Outcome {
    for (mut end, session) in both_roles(Terms::default()).await? {
        let channel = session.open_channel_with("session", b"more").await?.0;
        let opened = end.expect("channel", json!({ "kind": "session", "fields": hex(b"more") })).await?;
        let there = &opened["channel"];
        for (name, granted) in [("exec", true), ("nothing of the kind", false)] {
            ensure(channel.request(name, b"12").await? == granted, || format!("the answer to {name}"))?;
            let fields = hex(b"12");
            end.expect("request", json!({ "name": name, "fields": fields, "wants_reply": true })).await?;
        }
        channel.notify("signal", b"\0\0\0\x03HUP")?;
        end.expect("request", json!({ "name": "signal", "wants_reply": false })).await?;
        for granted in [true, false] {
            let call = json!({ "channel": there, "name": "shell", "fields": hex(b"34"), "reply": true });
            end.tell("call", call).await?;
            let request = channel.next_request().await.ok_or_else(|| Failure::new("no request"))?;
            ensure((request.name.as_str(), &request.fields[..]) == ("shell", b"34"), || {
                format!("{request:?}")
            })?;
            channel.answer(&request, granted)?;
            end.expect("call", json!({ "granted": granted })).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn requests_of_sessions_and_their_answers() -> Outcome {
    for (mut end, session) in both_roles(Terms::default()).await? {
        let answer = session.request("question", b"there").await?;
        ensure(answer.as_deref() == Some(b"re:there"), || format!("{answer:?}"))?;
        end.expect("global", json!({ "name": "question", "fields": hex(b"there"), "wants_reply": true }))
            .await?;
        ensure(session.request("no", b"").await?.is_none(), || "granted".to_owned())?;

        let mut incoming = session.incoming();
        for granted in [true, false] {
            end.tell("ask", json!({ "name": "question", "fields": hex(b"back"), "reply": true })).await?;
            let request = match incoming.next().await {
                Some(Incoming::Request(request)) => request,
                other => return Err(Failure::new(format!("no request: {other:?}"))),
            };
            ensure((request.name(), request.fields()) == ("question", b"back"), || format!("{request:?}"))?;
            let fields = match granted {
                true => {
                    request.accept(b"yes");
                    hex(b"yes")
                }
                false => {
                    request.refuse();
                    String::new()
                }
            };
            end.expect("ask", json!({ "granted": granted, "fields": fields })).await?;
        }
    }
    Ok(())
}

/// Go has no keepalives of its own, but programs on it ask by the request that OpenSSH has.
#[tokio::test]
async fn keepalives_are_answered_by_either_side() -> Outcome {
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(30));
    // A machine that is busy is not a peer that is gone.
    limits.keepalive_misses = 1000;
    for (mut end, session) in both_roles(Terms { limits, ..Terms::default() }).await? {
        let answered = session.events().filter_map(|event| async move {
            match event {
                SessionEvent::KeepAliveSucceeded { count } => Some(count),
                _ => None,
            }
        });
        let counts: Vec<u32> =
            within(STEP, "keepalives", async { Ok(answered.take(3).collect().await) }).await?;
        ensure(counts.len() == 3, || format!("{counts:?}"))?;
        // Whether it is granted says nothing; that there is an answer does.
        end.ask("ask", json!({ "name": "keepalive@openssh.com", "reply": true })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn refusals_carry_what_was_said() -> Outcome {
    for (mut end, session) in both_roles(Terms::default()).await? {
        for reason in [OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, OpenFailureReason::CONNECT_FAILED] {
            end.tell("open", json!({ "channel": "x", "kind": "session", "fields": hex(b"there") })).await?;
            let offer = session.next_channel(None).await?;
            ensure((offer.kind(), offer.fields()) == ("session", b"there"), || format!("{offer:?}"))?;
            offer.reject(reason, "not today");
            end.expect("failed", json!({ "reason": reason.0, "message": "not today" })).await?;
        }
        match session.open_channel("refuse").await {
            Err(OpenError::Refused(failure)) => ensure(
                (failure.reason, failure.text.as_str())
                    == (OpenFailureReason::RESOURCE_SHORTAGE, "nobody there"),
                || failure.to_string(),
            )?,
            other => return Err(Failure::new(format!("not refused: {other:?}"))),
        }
    }
    Ok(())
}

/// The last that is said of a program behind a channel (RFC 4254 §6.10).
#[tokio::test]
async fn exits_are_told_to_either_side() -> Outcome {
    let signal = format!("{}01{}{}", string("KILL")?, string("out of patience")?, string("")?);
    for (mut end, session) in both_roles(Terms::default()).await? {
        let killed = ExitStatus::Signal { name: "KILL".into(), message: "out of patience".into() };
        for (name, fields, expected) in
            [("exit-status", "0000002a", ExitStatus::Code(42)), ("exit-signal", &*signal, killed)]
        {
            let channel = session.open_channel("session").await?;
            let there = end.next("channel").await?["channel"].clone();
            end.ask("call", json!({ "channel": there, "name": name, "fields": fields })).await?;
            end.ask("close", json!({ "channel": there })).await?;
            let told = within(STEP, "their close", async { Ok(channel.closed().await) }).await?;
            ensure(told.as_ref() == Some(&expected), || format!("{told:?} in place of {expected:?}"))?;
        }
        for (name, fields) in [
            ("exit-status", "00000007".to_owned()),
            ("exit-signal", { format!("{}00{}{}", string("TERM")?, string("enough")?, string("")?) }),
        ] {
            let channel = session.open_channel("session").await?;
            let there = end.next("channel").await?["channel"].clone();
            match name {
                "exit-status" => channel.close_with_status(7)?,
                _ => channel.close_with_signal("TERM", "enough")?,
            }
            end.expect("request", json!({ "channel": there, "name": name, "fields": fields })).await?;
            while end.next("channel_closed").await?["channel"] != there {}
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_session_has_a_reason() -> Outcome {
    for (mut end, session) in both_roles(Terms::default()).await? {
        session.disconnect(DisconnectReason::BY_APPLICATION, "enough of it");
        let closed = end.next("session_closed").await?;
        let message = closed["message"].as_str().unwrap_or_default();
        ensure(message.contains("reason 11: enough of it"), || closed.to_string())?;
    }
    // Go says nothing when it goes; whether it still says here that it has depends on how fast its program ends.
    for (mut end, session) in both_roles(Terms::default()).await? {
        end.tell("disconnect", json!({})).await?;
        let error = within(STEP, "the end", async { Ok(session.closed().await) }).await?;
        ensure(error.is_loss(), || format!("{error:?}"))?;
    }
    Ok(())
}
