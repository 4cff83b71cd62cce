//! A host's connection.

use std::sync::Arc;

use futures::StreamExt as _;
use ssh_core::session::{Incoming, IncomingRequest, OpenFailureReason};
use tokio::sync::watch;

use crate::access::Caller;
use crate::live::{Admission, HostLink, LiveTunnel, Version};
use crate::relay::Relay;
use crate::scopes::Scope;
use crate::sessions;
use crate::websocket_stream::WebSocketStream;
use crate::wire::Forward;

/// Serves a host until its session ends.
pub(crate) async fn run<S>(
    relay: Arc<Relay>,
    tunnel: Arc<LiveTunnel>,
    version: Version,
    admission: Admission,
    stream: WebSocketStream<S>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let session = match sessions::of_host(stream, relay.config.limits.handshake_time).await {
        Ok(session) => session,
        Err(error) => {
            tracing::info!(tunnel = %tunnel.id, %error, "a host did not get through its handshake");
            return;
        }
    };
    let host = Arc::new(HostLink {
        number: relay.live.number(),
        version,
        session,
        ports: watch::Sender::default(),
        admission,
    });
    let (who, address) = (host.admission.caller.shown(), host.admission.caller.address);
    tracing::info!(target: "audit", tunnel = %tunnel.id, host = host.number, ?version, by = %who, from = %address, "host connected");
    // Whoever may not be the host any more does not take the place of one who may.
    if let Some(why) = relay.why_not_host(&host, &tunnel) {
        host.send_away(why);
    } else {
        tunnel.host_came(Arc::clone(&host));
        // What changed before it was there to be found.
        if let Some(why) = relay.why_not_host(&host, &tunnel) {
            host.send_away(why);
        }
    }
    let mut incoming = host.session.incoming();
    while let Some(item) = incoming.next().await {
        match item {
            Incoming::Request(request) => on_request(&relay, &tunnel, &host, request),
            Incoming::Channel(channel) => {
                channel
                    .reject(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "hosts open no channels at the relay");
            }
        }
    }
    let error = host.session.closed().await;
    let was_current = tunnel.host_went(host.number);
    tracing::info!(target: "audit", tunnel = %tunnel.id, host = host.number, was_current, %error, "host gone");
    relay.touch(&tunnel.id).await;
}

fn on_request(relay: &Relay, tunnel: &LiveTunnel, host: &HostLink, request: IncomingRequest) {
    let forward = match (host.version, request.name()) {
        (Version::V2, "tcpip-forward" | "cancel-tcpip-forward") => Forward::decode(request.fields()),
        _ => return request.refuse(),
    };
    let Ok(forward) = forward else { return request.refuse() };
    let port = forward.port;
    if request.name() == "cancel-tcpip-forward" {
        let removed = host.ports.send_if_modified(|ports| ports.remove(&port));
        return if removed { request.accept(&[]) } else { request.refuse() };
    }
    let limit = relay.config.limits.ports_per_tunnel as usize;
    if port == 0 || !may_forward(relay, tunnel, host, forward.token) {
        return request.refuse();
    }
    let mut fits = true;
    host.ports.send_if_modified(|ports| {
        fits = ports.contains(&port) || ports.len() < limit;
        fits && ports.insert(port)
    });
    if fits { request.accept(&u32::from(port).to_be_bytes()) } else { request.refuse() }
}

/// The upgrade has let the host in; a token that comes with a port is looked at all the same.
fn may_forward(relay: &Relay, tunnel: &LiveTunnel, host: &HostLink, token: &str) -> bool {
    if token.is_empty() {
        return true;
    }
    let caller = Caller { address: host.admission.caller.address, credential: relay.credential(token) };
    let record = relay.store.tunnel(&tunnel.id);
    record.is_some_and(|record| caller.require(&record, &[Scope::Host]).is_ok())
}
