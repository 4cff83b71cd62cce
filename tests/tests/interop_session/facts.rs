//! What both sides say of the same session: counters, contours, versions, numbers, and the first key exchange.

use serde_json::{Value, json};
use ssh_core::config::Algorithms;
use ssh_core::error::DisconnectReason;
use ssh_core::metrics::{ContourCollector, SessionContour};
use ssh_core::server::DetachedSessions;
use ssh_core::session::{OpenFailureReason, ReconnectOffer};
use ssh_core::trace::TraceEvent;

use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::end::{both_roles, client_config, end_server, hex, server_config, their_client, their_server};

#[tokio::test]
async fn what_one_side_has_sent_the_other_has_received() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let mut channel = session.open_channel("session").await?;
        let there = end.next("channel").await?["channel"].clone();
        channel.write_all(&[7; 100_000]).await?;
        end.ask("read", json!({ "channel": there, "length": 100_000 })).await?;
        end.ask("write", json!({ "channel": there, "length": 5000 })).await?;
        channel.read_exact(&mut [0; 5000]).await?;
        let counters = end.ask("counters", json!({ "channel": there })).await?;
        ensure(counters["sent"] == 5000 && counters["received"] == 100_000, || counters.to_string())?;
        let ours = channel.metrics();
        ensure((ours.bytes_sent, ours.bytes_received) == (100_000, 5000), || format!("{ours:?}"))?;
        // It answers in order: nothing is under way behind this.
        session.request("ping", b"").await?;
        let same = async {
            loop {
                let theirs = end.ask("facts", json!({})).await?;
                let ours = session.metrics();
                let sent = json!({ "messages": ours.messages_sent, "bytes": ours.bytes_sent });
                let received = json!({ "messages": ours.messages_received, "bytes": ours.bytes_received });
                if theirs["sent"] == received && theirs["received"] == sent {
                    return Ok(());
                }
                eprintln!("{ours:?} and {theirs}");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        within(STEP / 3, "equal counters", same).await?;
    }
    Ok(())
}

#[tokio::test]
async fn either_side_knows_the_session_and_the_software_of_the_other() -> Outcome {
    for (mut end, session) in both_roles(json!({})).await? {
        let version = session.connection().peer_version().to_owned();
        ensure(version.starts_with("SSH-2.0-dev-tunnels-ssh_3."), || version.clone())?;
        let facts = end.ask("facts", json!({})).await?;
        ensure(facts["session"] == hex(session.connection().session_id.as_bytes()), || facts.to_string())?;
        ensure(facts["software"].as_str().is_some_and(|name| name.to_lowercase().contains("adit")), || {
            facts.to_string()
        })?;
    }
    Ok(())
}

/// Theirs guesses at the first key exchange; the guess is right, or it is not.
#[tokio::test]
async fn a_guess_at_the_key_exchange() -> Outcome {
    let kex = "diffie-hellman-group14-sha256,ecdh-sha2-nistp256";
    for ours in ["diffie-hellman-group14-sha256", "ecdh-sha2-nistp256"] {
        let algorithms = Algorithms::default().with_kex(ours)?;
        let config = server_config()?.algorithms(algorithms);
        let settings = json!({ "guess": true, "kex": kex });
        let Some((_end, session)) = their_client(settings, config).await? else { return Ok(()) };
        let agreed = session.connection().algorithms.ok_or_else(|| Failure::new("nothing was agreed"))?;
        ensure(agreed.kex.name() == ours, || format!("{agreed:?}"))?;
        ensure(session.request("ping", b"").await?.is_some(), || "no answer".to_owned())?;
    }
    Ok(())
}

