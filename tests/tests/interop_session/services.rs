//! Services that start when they are first asked for, by each of the rules.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt as _};
use serde_json::json;
use ssh_core::channel::{Channel, PeerRequest};
use ssh_core::error::{DisconnectReason, Error};
use ssh_core::services::service::{Activation, Service, Services};
use ssh_core::session::{IncomingChannel, IncomingRequest};
use tests::outcome::{Outcome, ensure};

use crate::end::{End, client_config, hex, server_config, their_client, their_server};

/// What theirs tells of its own is passed over.
async fn activated(end: &mut End, name: &str) -> Outcome {
    while end.next("service").await?["name"] != name {}
    Ok(())
}

#[tokio::test]
async fn theirs_start_when_we_ask() -> Outcome {
    let settings = json!({ "services": true });
    let Some((mut end, session)) = their_server(settings.clone(), client_config()).await? else {
        return Ok(());
    };
    session.request_service("named-service").await?;
    activated(&mut end, "NamedService").await?;
    ensure(session.request("wake-by-request", b"").await?.is_some(), || "refused".to_owned())?;
    activated(&mut end, "RequestService").await?;
    end.expect("served", json!({ "by": "RequestService", "what": "wake-by-request" })).await?;
    let channel = session.open_channel("wake-by-channel").await?;
    activated(&mut end, "ChannelService").await?;
    end.expect("served", json!({ "by": "ChannelService", "what": "wake-by-channel" })).await?;
    ensure(channel.request("wake-by-channel-request", b"").await?, || "refused".to_owned())?;
    activated(&mut end, "ChannelRequestService").await?;
    end.expect("served", json!({ "by": "ChannelRequestService", "what": "wake-by-channel-request" })).await?;

    // All but the first rule hold for their client too.
    let Some((mut end, session)) = their_client(settings, server_config()?).await? else { return Ok(()) };
    ensure(session.request("wake-by-request", b"").await?.is_some(), || "refused".to_owned())?;
    activated(&mut end, "RequestService").await?;
    let channel = session.open_channel("wake-by-channel").await?;
    activated(&mut end, "ChannelService").await?;
    ensure(channel.request("wake-by-channel-request", b"").await?, || "refused".to_owned())?;
    activated(&mut end, "ChannelRequestService").await
}

/// Takes down what it is asked, and grants it.
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn note(&self, what: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_owned());
    }
}

impl Service for Notes {
    fn on_session_request<'a>(&'a self, request: IncomingRequest) -> BoxFuture<'a, ()> {
        self.note(request.name());
        request.accept(b"granted");
        async {}.boxed()
    }

    fn on_channel_opening<'a>(&'a self, channel: IncomingChannel) -> BoxFuture<'a, ()> {
        self.note(channel.kind());
        async move {
            if let Ok(channel) = channel.accept() {
                channel.closed().await;
            }
        }
        .boxed()
    }

    fn on_channel_request<'a>(&'a self, channel: Channel, request: PeerRequest) -> BoxFuture<'a, ()> {
        self.note(&request.name);
        async move {
            // An error means that the session is over.
            let _ = channel.answer(&request, true);
            channel.closed().await;
        }
        .boxed()
    }
}

#[tokio::test]
async fn ours_start_when_they_ask() -> Outcome {
    let Some((mut end, session)) = their_client(json!({}), server_config()?).await? else { return Ok(()) };
    let notes = Arc::new(Mutex::new(Vec::new()));
    let make = {
        let notes = Arc::clone(&notes);
        move |_: &ssh_core::Session| Notes(Arc::clone(&notes))
    };
    let services = Services::builder(session.clone())
        .service("name", Activation::new().service_request("named-service"), make.clone())
        .service("request", Activation::new().session_request("wake-by-request"), make.clone())
        .service("channel", Activation::new().channel_type("wake-by-channel"), make.clone())
        .service("channel request", Activation::new().channel_type("session").channel_request("exec"), make)
        .start();
    ensure(services.active().is_empty(), || format!("{:?}", services.active()))?;
    end.ask("request_service", json!({ "name": "named-service" })).await?;
    end.ask("ask", json!({ "name": "wake-by-request" })).await?;
    end.ask("open", json!({ "channel": "a", "kind": "wake-by-channel" })).await?;
    end.ask("open", json!({ "channel": "b", "kind": "session" })).await?;
    let answered =
        end.ask("call", json!({ "channel": "b", "name": "exec", "fields": hex(b"\0\0\0\x02ls") })).await?;
    ensure(answered["accepted"] == true, || answered.to_string())?;
    let mut active = services.active();
    active.sort_unstable();
    ensure(active == ["channel", "channel request", "name", "request"], || format!("{active:?}"))?;
    let noted = notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure(noted == ["wake-by-request", "wake-by-channel", "exec"], || format!("{noted:?}"))?;

    end.tell("request_service", json!({ "name": "nobody-has-it" })).await?;
    let reason = DisconnectReason::SERVICE_NOT_AVAILABLE.0;
    end.expect("session_closed", json!({ "reason": reason })).await?;
    let ended = session.closed().await;
    ensure(!matches!(ended, Error::Bug(_)), || format!("{ended:?}"))
}
