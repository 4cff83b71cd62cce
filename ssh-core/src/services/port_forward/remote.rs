//! Remote forwards: the peer listens, we connect (RFC 4254 §7.1).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::event::Target;
use super::hooks::{PortChange, PortSide};
use super::messages::{
    CANCEL_STREAMLOCAL_FORWARD, CANCEL_TCPIP_FORWARD, ForwardRequest, STREAMLOCAL_FORWARD, TCPIP_FORWARD,
    decode_port, encode_path,
};
use super::{ForwardError, Shared};
use crate::error::Error;

/// A remote forward, from [`PortForwarding::remote`](super::PortForwarding::remote). Dropping it has the peer stop to
/// listen; connections go on.
#[derive(Debug)]
pub struct RemoteForward {
    registration: Option<Registration>,
    port: u16,
}

impl RemoteForward {
    /// The port that the peer listens on; 0 for a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has the peer stop to listen, and waits until it has. Whether it knew of the forward.
    ///
    /// # Errors
    /// If the session ends before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request.
    pub async fn cancel(mut self) -> Result<bool, Error> {
        let Some(registration) = self.registration.take() else { return Ok(false) };
        let (name, fields) = registration.cancel_request(self.port);
        let reply = registration.shared.session.request(name, &fields).await?;
        Ok(reply.is_some())
    }
}

impl Drop for RemoteForward {
    fn drop(&mut self) {
        if let Some(registration) = self.registration.take() {
            // An error means that the session is over, and the forward with it.
            let (name, fields) = registration.cancel_request(self.port);
            let _ = registration.shared.session.notify(name, &fields);
        }
    }
}

pub(super) async fn start(
    shared: &Arc<Shared>,
    bind: Target,
    target: Target,
) -> Result<RemoteForward, ForwardError> {
    let registration = Registration::new(shared, bind, target)?;
    let (reply, replied) = oneshot::channel();
    // In a task, so that a forward that is granted when the caller has gone is taken back.
    shared.tasks.spawn(async move {
        let _ = reply.send(request(registration).await);
    });
    replied.await.unwrap_or(Err(ForwardError::Session(Error::Closed)))
}

async fn request(registration: Registration) -> Result<RemoteForward, ForwardError> {
    let bind = || registration.bind.to_string();
    let (name, fields) = registration.request();
    let reply = registration.shared.session.request(name, &fields).await?;
    let reply = reply.ok_or_else(|| ForwardError::RefusedByPeer { bind: bind() })?;
    if registration.bind.socket_path().is_some() {
        registration.granted(0);
        return Ok(RemoteForward { registration: Some(registration), port: 0 });
    }
    // A peer may choose another port than was asked for.
    let chosen = decode_port(&reply).ok().flatten().unwrap_or(registration.bind.port());
    if chosen == 0 {
        return Err(ForwardError::NoPort { bind: bind() });
    }
    registration.granted(chosen);
    Ok(RemoteForward { registration: Some(registration), port: chosen })
}

/// What we asked the peer to listen on.
#[derive(Debug)]
pub(super) struct Requested {
    table: Mutex<Table>,
    /// Told when a request has been answered.
    answered: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    next_id: u64,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    bind: Target,
    /// 0 until the peer has chosen.
    port: u16,
    is_answered: bool,
    target: Target,
}

impl Default for Requested {
    fn default() -> Self {
        Self { table: Mutex::default(), answered: watch::Sender::new(()) }
    }
}

impl Requested {
    /// What the peer listens on for us.
    pub(super) fn ports(&self) -> Vec<Target> {
        self.table.lock().entries.iter().filter(|entry| entry.is_answered).map(Entry::place).collect()
    }

    /// Where connections to a port of the peer go. A connection may overtake the answer that names its port, so as
    /// long as requests are unanswered an unknown port is waited for.
    pub(super) async fn target_of(&self, bind: &Target) -> Option<Target> {
        let mut answered = self.answered.subscribe();
        let find = async {
            loop {
                answered.mark_unchanged();
                match self.find(bind) {
                    Found::Target(target) => return Some(target),
                    Found::MayCome => answered.changed().await.ok()?,
                    Found::Nothing => return None,
                }
            }
        };
        tokio::time::timeout(ANSWER_DEADLINE, find).await.ok().flatten()
    }

