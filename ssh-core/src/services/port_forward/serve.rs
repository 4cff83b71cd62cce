//! What the peer asks for.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;

use super::dial::{DialError, dial, dial_for_peer};
use super::event::{ForwardEvent, Target};
use super::messages::{
    CANCEL_TCPIP_FORWARD, ChannelTarget, DIRECT_TCPIP, FORWARDED_TCPIP, ForwardRequest, TCPIP_FORWARD,
};
use super::{Shared, granted, run_connection};
use crate::error::IoError;
use crate::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailureReason};

/// Who gets what has nothing to do with forwarding.
#[derive(Default)]
pub(super) struct Unhandled(Option<Box<dyn Fn(Incoming) + Send + Sync>>);

impl Unhandled {
    pub(super) fn new(callback: impl Fn(Incoming) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }
}

impl fmt::Debug for Unhandled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unhandled").field(&self.0.is_some()).finish()
    }
}

/// Serves the peer until the session ends.
pub(super) async fn run(shared: Arc<Shared>, unhandled: Unhandled) {
    let mut incoming = shared.session.incoming();
    while let Some(item) = incoming.next().await {
        match item {
            Incoming::Channel(channel) => on_channel(&shared, channel, &unhandled),
            Incoming::Request(request) => on_request(&shared, request, &unhandled).await,
        }
    }
    // Nobody could reach the peer through them any more. Connections see the end themselves, and reset their sockets.
    shared.listeners.stop();
}

fn on_channel(shared: &Arc<Shared>, channel: IncomingChannel, unhandled: &Unhandled) {
    let is_direct = channel.kind() == DIRECT_TCPIP;
    if is_direct || channel.kind() == FORWARDED_TCPIP {
        let Ok(fields) = ChannelTarget::decode(channel.fields()) else {
            return channel.reject(OpenFailureReason::CONNECT_FAILED, "the target is malformed");
        };
        // The session's limit of channels bounds the tasks.
        let shared_too = Arc::clone(shared);
        if is_direct {
            shared.tasks.spawn(direct(shared_too, channel, fields));
        } else {
            shared.tasks.spawn(forwarded(shared_too, channel, fields));
        }
        return;
    }
    match (&unhandled.0, channel.kind()) {
        (Some(callback), _) => callback(Incoming::Channel(channel)),
        (None, "session") => {
            let text = "this side forwards ports only and runs no commands";
            channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, text);
        }
        (None, _) => channel.reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "unknown channel type"),
    }
}

/// One after the other, since a cancel means the forward before it. Nothing here waits for the peer.
async fn on_request(shared: &Arc<Shared>, request: IncomingRequest, unhandled: &Unhandled) {
    let name = request.name();
    if name != TCPIP_FORWARD && name != CANCEL_TCPIP_FORWARD {
        return match &unhandled.0 {
            Some(callback) => callback(Incoming::Request(request)),
            None => request.refuse(),
        };
    }
    let Ok(fields) = ForwardRequest::decode(request.fields()) else { return request.refuse() };
    if name == TCPIP_FORWARD {
        granted::grant(shared, request, fields).await;
    } else {
        granted::cancel(shared, request, &fields).await;
    }
}

async fn direct(shared: Arc<Shared>, channel: IncomingChannel, fields: ChannelTarget) {
    let target = Target::new(&fields.host, fields.port);
    match dial_for_peer(&shared.policy, &fields.host, fields.port).await {
        Ok(socket) => {
            let from = format!("{}:{} of the peer", fields.originator, fields.originator_port);
            shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
            if let Ok(channel) = channel.accept() {
                run_connection(socket, channel, &target).await;
            }
        }
        Err(DialError::Denied) => {
            shared.events.emit(ForwardEvent::TargetDenied { target: target.clone() });
            let text = format!("connecting to {target} is not permitted");
            channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, &text);
        }
        Err(DialError::Failed(error)) => {
            shared.events.emit(ForwardEvent::DialFailed { target, error: IoError::from(&error) });
            channel.reject(OpenFailureReason::CONNECT_FAILED, &error.to_string());
        }
    }
}

async fn forwarded(shared: Arc<Shared>, channel: IncomingChannel, fields: ChannelTarget) {
    let Some(target) = shared.requested.target_of(&fields.host, fields.port).await else {
        let bind = Target::new(&fields.host, fields.port);
        shared.events.emit(ForwardEvent::NotRequested { bind });
        let text = "nobody asked to listen on this port";
        return channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, text);
    };
    match dial(target.host(), target.port()).await {
        Ok(socket) => {
            let from = format!("{}:{} of the peer", fields.originator, fields.originator_port);
            shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
            if let Ok(channel) = channel.accept() {
                run_connection(socket, channel, &target).await;
            }
        }
        Err(error) => {
            shared.events.emit(ForwardEvent::DialFailed { target, error: IoError::from(&error) });
            channel.reject(OpenFailureReason::CONNECT_FAILED, &error.to_string());
        }
    }
}
