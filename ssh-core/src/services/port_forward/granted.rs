//! Listening for the peer (RFC 4254 §7.1).

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::event::{ForwardEvent, Target};
use super::listener::{Listening, listen};
use super::messages::{ChannelTarget, FORWARDED_TCPIP, ForwardRequest, encode_port};
use super::{Shared, reset, run_connection};
use crate::error::IoError;
use crate::session::IncomingRequest;

/// What we listen on for the peer.
#[derive(Debug, Default)]
pub(super) struct Granted(Mutex<Vec<Forward>>);

#[derive(Debug)]
struct Forward {
    /// As the peer spelled it.
    host: String,
    port: u16,
    listeners: Vec<Listening>,
}

impl Granted {
    fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Peers spell hosts in many ways, so the host only decides between forwards of the same port.
    fn take(&self, host: &str, port: u16) -> Option<Forward> {
        let mut forwards = self.0.lock();
        let exact = forwards.iter().position(|forward| forward.port == port && forward.host == host);
        let at = exact.or_else(|| forwards.iter().position(|forward| forward.port == port))?;
        Some(forwards.remove(at))
    }
}

/// Serves `tcpip-forward`.
pub(super) async fn grant(shared: &Arc<Shared>, request: IncomingRequest, fields: ForwardRequest) {
    let asked = Target::new(&fields.host, fields.port);
    let bind = shared.policy.listen_on(&fields.host, fields.port);
    let Some(bind) = bind.filter(|_| shared.granted.len() < shared.policy.max_listeners) else {
        shared.events.emit(ForwardEvent::ListenDenied { bind: asked });
        return request.refuse();
    };
    let listened = bind.listen().await.and_then(|sockets| {
        let port = sockets.first().map(|socket| socket.local_addr()).transpose()?;
        Ok((port.map_or(fields.port, |address| address.port()), sockets))
    });
    let (port, sockets) = match listened {
        Ok(listened) => listened,
        Err(error) => {
            shared.events.emit(ForwardEvent::ListenFailed { bind: asked, error: IoError::from(&error) });
            return request.refuse();
        }
    };
    // Before anything is accepted: the peer is to know the port before it hears of connections to it.
    request.accept(&encode_port(port));
    let bound = Target::new(&fields.host, port);
    shared.events.emit(ForwardEvent::Listening { bind: bound.clone() });
    let start = |socket| {
        let bound = bound.clone();
        listen(shared, socket, move |shared, socket, from| pass_on(shared, socket, from, bound.clone()))
    };
    let listeners = sockets.into_iter().filter_map(start).collect();
    shared.granted.0.lock().push(Forward { host: fields.host, port, listeners });
}

/// Serves `cancel-tcpip-forward`. The answer leaves when the port is free; connections go on.
pub(super) async fn cancel(shared: &Arc<Shared>, request: IncomingRequest, fields: &ForwardRequest) {
    let Some(forward) = shared.granted.take(&fields.host, fields.port) else { return request.refuse() };
    for listener in forward.listeners {
        listener.stop().await;
    }
    request.accept(&encode_port(forward.port));
}

/// Passes a connection on to the peer. `bound` names the host as the peer did, which is what some match it by.
async fn pass_on(shared: Arc<Shared>, socket: TcpStream, from: SocketAddr, bound: Target) {
    if shared.policy.has_expired() {
        shared.events.emit(ForwardEvent::ListenDenied { bind: bound });
        return reset(socket);
    }
    let fields = ChannelTarget {
        host: bound.host().to_owned(),
        port: bound.port(),
        originator: from.ip().to_string(),
        originator_port: from.port().into(),
    };
    match shared.session.open_channel_with(FORWARDED_TCPIP, &fields.encode()).await {
        Ok((channel, _)) => {
            shared.events.emit(ForwardEvent::Connection { from: from.to_string(), target: bound.clone() });
            run_connection(socket, channel, &bound).await;
        }
        Err(error) => {
            shared.report_unopened(&bound, &error);
            reset(socket);
        }
    }
}
