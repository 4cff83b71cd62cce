//! What the peer asks for.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt as _;

use super::dial::{DialError, dial, dial_for_peer};
use super::event::{ForwardEvent, Target};
use super::hooks::{ForwardedPortConnecting, PortStream};
use super::messages::{
    CANCEL_STREAMLOCAL_FORWARD, CANCEL_TCPIP_FORWARD, ChannelTarget, DIRECT_STREAMLOCAL, DIRECT_TCPIP,
    FORWARDED_STREAMLOCAL, FORWARDED_TCPIP, ForwardRequest, STREAMLOCAL_FORWARD, TCPIP_FORWARD, decode_path,
};
use super::requested::Destination;
use super::socket::Socket;
use super::{Shared, granted, remote_dynamic};
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
    shared.granted.clear(&shared.hooks);
}

fn on_channel(shared: &Arc<Shared>, channel: IncomingChannel, unhandled: &Unhandled) {
    let malformed = "the target is malformed";
    let place = match channel.kind() {
        DIRECT_TCPIP | FORWARDED_TCPIP => ChannelTarget::decode(channel.fields()).map(Place::from),
        DIRECT_STREAMLOCAL | FORWARDED_STREAMLOCAL if cfg!(unix) => decode_path(channel.fields())
            .map(|path| Place { target: Target::socket(&path), from: SOMEBODY.to_owned() }),
        kind => {
            let is_session = kind == "session";
            return match &unhandled.0 {
                Some(callback) => callback(Incoming::Channel(channel)),
                None if is_session => {
                    let text = "this side forwards ports only and runs no commands";
                    channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, text);
                }
                None => channel.reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "unknown channel type"),
            };
        }
    };
    let Ok(place) = place else { return channel.reject(OpenFailureReason::CONNECT_FAILED, malformed) };
    // The session's limit of channels bounds the tasks.
    let shared_too = Arc::clone(shared);
    if matches!(channel.kind(), DIRECT_TCPIP | DIRECT_STREAMLOCAL) {
        shared.tasks.spawn(direct(shared_too, channel, place));
    } else {
        shared.tasks.spawn(forwarded(shared_too, channel, place));
    }
}

/// Where a channel of the peer is to go, or which of the ports that it listens on it comes from.
struct Place {
    target: Target,
    /// Whoever connected, for display.
    from: String,
}

impl From<ChannelTarget> for Place {
    fn from(fields: ChannelTarget) -> Self {
        let from = format!("{}:{} of the peer", fields.originator, fields.originator_port);
        Self { target: Target::new(&fields.host, fields.port), from }
    }
}

/// The originator of a Unix socket, which has no address.
const SOMEBODY: &str = "a Unix socket of the peer";

/// One after the other, since a cancel means the forward before it. Nothing here waits for the peer.
async fn on_request(shared: &Arc<Shared>, request: IncomingRequest, unhandled: &Unhandled) {
    let malformed = IncomingRequest::refuse;
    match request.name() {
        TCPIP_FORWARD => match ForwardRequest::decode(request.fields()) {
            Ok(fields) => granted::grant(shared, request, fields).await,
            Err(_) => malformed(request),
        },
        STREAMLOCAL_FORWARD if cfg!(unix) => match decode_path(request.fields()) {
            Ok(path) => granted::grant_socket(shared, request, &path),
            Err(_) => malformed(request),
        },
        CANCEL_TCPIP_FORWARD => match ForwardRequest::decode(request.fields()) {
            Ok(fields) => granted::cancel(shared, request, &Target::new(&fields.host, fields.port)).await,
            Err(_) => malformed(request),
        },
        CANCEL_STREAMLOCAL_FORWARD => match decode_path(request.fields()) {
            Ok(path) => granted::cancel(shared, request, &Target::socket(&path)).await,
            Err(_) => malformed(request),
        },
        _ => match &unhandled.0 {
            Some(callback) => callback(Incoming::Request(request)),
            None => request.refuse(),
        },
    }
}

async fn direct(shared: Arc<Shared>, channel: IncomingChannel, place: Place) {
    let Place { target, from } = place;
    if !shared.hooks.switches.accept_direct {
        shared.events.emit(ForwardEvent::TargetDenied { target });
        let text = "only forwarded ports can be connected to";
        return channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, text);
    }
    match dial_for_peer(&shared.policy, &target).await {
        Ok(socket) => {
            shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
            if let Ok(channel) = channel.accept() {
                socket.run(channel, &target).await;
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

async fn forwarded(shared: Arc<Shared>, channel: IncomingChannel, place: Place) {
    let Place { target: bind, from } = place;
    let Some(destination) = shared.requested.destination_of(&bind).await else {
        shared.events.emit(ForwardEvent::NotRequested { bind });
        let text = "nobody asked to listen on this port";
        return channel.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, text);
    };
    let connection = ForwardedPortConnecting { port: bind, is_incoming: true };
    if !shared.hooks.admit(&connection).await {
        return channel.reject(OpenFailureReason::CONNECT_FAILED, "the connection was rejected");
    }
    if !shared.hooks.switches.connect_to_local {
        return deliver(&shared, channel, connection.port);
    }
    let target = match destination {
        Destination::Target(target) => target,
        Destination::Proxy => {
            let Ok(channel) = channel.accept() else { return };
            return remote_dynamic::serve(&shared, &connection, channel, from).await;
        }
    };
    match dial(&target).await {
        Ok(socket) => connect(&shared, channel, socket, (from, target), &connection).await,
        Err(error) => {
            shared.events.emit(ForwardEvent::DialFailed { target, error: IoError::from(&error) });
            channel.reject(OpenFailureReason::CONNECT_FAILED, &error.to_string());
        }
    }
}

async fn connect(
    shared: &Shared,
    channel: IncomingChannel,
    socket: Socket,
    (from, target): (String, Target),
    connection: &ForwardedPortConnecting,
) {
    shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
    let Ok(channel) = channel.accept() else { return };
    socket.run_through(&shared.hooks, connection, channel, &target).await;
}

/// Gives a connection to the application.
fn deliver(shared: &Shared, channel: IncomingChannel, port: Target) {
    match &shared.hooks.on_stream {
        Some(callback) => {
            if let Ok(channel) = channel.accept() {
                callback(PortStream { port, channel });
            }
        }
        None => channel.reject(OpenFailureReason::CONNECT_FAILED, "nobody takes connections"),
    }
}
