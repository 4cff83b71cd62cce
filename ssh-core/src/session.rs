//! Sessions, and what the peer asks of them.

mod incoming;
mod link;
mod open;

use std::sync::Arc;

use bytes::Bytes;

use crate::connection_info::ConnectionInfo;
use crate::driver::Shared;
use crate::error::{DisconnectReason, Error};
use crate::keys::PublicKey;
use crate::metrics::SessionMetrics;
use crate::protocol::Negotiated;
use crate::server::Principal;

pub use crate::progress::Progress;
pub use crate::protocol::GlobalReply;
pub use crate::protocol::{Latency, OpenFailure, OpenFailureReason, ReconnectFailure, ReconnectOffer};
pub use incoming::{Incoming, IncomingChannel, IncomingRequest, IncomingStream};
pub use link::SessionEvent;
pub(crate) use link::events_of;

/// An authenticated session. Clones are handles to the same session; dropping the last one disconnects.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    info: SessionInfo,
    principal: Option<Principal>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.with(|engine| {
            engine.end(Error::Closed);
        });
    }
}

/// What was agreed when the session was set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The user that was authenticated.
    pub user: Arc<str>,
    /// The peer's version line, for instance `SSH-2.0-OpenSSH_9.9`.
    pub peer_version: Arc<str>,
    /// The algorithms of the first key exchange; `None` without any security.
    pub algorithms: Option<Negotiated>,
    /// Whether both sides agreed on strict key exchange.
    pub strict_kex: bool,
    /// The server's host key; `None` on a server.
    pub host_key: Option<PublicKey>,
    /// The connection, as it was known during authentication.
    pub connection: ConnectionInfo,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, user: Arc<str>) -> Self {
        let info = shared.with(|engine| SessionInfo {
            user,
            peer_version: engine.peer_version().map_or("", |version| version.as_str()).into(),
            algorithms: engine.negotiated().copied(),
            strict_kex: engine.is_strict_kex(),
            host_key: engine.host_key().cloned(),
            connection: engine.connection_info(),
        });
        Self { inner: Arc::new(Inner { shared, info, principal: None }) }
    }

    /// A server's: `principal` is whom its authenticator has let in.
    pub(crate) fn of_principal(shared: Arc<Shared>, user: Arc<str>, principal: Option<Principal>) -> Self {
        let mut session = Self::new(shared, user);
        if let Some(inner) = Arc::get_mut(&mut session.inner) {
            inner.principal = principal;
        }
        session
    }

    /// On a server, whom its [`Authenticator`](crate::server::Authenticator) has let in. `None` on a client, and where both
    /// sides agreed on no security at all.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.inner.principal.as_ref()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// What was agreed.
    #[must_use]
    pub fn info(&self) -> &SessionInfo {
        &self.inner.info
    }

    /// The connection: session id, versions, addresses and algorithms.
    #[must_use]
    pub fn connection(&self) -> &ConnectionInfo {
        &self.inner.info.connection
    }

    /// The extensions that the peer listed, with their values (RFC 8308); `None` if it listed none at all.
    #[must_use]
    pub fn peer_extensions(&self) -> Option<Vec<(Box<str>, Bytes)>> {
        self.inner.shared.with(|engine| engine.peer_extensions().map(<[_]>::to_vec))
    }

    /// The channels and requests of the peer, as a `Stream`. They wait here until somebody takes them; past the limits
    /// of the session new ones are refused. There is one queue: each item goes to one of the streams.
    #[must_use]
    pub fn incoming(&self) -> IncomingStream {
        IncomingStream::new(&self.inner.shared)
    }

    /// Starts a key exchange now; the session goes on meanwhile.
    ///
    /// # Errors
    /// If the session is over.
    pub fn rekey(&self) -> Result<(), Error> {
        self.inner.shared.with(|engine| engine.rekey(crate::driver::now()))
    }

    /// Ends the session: the peer is told, channels fail with [`Error::Closed`].
    pub fn close(&self) {
        self.inner.shared.with(|engine| {
            engine.end(Error::Closed);
        });
    }

    /// Ends the session as [`close`](Self::close) does, but with words of the caller's (RFC 4253 §11.1): channels fail with
    /// [`Error::ClosedWith`]. `text` is for the peer's user; a few hundred bytes are shown at most.
    pub fn disconnect(&self, reason: DisconnectReason, text: &str) {
        self.inner.shared.with(|engine| {
            engine.end(Error::ClosedWith { reason, text: text.into() });
        });
    }

    /// What went through the session so far.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        self.inner.shared.with(|engine| engine.metrics())
    }

    /// Our numbers of the channels that are open now; once the session is over, of those that its end has cut.
    #[must_use]
    pub fn channel_ids(&self) -> Vec<u32> {
        self.inner.shared.with(|engine| engine.channel_ids())
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.end_reason().is_some()
    }

    /// Waits for the end of the session; why it ended.
    ///
    /// # Cancel safety
    /// Nothing happens to the session.
    pub async fn closed(&self) -> Error {
        self.inner.shared.ended().await
    }
}
