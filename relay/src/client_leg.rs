//! A client's connection.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use futures::StreamExt as _;
use ssh_core::error::DisconnectReason;
use ssh_core::services::port_forward::pump_streams;
use ssh_core::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailureReason};
use ssh_core::{Channel, OpenError, Session};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::access::Caller;
use crate::bandwidth::Paced;
use crate::join::{End, hears_eof, join};
use crate::live::{ClientLink, HostLink, LiveTunnel, Version, Why};
use crate::relay::Relay;
use crate::scopes::Scope;
use crate::sessions;
use crate::websocket_stream::WebSocketStream;
use crate::wire::{Connection, Forward, LOOPBACK};

/// The channel of a host that a client of the first version gets.
pub(crate) const CLIENT_STREAM: &str = "client-ssh-session-stream";

const WITHDRAWN: &str = "the right to connect to this tunnel was withdrawn";
const EXPIRED: &str = "the token has expired";
const RESTARTS: (CloseCode, &str) = (CloseCode::Restart, "the relay restarts");

/// Carries the bytes of a client of v1 and of its channel at the host until one of them ends.
pub(crate) async fn run_v1<S>(
    relay: &Relay,
    client: &ClientLink,
    stream: WebSocketStream<S>,
    channel: Channel,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Paced::new(stream, client.bandwidth.clone());
    let (mut input, mut output) = tokio::io::split(stream);
    let (result, code, reason) = tokio::select! {
        // The host's end of the data is the end: the WebSocket closes, and the client knows to come back.
        result = pump_streams(&mut input, &mut output, channel) => (result, CloseCode::Away, "the host has gone"),
        why = client.leave.told() => {
            let (code, reason) = match why {
                Why::Withdrawn => (CloseCode::Policy, WITHDRAWN),
                Why::Expired => (CloseCode::Away, EXPIRED),
                Why::Restart => RESTARTS,
            };
            (Ok(()), code, reason)
        }
    };
    let (code, reason) = if relay.is_draining() { RESTARTS } else { (code, reason) };
    input.unsplit(output).into_inner().close(code, reason).await;
    result
}

/// Serves a client of v2 until its session ends.
pub(crate) async fn run_v2<S>(
    relay: Arc<Relay>,
    tunnel: Arc<LiveTunnel>,
    client: Arc<ClientLink>,
    stream: WebSocketStream<S>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let session = match sessions::of_client(stream, relay.config.limits.handshake_time).await {
        Ok(session) => session,
        Err(error) => {
            tracing::info!(tunnel = %tunnel.id, %error, "a client did not get through its handshake");
            return;
        }
    };
    let hears = hears_eof(&session);
    let mut incoming = session.incoming();
    let offers = async {
        offer_ports(&tunnel, &session).await;
        // It has been told why.
        session.closed().await;
    };
    tokio::pin!(offers);
    loop {
        tokio::select! {
            item = incoming.next() => match item {
                Some(Incoming::Channel(offer)) => {
                    let (relay, tunnel, client) = (Arc::clone(&relay), Arc::clone(&tunnel), Arc::clone(&client));
                    tokio::spawn(async move { connect(&relay, &tunnel, &client, hears, offer).await });
                }
                Some(Incoming::Request(request)) => on_request(&tunnel, request),
                None => break,
            },
            () = &mut offers => break,
            why = client.leave.told() => {
                // Whoever still may comes back at once after the first reason; nobody does after the other.
                let (reason, text) = match why {
                    Why::Restart => (DisconnectReason::CONNECTION_LOST, RESTARTS.1),
                    Why::Expired => (DisconnectReason::CONNECTION_LOST, EXPIRED),
                    Why::Withdrawn => (DisconnectReason::BY_APPLICATION, WITHDRAWN),
                };
                session.disconnect(reason, text);
            }
        }
    }
}

/// Shows the client the ports of whichever host there is, for as long as the session lasts and the host speaks v2 too.
async fn offer_ports(tunnel: &LiveTunnel, session: &Session) {
    let mut hosts = tunnel.host.subscribe();
    let mut shown = BTreeSet::new();
    loop {
        let host = hosts.borrow_and_update().clone();
        if host.as_ref().is_some_and(|host| host.version == Version::V1) {
            // It comes back by the version that goes with this host, or is told that it speaks none.
            session.disconnect(DisconnectReason::CONNECTION_LOST, "the host now speaks the first version");
            return;
        }
        let mut ports = host.as_ref().map(|host| host.ports.subscribe());
        let wanted = ports.as_mut().map(|ports| ports.borrow_and_update().clone()).unwrap_or_default();
        for port in shown.difference(&wanted) {
            let forward = Forward { host: LOOPBACK, port: *port, token: "" };
            if session.notify("cancel-tcpip-forward", &forward.encode()).is_err() {
                return;
            }
        }
        for port in wanted.difference(&shown) {
            let forward = Forward { host: LOOPBACK, port: *port, token: "" };
            // Whether the client wants the port is its own affair.
            if session.request("tcpip-forward", &forward.encode()).await.is_err() {
                return;
            }
        }
        shown = wanted;
        let ports_changed = async {
            match &mut ports {
                Some(ports) => ports.changed().await.is_ok(),
                None => false,
            }
        };
        tokio::select! {
            changed = hosts.changed() => if changed.is_err() { return },
            // A host that has gone takes its ports along; that shows in the other watch.
            true = ports_changed => {}
            _ = session.closed() => return,
        }
    }
}

