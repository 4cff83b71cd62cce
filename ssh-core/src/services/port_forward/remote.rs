//! Remote forwards: the peer listens, we connect (RFC 4254 §7.1).

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::event::Target;
use super::hooks::{MessageFactory, PortSide};
use super::messages::{
    CANCEL_STREAMLOCAL_FORWARD, CANCEL_TCPIP_FORWARD, ForwardRequest, STREAMLOCAL_FORWARD, TCPIP_FORWARD,
    decode_port, encode_path,
};
use super::requested::Requested;
use super::{ForwardError, Shared};
use crate::driver;
use crate::error::Error;
use crate::session::GlobalReply;

/// A remote forward, from [`PortForwarding::remote`](super::PortForwarding::remote). Dropping it has the peer stop to
/// listen; connections go on. So does dropping its [`PortForwarding`](super::PortForwarding), which cuts the connections
/// too. It does not keep the session alive.
#[derive(Debug)]
pub struct RemoteForward {
    registration: Registration,
    port: u16,
}

impl RemoteForward {
    /// The port that the peer listens on; 0 for a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Has the peer stop to listen, and waits until it has. Whether it knew of the forward; `false` too if its
    /// [`PortForwarding`](super::PortForwarding) has been dropped, and the forward cancelled with it.
    ///
    /// # Errors
    /// If the session ends before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request.
    pub async fn cancel(mut self) -> Result<bool, Error> {
        if !self.registration.requested.has(self.registration.id) {
            return Ok(false);
        }
        let Registration { asking, bind, is_cancelled, .. } = &mut self.registration;
        let (name, fields) = asking.cancel_request(bind, self.port);
        *is_cancelled = true;
        let answer = asking.wire.start_request(name, &fields)?;
        // Until then connections may still come, and are served.
        Ok(matches!(answer.await?, GlobalReply::Success(_)))
    }
}

pub(super) async fn start(
    shared: &Arc<Shared>,
    bind: Target,
    target: Target,
) -> Result<RemoteForward, ForwardError> {
    let registration = Registration::new(shared, bind, target)?;
    let (name, fields) = registration.asking.request(&registration.bind);
    let answer = registration.asking.wire.start_request(name, &fields)?;
    let (reply, replied) = oneshot::channel();
    // In a task, so that a forward that is granted when the caller has gone is taken back; and not in one of the
    // forwarding's, so that it is when that has gone as well. It ends with the session, which it does not keep alive.
    tokio::spawn(async move {
        let forward = match answer.await {
            Ok(reply) => registration.answered(reply),
            Err(error) => Err(ForwardError::Session(error)),
        };
        let _ = reply.send(forward);
    });
    replied.await.unwrap_or_else(|_| Err(shared.over()))
}

/// Takes back what the peer has granted. What it has not answered yet is taken back when it is granted.
pub(super) fn cancel_all(shared: &Shared) {
    let asking = Asking::of(shared);
    while let Some(gone) = shared.requested.remove_granted() {
        asking.cancel(&gone.bind, gone.port);
        shared.hooks.port(PortSide::Local, gone.change, &gone.place());
    }
}

/// An entry of the table, made before the request is sent. Dropping it takes the forward back if it has been granted.
#[derive(Debug)]
struct Registration {
    asking: Asking,
    requested: Arc<Requested>,
    /// For its hooks; the rest is there when it has gone.
    shared: Weak<Shared>,
    id: u64,
    bind: Target,
    is_cancelled: bool,
}

impl Registration {
    fn new(shared: &Arc<Shared>, bind: Target, target: Target) -> Result<Self, ForwardError> {
        let id = shared.requested.add(&bind, target);
        Ok(Self {
            id: id.ok_or_else(|| ForwardError::AlreadyForwarded { bind: bind.to_string() })?,
            asking: Asking::of(shared),
            requested: Arc::clone(&shared.requested),
            shared: Arc::downgrade(shared),
            bind,
            is_cancelled: false,
        })
    }

    fn answered(self, reply: GlobalReply) -> Result<RemoteForward, ForwardError> {
        let bind = || self.bind.to_string();
        let GlobalReply::Success(fields) = reply else {
            return Err(ForwardError::RefusedByPeer { bind: bind() });
        };
        let port = self.chosen_port(&fields).ok_or_else(|| ForwardError::NoPort { bind: bind() })?;
        if let Some((change, place)) = self.requested.grant(self.id, port)
            && let Some(shared) = self.shared.upgrade()
        {
            shared.hooks.port(PortSide::Local, change, &place);
        }
        Ok(RemoteForward { registration: self, port })
    }

    /// 0 for a Unix socket.
    fn chosen_port(&self, fields: &[u8]) -> Option<u16> {
        if self.bind.socket_path().is_some() {
            return Some(0);
        }
        // A peer may choose another port than was asked for.
        let chosen = decode_port(fields).ok().flatten().unwrap_or(self.bind.port());
        Some(chosen).filter(|port| *port != 0)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Some(gone) = self.requested.remove(self.id) else { return };
        if !self.is_cancelled {
            self.asking.cancel(&gone.bind, gone.port);
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.hooks.port(PortSide::Local, gone.change, &gone.place());
        }
    }
}

/// How the peer is asked: what is left of a forwarding and its session when they have gone.
#[derive(Debug)]
struct Asking {
    wire: Arc<driver::Shared>,
    messages: Arc<dyn MessageFactory>,
}

impl Asking {
    fn of(shared: &Shared) -> Self {
        Self { wire: Arc::clone(shared.session.shared()), messages: Arc::clone(&shared.hooks.messages) }
    }

    /// The name and the fields of the request.
    fn request(&self, bind: &Target) -> (&'static str, Vec<u8>) {
        match bind.socket_path() {
            Some(path) => (STREAMLOCAL_FORWARD, encode_path(path)),
            None => (TCPIP_FORWARD, self.fields(bind, bind.port())),
        }
    }

    /// Those of the request that takes it back.
    fn cancel_request(&self, bind: &Target, port: u16) -> (&'static str, Vec<u8>) {
        match bind.socket_path() {
            Some(path) => (CANCEL_STREAMLOCAL_FORWARD, encode_path(path)),
            None => (CANCEL_TCPIP_FORWARD, self.fields(bind, port)),
        }
    }

    fn cancel(&self, bind: &Target, port: u16) {
        let (name, fields) = self.cancel_request(bind, port);
        // An error means that the session is over, and the forward with it.
        let _ = self.wire.notify(name, &fields);
    }

    fn fields(&self, bind: &Target, port: u16) -> Vec<u8> {
        let host = match bind.host() {
            // To the Go library of Dev Tunnels nothing means 127.0.0.1, and this all interfaces, IPv6 too.
            "" if self.wire.with(|engine| engine.peer_is_dev_tunnels_go()) => "0.0.0.0",
            host => host,
        };
        let mut fields = ForwardRequest { host: host.to_owned(), port }.encode();
        fields.extend(self.messages.request(&Target::new(bind.host(), port)));
        fields
    }
}
