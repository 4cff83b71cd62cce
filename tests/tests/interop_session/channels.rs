//! What a channel and a session can be told beside data: refusals, confirmations, ends, messages of an
//! application's own.

use serde_json::json;
use ssh_core::error::DisconnectReason;
use ssh_core::session::OpenFailureReason;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};

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