fn on_request(tunnel: &LiveTunnel, request: IncomingRequest) {
    if request.name() != "RefreshPorts" {
        return request.refuse();
    }
    match tunnel.current_host() {
        Some(host) => {
            // The host may take its time, or never answer; the client's other requests go on meanwhile.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(REFRESH, host.session.request("RefreshPorts", &[])).await;
                request.accept(&[]);
            });
        }
        None => request.accept(&[]),
    }
}

/// A host has this long to look for new ports.
const REFRESH: std::time::Duration = std::time::Duration::from_secs(10);

/// Joins a client's channel with one of the host's.
async fn connect(
    relay: &Relay,
    tunnel: &LiveTunnel,
    client: &ClientLink,
    hears_eof: bool,
    offer: IncomingChannel,
) {
    match open(relay, tunnel, client, &offer).await {
        Ok((far, confirmation)) => {
            if let Ok(channel) = offer.accept_with(&confirmation) {
                join(End { channel, hears_eof }, far, client.bandwidth.as_deref()).await;
            }
        }
        Err((reason, text)) => offer.reject(reason, &text),
    }
}

type Refused = (OpenFailureReason, String);

async fn open(
    relay: &Relay,
    tunnel: &LiveTunnel,
    client: &ClientLink,
    offer: &IncomingChannel,
) -> Result<(End, bytes::Bytes), Refused> {
    if !matches!(offer.kind(), "forwarded-tcpip" | "direct-tcpip") {
        let text = format!("the relay has no channels of type {}", crate::printable(offer.kind()));
        return Err((OpenFailureReason::UNKNOWN_CHANNEL_TYPE, text));
    }
    let malformed =
        |_| (OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "the request cannot be read".to_owned());
    let connection = Connection::decode(offer.fields()).map_err(malformed)?;
    if !may_connect(relay, tunnel, client, connection.token) {
        return Err((
            OpenFailureReason::ADMINISTRATIVELY_PROHIBITED,
            "the token does not hold here".to_owned(),
        ));
    }
    let Some(host) = tunnel.current_host().filter(|host| forwards(host, &connection)) else {
        let text = format!("no host forwards port {} now", connection.port);
        return Err((OpenFailureReason::CONNECT_FAILED, text));
    };
    match host.session.open_channel_with("forwarded-tcpip", &connection.encode_for_host()).await {
        Ok((channel, confirmation)) => {
            // Without the byte an SDK client takes the stream as unencrypted, so it is always there.
            let confirmation =
                if confirmation.is_empty() { bytes::Bytes::from_static(&[0]) } else { confirmation };
            Ok((End { channel, hears_eof: hears_eof(&host.session) }, confirmation))
        }
        Err(OpenError::Refused(failure)) => Err((failure.reason, failure.text)),
        Err(error @ OpenError::TooManyChannels { .. }) => {
            Err((OpenFailureReason::RESOURCE_SHORTAGE, error.to_string()))
        }
        Err(_) => Err((OpenFailureReason::CONNECT_FAILED, "the host has gone".to_owned())),
    }
}

/// How the line begins that ours tell their version by.
const ADIT: &str = "SSH-2.0-Adit_";

/// Only the host knows whether a session inside is new and wants a port, or comes back to a connection that outlives its
/// port. One of ours looks at the ports itself; of others the relay does not assume it.
fn forwards(host: &HostLink, connection: &Connection<'_>) -> bool {
    let looks_itself = || connection.end_to_end && host.session.connection().peer_version().starts_with(ADIT);
    host.version == Version::V2 && (host.ports.borrow().contains(&connection.port) || looks_itself())
}

/// The upgrade has let the client in; a token that comes with a channel is looked at all the same, and so shows when it
/// has been revoked.
fn may_connect(relay: &Relay, tunnel: &LiveTunnel, client: &ClientLink, token: &str) -> bool {
    if token.is_empty() {
        return true;
    }
    let caller = Caller { address: client.admission.caller.address, credential: relay.credential(token) };
    let record = relay.store.tunnel(&tunnel.id);
    record.is_some_and(|record| caller.require(&record, &[Scope::Connect]).is_ok())
}
