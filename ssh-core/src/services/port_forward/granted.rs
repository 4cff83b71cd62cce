//! Listening for the peer (RFC 4254 §7.1).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Shared;
use super::event::{ForwardEvent, Target};
use super::hooks::{ForwardedPortConnecting, Hooks, PortChange, PortSide};
use super::listener::{Listening, listen};
#[cfg(unix)]
use super::messages::encode_forwarded_path;
use super::messages::{ChannelTarget, FORWARDED_STREAMLOCAL, FORWARDED_TCPIP, ForwardRequest, encode_port};
use super::socket::Socket;
use crate::config::CAN_CHANGE_PORT;
use crate::error::IoError;
use crate::session::IncomingRequest;

/// What we listen on for the peer.
#[derive(Debug)]
pub(super) struct Granted(Mutex<Vec<Forward>>, watch::Sender<()>);

impl Default for Granted {
    fn default() -> Self {
        Self(Mutex::default(), watch::Sender::new(()))
    }
}

#[derive(Debug)]
struct Forward {
    /// The host as the peer spelled it, and the port that it was told.
    bound: Target,
    listeners: Vec<Listening>,
}

impl Forward {
    /// Whether it is on this port too, on whatever address.
    fn is_same_port(&self, bound: &Target) -> bool {
        self.bound.port() == bound.port() && bound.port() != 0
    }
}

impl Granted {
    fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Peers spell hosts in many ways, so the host only decides between forwards of the same port.
    fn take(&self, bound: &Target, hooks: &Hooks) -> Option<Forward> {
        let mut forwards = self.0.lock();
        let exact = forwards.iter().position(|forward| forward.bound == *bound);
        let at = exact.or_else(|| forwards.iter().position(|forward| forward.is_same_port(bound)))?;
        let forward = forwards.remove(at);
        let is_left = forwards.iter().any(|other| other.is_same_port(&forward.bound));
        drop(forwards);
        self.1.send_replace(());
        let change = if is_left { PortChange::Updated } else { PortChange::Removed };
        hooks.port(PortSide::Remote, change, &forward.bound);
        Some(forward)
    }

    fn add(&self, forward: Forward, hooks: &Hooks) {
        let bound = forward.bound.clone();
        let mut forwards = self.0.lock();
        let is_there = forwards.iter().any(|other| other.is_same_port(&bound));
        forwards.push(forward);
        drop(forwards);
        self.1.send_replace(());
        hooks.port(PortSide::Remote, if is_there { PortChange::Updated } else { PortChange::Added }, &bound);
    }

    /// The session is over.
    pub(super) fn clear(&self, hooks: &Hooks) {
        let forwards = std::mem::take(&mut *self.0.lock());
        self.1.send_replace(());
        let mut told = Vec::new();
        for Forward { bound, .. } in &forwards {
            if bound.socket_path().is_some() || !told.contains(&bound.port()) {
                told.push(bound.port());
                hooks.port(PortSide::Remote, PortChange::Removed, bound);
            }
        }
    }

    /// The ports, with the hosts as the peer spelled them.
    pub(super) fn ports(&self) -> Vec<Target> {
        let forwards = self.0.lock();
        forwards
            .iter()
            .map(|forward| &forward.bound)
            .filter(|bound| bound.socket_path().is_none())
            .cloned()
            .collect()
    }

    /// Is told whenever a port comes or goes.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.1.subscribe()
    }
}

