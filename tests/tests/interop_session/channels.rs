//! What a channel and a session can be told beside data: refusals, confirmations, windows, ends, messages of an
//! application's own.

use serde_json::json;
use ssh_core::error::DisconnectReason;
use ssh_core::session::OpenFailureReason;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::end::{both_roles, hex};

#[tokio::test]
async fn refusals_and_confirmations_carry_what_was_said() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        for reason in [
            OpenFailureReason::ADMINISTRATIVELY_PROHIBITED,
            OpenFailureReason::CONNECT_FAILED,
            OpenFailureReason::UNKNOWN_CHANNEL_TYPE,
            OpenFailureReason::RESOURCE_SHORTAGE,
        ] {
            end.tell("open", json!({ "channel": "x", "kind": "session" })).await?;
            session.next_channel(None).await?.reject(reason, "not today");
            end.expect("failed", json!({ "reason": reason.0, "message": "not today" })).await?;
        }
        end.tell("open", json!({ "channel": "x", "kind": "kind", "fields": hex(b"there") })).await?;
        let offer = session.next_channel(None).await?;
        ensure((offer.kind(), offer.fields()) == ("kind", b"there"), || format!("{offer:?}"))?;
        let _channel = offer.accept_with(b"back")?;
        end.expect("open", json!({ "fields": hex(b"back") })).await?;
        let (_channel, fields) = session.open_channel_with("confirm", b"").await?;
        ensure(&fields[..] == b"yes", || format!("{fields:?}"))?;
    }
    Ok(())
}

/// The smallest window that theirs can have is one packet.
#[tokio::test]
async fn data_goes_through_a_window_of_one_packet() -> Outcome {
    const WINDOW: usize = 32 * 1024;
    const LENGTH: usize = 10 * WINDOW + 1;
    for (mut end, session) in both_roles(json!({})).await? {
        end.tell("open", json!({ "channel": "x", "kind": "session", "window": WINDOW })).await?;
        let mut channel = session.accept_channel(None).await?;
        end.next("open").await?;
        let sent: Vec<u8> = (0..LENGTH).map(|i| u8::try_from(i % 251).unwrap_or_default()).collect();
        within(STEP, "writing", async { Ok(channel.write_all(&sent).await?) }).await?;
        let read = end.ask("read", json!({ "channel": "x", "length": LENGTH, "pattern": true })).await?;
        ensure(read["same"] == true, || "the data differs".to_owned())?;
        end.tell("write", json!({ "channel": "x", "length": LENGTH })).await?;
        let mut received = vec![0; LENGTH];
        within(STEP, "reading", async { Ok(channel.read_exact(&mut received).await?) }).await?;
        ensure(received == sent, || "the data differs".to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_session_has_a_reason() -> Outcome {
    for reason in [DisconnectReason::BY_APPLICATION, DisconnectReason::PROTOCOL_ERROR, DisconnectReason(12)] {
        for (mut end, session) in both_roles(json!({})).await? {
            session.disconnect(reason, "enough of it");
            end.expect("session_closed", json!({ "reason": reason.0, "message": "enough of it" })).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn messages_of_an_applications_own() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let mut messages = session.messages(200)?;
        end.ask("send", json!({ "number": 200, "fields": hex(b"to you") })).await?;
        let message = within(STEP, "their message", async {
            messages.next().await.ok_or_else(|| Failure::new("the session ended"))
        });
        let message = message.await?;
        ensure(&message[..] == b"\xc8to you", || format!("{message:?}"))?;
        session.send_message(b"\xc8and to you")?;
        end.expect("own", json!({ "fields": hex(b"and to you") })).await?;
        // What nobody knows is answered, and is no reason to end.
        session.send_message(b"\xc9")?;
        end.ask("send", json!({ "number": 202, "fields": "" })).await?;
        ensure(session.request("ping", b"").await?.is_some(), || "refused".to_owned())?;
        let answer = end.ask("ask", json!({ "name": "none of ours" }));
        let serve = async {
            let mut incoming = session.incoming();
            // Dropping it refuses it.
            drop(futures::StreamExt::next(&mut incoming).await);
            Ok::<_, Failure>(())
        };
        let (answer, ()) = tokio::try_join!(answer, serve)?;
        ensure(answer["accepted"] == false, || answer.to_string())?;
    }
    Ok(())
}
