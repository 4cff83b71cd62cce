//! A channel with its first request (`open-channel-request@microsoft.com`), whatever the other side knows, and requests
//! in general.

use serde_json::json;
use ssh_core::config::Extensions;
use ssh_core::session::{GlobalReply, Incoming};
use ssh_core::{OpenError, Session};
use tests::outcome::{Failure, Outcome, ensure};

use crate::end::{End, both_roles, client_config, hex, server_config, their_client, their_server};

const EXTENSION: &str = "open-channel-request@microsoft.com";

#[tokio::test]
async fn they_take_a_channel_with_its_first_request() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        ensure(knows(&session), || "they did not list it".to_owned())?;
        we_open(&mut end, &session).await?;
    }
    // They do not know it: the request comes behind the confirmation.
    for (mut end, session) in both_roles(json!({ "without": [EXTENSION] })).await? {
        ensure(!knows(&session), || "they listed it".to_owned())?;
        we_open(&mut end, &session).await?;
    }
    Ok(())
}

async fn we_open(end: &mut End, session: &Session) -> Outcome {
    let fields = b"\0\0\0\x02ls";
    let channel = session.open_channel_and_request("session", b"more", "exec", fields).await?;
    let opened = end.expect("channel", json!({ "kind": "session", "fields": hex(b"more") })).await?;
    // Theirs takes the fields of an embedded request away.
    end.expect("request", json!({ "channel": opened["channel"], "name": "exec" })).await?;
    drop(channel);
    let denied = session.open_channel_and_request("session", b"", "no", b"").await;
    ensure(matches!(denied, Err(OpenError::RequestDenied)), || format!("{denied:?}"))?;
    end.expect("request", json!({ "name": "no" })).await?;
    let refused = session.open_channel_and_request("refuse", b"", "exec", fields).await;
    let Err(OpenError::Refused(failure)) = refused else {
        return Err(Failure::new(format!("not refused: {refused:?}")));
    };
    ensure(failure.text == "nobody there", || failure.to_string())?;
    // Nothing of it is left in the way.
    let answer = session.request("ping", b"1").await?;
    ensure(answer.as_deref() == Some(b"re:1"), || format!("{answer:?}"))
}

#[tokio::test]
async fn we_take_a_channel_with_its_first_request() -> Outcome {
    let mut without = Extensions::default();
    without.open_channel_request = false;
    for (knows_it, extensions) in [(true, Extensions::default()), (false, without)] {
        let with_client = their_client(json!({}), server_config()?.extensions(extensions.clone())).await?;
        let with_server = their_server(json!({}), client_config().extensions(extensions)).await?;
        for (mut end, session) in with_client.into_iter().chain(with_server) {
            let facts = end.ask("facts", json!({})).await?;
            let listed = facts["extensions"].as_array().is_some_and(|them| them.contains(&json!(EXTENSION)));
            ensure(listed == knows_it, || facts.to_string())?;
            they_open(&mut end, &session).await?;
        }
    }
    Ok(())
}

async fn they_open(end: &mut End, session: &Session) -> Outcome {
    for accepted in [true, false] {
        let request = json!({ "name": "exec", "fields": hex(b"\0\0\0\x02ls") });
        end.tell("open", json!({ "channel": "x", "kind": "session", "request": request })).await?;
        let channel = session.accept_channel(None).await?;
        let asked = channel.next_request().await.ok_or_else(|| Failure::new("no request"))?;
        let got = (asked.name.as_str(), &asked.fields[..]);
        ensure(got == ("exec", &b"\0\0\0\x02ls"[..]), || format!("{asked:?}"))?;
        channel.answer(&asked, accepted)?;
        if accepted {
            end.next("open").await?;
        } else {
            let message = "The initial channel request was denied.";
            end.expect("failed", json!({ "command": "open", "message": message })).await?;
        }
    }
    Ok(())
}

fn knows(session: &Session) -> bool {
    session.peer_extensions().is_some_and(|them| them.iter().any(|(name, _)| &**name == EXTENSION))
}

/// Names, payloads and answers of both kinds, as one side writes them and the other reads them.
#[tokio::test]
async fn requests_and_answers_carry_payloads() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let answer = session.request_reply("ping", b"there").await?;
        ensure(answer == GlobalReply::Success(b"re:there"[..].into()), || format!("{answer:?}"))?;
        let answer = session.request_reply("no", b"").await?;
        ensure(answer == GlobalReply::Failure(b"why"[..].into()), || format!("{answer:?}"))?;

        let mut incoming = session.incoming();
        for reply in [GlobalReply::Success(b"yes"[..].into()), GlobalReply::Failure(b"because"[..].into())] {
            end.tell("ask", json!({ "name": "question", "fields": hex(b"back") })).await?;
            let request = match futures::StreamExt::next(&mut incoming).await {
                Some(Incoming::Request(request)) => request,
                other => return Err(Failure::new(format!("no request: {other:?}"))),
            };
            ensure((request.name(), request.fields()) == ("question", b"back"), || format!("{request:?}"))?;
            request.reply(reply.clone());
            let (accepted, fields) = match &reply {
                GlobalReply::Success(fields) => (true, fields),
                GlobalReply::Failure(fields) => (false, fields),
            };
            end.expect("ask", json!({ "accepted": accepted, "fields": hex(fields) })).await?;
        }
    }
    Ok(())
}