/// What each has drawn of the session can be read by the other.
#[tokio::test]
async fn contours_can_be_exchanged() -> Outcome {
    let detached = DetachedSessions::default();
    let settings = json!({ "reconnect": true });
    let with_client = their_client(settings.clone(), server_config()?.detached_sessions(detached)).await?;
    let with_server =
        their_server(settings, client_config().offer_reconnect(ReconnectOffer::default())).await?;
    for (mut end, session) in with_client.into_iter().chain(with_server) {
        let collector = ContourCollector::start(&session, SessionContour::new(64)?);
        end.ask("start_contour", json!({})).await?;
        let mut channel = session.open_channel("session").await?;
        let there = end.next("channel").await?["channel"].clone();
        // There and back, or nobody measures; and for more than a second, since their library does not read a contour of
        // one interval.
        for _ in 0..3 {
            channel.write_all(&[7; 50_000]).await?;
            end.ask("read", json!({ "channel": there, "length": 50_000 })).await?;
            session.request("ping", b"").await?;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        let theirs = text(&end.ask("contour", json!({})).await?)?;
        let imported = SessionContour::import(&theirs)?;
        let total = |of: Vec<u64>| of.iter().sum::<u64>();
        ensure(total(imported.bytes_received()) >= 150_000, || format!("{imported:?}"))?;
        ensure(imported.export() == theirs, || format!("{theirs} became {}", imported.export()))?;
        let measured =
            |contour: &SessionContour| contour.latency_max_ms().iter().any(|latency| *latency > 0.0);

        let ours = collector.stop().await;
        ensure(total(ours.bytes_sent()) >= 150_000 && measured(&ours), || format!("{ours:?}"))?;
        let read = end.ask("import_contour", json!({ "text": ours.export() })).await?;
        ensure(read["sent"].as_u64().unwrap_or_default() >= 150_000, || read.to_string())?;
        ensure(read["exported"] == ours.export(), || read.to_string())?;
    }
    Ok(())
}

fn text(event: &Value) -> Outcome<String> {
    let text = event["exported"].as_str();
    text.map(str::to_owned).ok_or_else(|| Failure::new(event.to_string()))
}

/// The numbers that are a part of the contract, as their library has them.
#[tokio::test]
async fn numbers_are_theirs() -> Outcome {
    let Some(mut end) = end_server(json!({})).await? else { return Ok(()) };
    let numbers = end.ask("numbers", json!({})).await?;
    for event in TraceEvent::ALL {
        let name = lower_camel(&format!("{event:?}"));
        // Some are of the Go library alone; a number of theirs under another name would be a clash.
        let number = &numbers["trace"][&name];
        let clash =
            numbers["trace"].as_object().into_iter().flatten().find(|(_, other)| **other == *event as u16);
        ensure(*number == *event as u16 || (number.is_null() && clash.is_none()), || {
            format!("{event:?} is {}, theirs {number}, {clash:?}", *event as u16)
        })?;
    }
    let theirs = |table: &str, name: &str| numbers[table][name].as_u64();
    for (name, ours) in [
        ("protocolError", DisconnectReason::PROTOCOL_ERROR),
        ("keyExchangeFailed", DisconnectReason::KEY_EXCHANGE_FAILED),
        ("macError", DisconnectReason::MAC_ERROR),
        ("serviceNotAvailable", DisconnectReason::SERVICE_NOT_AVAILABLE),
        ("hostKeyNotVerifiable", DisconnectReason::HOST_KEY_NOT_VERIFIABLE),
        ("connectionLost", DisconnectReason::CONNECTION_LOST),
        ("byApplication", DisconnectReason::BY_APPLICATION),
        ("noMoreAuthMethodsAvailable", DisconnectReason::NO_MORE_AUTH_METHODS),
    ] {
        ensure(theirs("disconnect", name) == Some(ours.0.into()), || format!("{name}: {ours:?}"))?;
    }
    for (name, ours) in [
        ("administrativelyProhibited", OpenFailureReason::ADMINISTRATIVELY_PROHIBITED),
        ("connectFailed", OpenFailureReason::CONNECT_FAILED),
        ("unknownChannelType", OpenFailureReason::UNKNOWN_CHANNEL_TYPE),
        ("resourceShortage", OpenFailureReason::RESOURCE_SHORTAGE),
    ] {
        ensure(theirs("open", name) == Some(ours.0.into()), || format!("{name}: {ours:?}"))?;
    }
    Ok(())
}

fn lower_camel(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect()
}