/// Serves `tcpip-forward`.
pub(super) async fn grant(shared: &Arc<Shared>, request: IncomingRequest, fields: ForwardRequest) {
    let asked = Target::new(&fields.host, fields.port);
    let bind = shared.policy.listen_on(&fields.host, fields.port);
    let Some(bind) = bind else {
        shared.events.emit(ForwardEvent::ListenDenied { bind: asked });
        return request.refuse();
    };
    if shared.granted.len() >= shared.policy.max_listeners {
        shared.events.emit(ForwardEvent::ListenFailed { bind: asked, error: at_the_limit() });
        return request.refuse();
    }
    if !shared.hooks.switches.accept_local {
        // The port is known, and connected to through `connect_to_forwarded_port` alone.
        if fields.port == 0 {
            return request.refuse();
        }
        request.accept(&granted_port(shared, fields.port));
        return shared.granted.add(Forward { bound: asked, listeners: Vec::new() }, &shared.hooks);
    }
    let can_change = fields.port != 0
        && shared.policy.listen_on(&fields.host, 0).is_some()
        && shared
            .session
            .peer_extensions()
            .is_some_and(|listed| listed.iter().any(|(name, _)| &**name == CAN_CHANGE_PORT));
    let listened = shared.hooks.listeners.listen(&bind, can_change).await.and_then(|sockets| {
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
    request.accept(&granted_port(shared, port));
    let bound = Target::new(&fields.host, port);
    shared.events.emit(ForwardEvent::Listening { bind: bound.clone() });
    let settled = Instant::now() + if shared.is_dev_tunnels_go() { SETTLING } else { Duration::ZERO };
    let start = |socket| {
        let bound = bound.clone();
        listen(shared, socket, move |shared, socket: TcpStream, from: SocketAddr| {
            let (fields, bound) = (fields_of(&shared, &bound, from), bound.clone());
            async move {
                tokio::time::sleep_until(settled).await;
                pass_on(shared, socket.into(), from.to_string(), fields, bound).await;
            }
        })
    };
    let listeners = sockets.into_iter().filter_map(start).collect();
    shared.granted.add(Forward { bound, listeners }, &shared.hooks);
}

/// The Go library of Dev Tunnels notes a port in another thread than the one that sees its channels. A channel that comes
/// right behind the answer may be ahead of the note, and is then confirmed and left alone for ever.
const SETTLING: Duration = Duration::from_millis(100);

fn at_the_limit() -> IoError {
    IoError::from(&io::Error::other(
        "there are as many forwarded ports as there may be (limit forwarded_ports)",
    ))
}

/// Serves `streamlocal-forward@openssh.com`.
#[cfg(unix)]
pub(super) fn grant_socket(shared: &Arc<Shared>, request: IncomingRequest, path: &str) {
    let bound = Target::socket(path);
    if !shared.policy.permits_listen_socket(path) {
        shared.events.emit(ForwardEvent::ListenDenied { bind: bound });
        return request.refuse();
    }
    if shared.granted.len() >= shared.policy.max_listeners {
        shared.events.emit(ForwardEvent::ListenFailed { bind: bound, error: at_the_limit() });
        return request.refuse();
    }
    let listener = super::unix::SocketListener::bind(path);
    let listener = match listener.and_then(super::unix::SocketListener::into_accepting) {
        Ok(listener) => listener,
        Err(error) => {
            shared.events.emit(ForwardEvent::ListenFailed { bind: bound, error: IoError::from(&error) });
            return request.refuse();
        }
    };
    request.accept(&[]);
    shared.events.emit(ForwardEvent::Listening { bind: bound.clone() });
    let passed_on = bound.clone();
    let listening = listen(shared, listener, move |shared, socket, from: String| {
        pass_on(shared, socket.into(), from, encode_forwarded_path(passed_on.host()), passed_on.clone())
    });
    shared.granted.add(Forward { bound, listeners: listening.into_iter().collect() }, &shared.hooks);
}

/// There are none on this system.
#[cfg(not(unix))]
pub(super) fn grant_socket(_shared: &Arc<Shared>, request: IncomingRequest, _path: &str) {
    request.refuse();
}

/// Serves a cancel. The answer leaves when the port or socket is free; connections go on.
pub(super) async fn cancel(shared: &Arc<Shared>, request: IncomingRequest, bound: &Target) {
    let Some(forward) = shared.granted.take(bound, &shared.hooks) else { return request.refuse() };
    for listener in forward.listeners {
        listener.stop().await;
    }
    match forward.bound.socket_path() {
        Some(_) => request.accept(&[]),
        None => request.accept(&encode_port(forward.bound.port())),
    }
}

/// The fields of a `forwarded-tcpip` channel. `bound` names the host as the peer did, which is what some match it by.
fn fields_of(shared: &Shared, bound: &Target, from: SocketAddr) -> Vec<u8> {
    let fields = ChannelTarget {
        host: bound.host().to_owned(),
        port: bound.port(),
        originator: from.ip().to_string(),
        originator_port: from.port().into(),
    };
    let mut fields = fields.encode();
    fields.extend(shared.hooks.messages.channel_open(bound));
    fields
}

/// The fields of the answer that grants a port.
fn granted_port(shared: &Shared, port: u16) -> Vec<u8> {
    let mut fields = encode_port(port);
    fields.extend(shared.hooks.messages.success(port));
    fields
}

/// Passes a connection on to the peer.
async fn pass_on(shared: Arc<Shared>, socket: Socket, from: String, fields: Vec<u8>, bound: Target) {
    if shared.policy.has_expired() {
        shared.events.emit(ForwardEvent::ListenDenied { bind: bound });
        return socket.reset();
    }
    let connection = ForwardedPortConnecting { port: bound.clone(), is_incoming: false };
    if !shared.hooks.admit(&connection).await {
        return socket.reset();
    }
    let kind = if bound.socket_path().is_some() { FORWARDED_STREAMLOCAL } else { FORWARDED_TCPIP };
    match shared.session.open_channel_with(kind, &fields).await {
        Ok((channel, _)) => {
            shared.events.emit(ForwardEvent::Connection { from, target: bound.clone() });
            socket.run_through(&shared.hooks, &connection, channel, &bound).await;
        }
        Err(error) => {
            shared.report_unopened(&from, &bound, &error);
            socket.reset();
        }
    }
}
