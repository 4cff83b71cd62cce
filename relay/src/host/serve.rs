//! What comes over a host's WebSocket.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use ssh_core::error::ReconnectFailure;
use ssh_core::protocol::wire::WireError;
use ssh_core::services::port_forward::pump;
use ssh_core::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailureReason};
use ssh_core::{Channel, Error, Session, server};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Event, Protocol, Shared};
use crate::access_token::AccessToken;
use crate::client_leg::CLIENT_STREAM;
use crate::wire::{Connection, FORWARDED, Forward, LOOPBACK};

/// A port of this machine that does not answer is given up after this.
const CONNECT: Duration = Duration::from_secs(10);

/// Serves the relay until the session with it ends; why it did.
pub(super) async fn run(shared: &Arc<Shared>, leg: &Session) -> Error {
    let mut incoming = leg.incoming();
    let token = shared.config.token.as_ref().map(AccessToken::current).unwrap_or_default();
    let offers = async {
        if shared.config.protocol == Protocol::V2 {
            offer_ports(shared, leg, &token).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(offers);
    loop {
        let item = tokio::select! {
            item = incoming.next() => item,
            () = &mut offers => continue,
        };
        match item {
            Some(Incoming::Channel(channel)) => on_channel(shared, channel),
            Some(Incoming::Request(request)) => on_request(request),
            None => return leg.closed().await,
        }
    }
}

/// Detached from the WebSocket: what serves a client goes on when the client comes back over the next.
fn on_channel(shared: &Arc<Shared>, channel: IncomingChannel) {
    let shared_too = Arc::clone(shared);
    match channel.kind() {
        CLIENT_STREAM | FORWARDED if shared.is_closing() => {
            channel.reject(OpenFailureReason::CONNECT_FAILED, super::STOPS);
        }
        CLIENT_STREAM => {
            if let Ok(stream) = channel.accept() {
                tokio::spawn(async move { client(&shared_too, stream).await });
            }
        }
        FORWARDED if shared.config.protocol == Protocol::V2 => {
            tokio::spawn(async move { connection_v2(&shared_too, channel).await });
        }
        _ => channel.reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "a host has no channels of this type"),
    }
}

fn on_request(request: IncomingRequest) {
    match request.name() {
        // The ports are what they are; whoever asks has been told of all of them.
        "RefreshPorts" => request.accept(&[]),
        _ => request.refuse(),
    }
}

/// A client of the first version: a session of its own, which carries all ports.
async fn client(shared: &Arc<Shared>, stream: Channel) {
    let session = match server::accept(stream, Arc::clone(&shared.for_clients)).await {
        Ok(session) => session,
        Err(error) => return not_through(shared, error),
    };
    let Some(registered) = shared.register(&session) else { return };
    let number = registered.number;
    shared.tell(Event::ClientConnected { number });
    let mut connections = JoinSet::new();
    let mut incoming = session.incoming();
    let offers = async {
        offer_ports(shared, &session, "").await;
        std::future::pending::<()>().await;
    };
    tokio::pin!(offers);
    loop {
        let item = tokio::select! {
            item = incoming.next() => item,
            () = &mut offers => continue,
            Some(_) = connections.join_next() => continue,
        };
        match item {
            Some(Incoming::Request(request)) => on_request(request),
            Some(Incoming::Channel(channel)) => match channel.kind() {
                FORWARDED | "direct-tcpip" => {
                    let shared = Arc::clone(shared);
                    connections.spawn(async move { connection(&shared, channel).await });
                }
                // A Go client opens one and never uses it.
                "session" => {
                    if let Ok(unused) = channel.accept() {
                        let _ = unused.refuse_requests();
                        connections.spawn(async move { drop(unused.closed().await) });
                    }
                }
                _ => channel
                    .reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "a host has no channels of this type"),
            },
            None => break,
        }
    }
    let reason = session.closed().await.to_string();
    drop(registered);
    shared.tell(Event::ClientGone { number, reason });
}