    /// Peers spell hosts in many ways, so the host only decides between forwards of the same port.
    fn find(&self, bind: &Target) -> Found {
        let table = self.table.lock();
        let exact = table.entries.iter().find(|entry| match bind.socket_path() {
            Some(path) => entry.bind.socket_path() == Some(path),
            None => entry.is_port(bind.port()) && entry.bind.host() == bind.host(),
        });
        match exact.or_else(|| table.entries.iter().find(|entry| entry.is_port(bind.port()))) {
            Some(entry) => Found::Target(entry.target.clone()),
            None if table.entries.iter().any(|entry| !entry.is_answered) => Found::MayCome,
            None => Found::Nothing,
        }
    }
}

impl Entry {
    /// What the peer listens on, with the port that it chose.
    fn place(&self) -> Target {
        match self.bind.socket_path() {
            Some(_) => self.bind.clone(),
            None => Target::new(self.bind.host(), self.port),
        }
    }

    /// Whether it is a forward of this port, on whatever address.
    fn is_port(&self, port: u16) -> bool {
        port != 0 && self.port == port && self.bind.socket_path().is_none()
    }
}

enum Found {
    Target(Target),
    MayCome,
    Nothing,
}

/// An entry of the table, made before the request is sent.
#[derive(Debug)]
struct Registration {
    shared: Arc<Shared>,
    id: u64,
    bind: Target,
}

impl Registration {
    fn new(shared: &Arc<Shared>, bind: Target, target: Target) -> Result<Self, ForwardError> {
        let mut table = shared.requested.table.lock();
        let is_same = |entry: &Entry| match bind.socket_path() {
            Some(path) => entry.bind.socket_path() == Some(path),
            None => entry.is_port(bind.port()) && entry.bind.host() == bind.host(),
        };
        if table.entries.iter().any(is_same) {
            return Err(ForwardError::AlreadyForwarded { bind: bind.to_string() });
        }
        let id = table.next_id;
        table.next_id = id.wrapping_add(1);
        table.entries.push(Entry { id, bind: bind.clone(), port: bind.port(), is_answered: false, target });
        Ok(Self { shared: Arc::clone(shared), id, bind })
    }

    fn granted(&self, port: u16) {
        let mut table = self.shared.requested.table.lock();
        let change = if table.entries.iter().any(|entry| entry.id != self.id && entry.is_port(port)) {
            PortChange::Updated
        } else {
            PortChange::Added
        };
        let entry = table.entries.iter_mut().find(|entry| entry.id == self.id);
        let port = entry.map(|entry| {
            entry.port = port;
            entry.is_answered = true;
            entry.place()
        });
        drop(table);
        self.shared.requested.answered.send_replace(());
        if let Some(port) = port {
            self.shared.hooks.port(PortSide::Local, change, &port);
        }
    }

    /// The name and the fields of the request.
    fn request(&self) -> (&'static str, Vec<u8>) {
        match self.bind.socket_path() {
            Some(path) => (STREAMLOCAL_FORWARD, encode_path(path)),
            None => (TCPIP_FORWARD, self.fields(self.bind.port())),
        }
    }

    /// Those of the request that takes it back.
    fn cancel_request(&self, port: u16) -> (&'static str, Vec<u8>) {
        match self.bind.socket_path() {
            Some(path) => (CANCEL_STREAMLOCAL_FORWARD, encode_path(path)),
            None => (CANCEL_TCPIP_FORWARD, self.fields(port)),
        }
    }

    fn fields(&self, port: u16) -> Vec<u8> {
        let host = match self.bind.host() {
            // To the Go library of Dev Tunnels nothing means 127.0.0.1, and this all interfaces, IPv6 too.
            "" if self.shared.is_dev_tunnels_go() => "0.0.0.0",
            host => host,
        };
        let mut fields = ForwardRequest { host: host.to_owned(), port }.encode();
        fields.extend(self.shared.hooks.messages.request(&Target::new(self.bind.host(), port)));
        fields
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.shared.requested.table.lock();
        let at = table.entries.iter().position(|entry| entry.id == self.id);
        let gone = at.map(|at| table.entries.remove(at)).filter(|entry| entry.is_answered);
        let is_left = gone.as_ref().is_some_and(|gone| {
            table.entries.iter().any(|entry| entry.is_answered && entry.is_port(gone.port))
        });
        drop(table);
        self.shared.requested.answered.send_replace(());
        if let Some(gone) = gone {
            let change = if is_left { PortChange::Updated } else { PortChange::Removed };
            self.shared.hooks.port(PortSide::Local, change, &gone.place());
        }
    }
}

/// How long a connection waits for the answer that names its port.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