/// Asks the peer to forward the ports, whatever they are, for as long as it is polled and the session lasts.
async fn offer_ports(shared: &Shared, peer: &Session, token: &str) {
    let mut wanted = shared.ports.subscribe();
    let mut offered = BTreeSet::new();
    loop {
        let ports = wanted.borrow_and_update().clone();
        for port in offered.difference(&ports) {
            let forward = Forward { host: LOOPBACK, port: *port, token: "" };
            if peer.notify("cancel-tcpip-forward", &forward.encode()).is_err() {
                return;
            }
        }
        // All at once: a client works on one after the other, and answers in that order.
        let mut answers: FuturesUnordered<_> = ports
            .difference(&offered)
            .map(|port| {
                let forward = Forward { host: LOOPBACK, port: *port, token };
                let fields = if token.is_empty() { forward.encode() } else { forward.encode_with_token() };
                async move { (*port, peer.request("tcpip-forward", &fields).await) }
            })
            .collect();
        while let Some((port, answer)) = answers.next().await {
            match answer {
                Ok(Some(_)) => {}
                // It may do without.
                Ok(None) => tracing::info!(port, "the other side does not want this port"),
                Err(_) => return,
            }
        }
        drop(answers);
        offered = ports;
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// A connection within a client's session.
async fn connection(shared: &Shared, channel: IncomingChannel) {
    let Some((_, socket, channel)) = reach(shared, channel).await else { return };
    if let Ok(channel) = channel.accept() {
        // A failure is an ordinary end of a connection.
        let _ = pump(socket, channel).await;
    }
}

/// A connection by the second version: with a session of its own inside.
async fn connection_v2(shared: &Arc<Shared>, channel: IncomingChannel) {
    let asked = Connection::decode(channel.fields()).map(|asked| (asked.port, asked.end_to_end));
    let Ok((port, end_to_end)) = asked else {
        return channel.reject(OpenFailureReason::CONNECT_FAILED, "the request cannot be read");
    };
    if !end_to_end && shared.config.allow_plain {
        let Some((_, socket, channel)) = reach(shared, channel).await else { return };
        if let Ok(channel) = channel.accept_with(&[0]) {
            let _ = pump(socket, channel).await;
        }
        return;
    }
    // Whoever did not ask for encryption gets it all the same: a relay may have taken the wish out.
    let Ok(stream) = channel.accept_with(&[1]) else { return };
    // Whoever comes back goes on with what was dialled for them then, whatever port the relay names, and ends here.
    let session = match server::accept(stream, Arc::clone(&shared.for_connections)).await {
        Ok(session) => session,
        Err(error) => return not_through(shared, error),
    };
    let Some(_registered) = shared.register(&session) else { return };
    let Ok(offer) = session.next_channel(Some("session")).await else { return };
    // What the relay was asked for is the relay's word; in here it is the client's own. An SDK client does not say it.
    let named = (!offer.fields().is_empty()).then(|| Forward::decode(offer.fields()).map(|named| named.port));
    let refused = match (&named, dial_if(shared, port, named.as_ref()).await) {
        (_, Ok(socket)) => {
            let Ok(stream) = offer.accept() else { return };
            let _ = pump(socket, stream).await;
            None
        }
        (None, Err(reason)) => {
            // Such a client does not expect to be refused here, so its connection just ends.
            drop(offer.accept());
            Some(reason)
        }
        (Some(_), Err(reason)) => {
            offer.reject(OpenFailureReason::CONNECT_FAILED, &format!("port {port} of the host: {reason}"));
            Some(reason)
        }
    };
    if let Some(reason) = refused {
        shared.tell(Event::Failed { port, reason });
    }
    // The client closes once it has everything, however long its links are down or its reader takes. One that is gone for
    // good is forgotten as every lost session is.
    session.closed().await;
}

/// Dials the port that the relay has named, if it is the one that the client has named, or the client has named none; and if
/// it is offered.
async fn dial_if(
    shared: &Shared,
    port: u16,
    named: Option<&Result<u16, WireError>>,
) -> Result<TcpStream, String> {
    match named {
        Some(Ok(wanted)) if *wanted != port => Err(format!(
            "the relay has led a connection here that its client wants to have with port {wanted}; it was refused"
        )),
        Some(Err(_)) => Err("the request cannot be read".to_owned()),
        _ if !shared.ports.borrow().contains(&port) => Err("it is not offered".to_owned()),
        _ => dial(port).await.map_err(|error| error.to_string()),
    }
}

/// A client's session did not come about. What breaks is no news; what was changed on its way is.
fn not_through(shared: &Shared, error: Error) {
    match error {
        Error::Reconnect(ReconnectFailure::HandedOver) => {}
        Error::PeerMisbehaved(_) | Error::PeerIncompatible(_) => {
            shared.tell(Event::ClientFailed { reason: error.to_string() });
        }
        error => tracing::info!(%error, "a client did not get through"),
    }
}

/// Connects to the port that a channel asks for, if it is one of ours.
async fn reach(shared: &Shared, channel: IncomingChannel) -> Option<(u16, TcpStream, IncomingChannel)> {
    let Ok(port) = Connection::decode(channel.fields()).map(|asked| asked.port) else {
        channel.reject(OpenFailureReason::CONNECT_FAILED, "the request cannot be read");
        return None;
    };
    if !shared.ports.borrow().contains(&port) {
        refuse(channel, port);
        return None;
    }
    match dial(port).await {
        Ok(socket) => Some((port, socket, channel)),
        Err(error) => {
            shared.tell(Event::Failed { port, reason: error.to_string() });
            channel.reject(OpenFailureReason::CONNECT_FAILED, &format!("port {port} of the host: {error}"));
            None
        }
    }
}

fn refuse(channel: IncomingChannel, port: u16) {
    channel.reject(OpenFailureReason::CONNECT_FAILED, &format!("the host does not offer port {port}"));
}

/// This machine, whatever name the peer gave.
async fn dial(port: u16) -> io::Result<TcpStream> {
    let both = async {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(socket) => Ok(socket),
            // The first address is the one that was meant, so it is its error that is shown.
            Err(error) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| error),
        }
    };
    tokio::time::timeout(CONNECT, both).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
