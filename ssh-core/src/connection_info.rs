use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::keys::PublicKey;
use crate::protocol::{Negotiated, Role};

/// What is known of a connection once its first key exchange is done: while authentication is decided on, and later
/// from the [`Session`](crate::session::Session).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Which side we are.
    pub role: Role,
    /// The hash of the first key exchange (RFC 4253 §7.2); it stays when keys are changed.
    pub session_id: SessionId,
    /// The client's version line without CR LF, for instance `SSH-2.0-OpenSSH_9.9` (RFC 4253 §4.2).
    pub client_version: Arc<str>,
    /// The server's.
    pub server_version: Arc<str>,
    /// Where both ends are, as far as the caller said.
    pub addresses: Addresses,
    /// The algorithms of the last key exchange before this was asked for; `None` without any security.
    pub algorithms: Option<Negotiated>,
    /// Whether both sides agreed on strict key exchange (OpenSSH PROTOCOL §1.9).
    pub strict_kex: bool,
    /// The server's host key, which it has proved to hold; `None` on a server.
    pub host_key: Option<PublicKey>,
}

impl ConnectionInfo {
    /// The version line of the other side.
    #[must_use]
    pub fn peer_version(&self) -> &str {
        match self.role {
            Role::Client => &self.server_version,
            Role::Server => &self.client_version,
        }
    }
}

/// Where both ends of a stream are. Streams can be anything, so whoever opens one says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addresses {
    /// This end.
    pub local: Option<SocketAddr>,
    /// The other end.
    pub peer: Option<SocketAddr>,
}

impl Addresses {
    /// Those of a TCP connection. What the system cannot say stays unknown.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn of(stream: &tokio::net::TcpStream) -> Self {
        Self { local: stream.local_addr().ok(), peer: stream.peer_addr().ok() }
    }
}

/// A session id. It is never printed: whoever knows it may resume a session where that is on. Comparing two takes constant
/// time.
#[derive(Clone, Default)]
pub struct SessionId(Arc<Zeroizing<Vec<u8>>>);

impl SessionId {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }

    /// Its bytes, as many as the hash of the first key exchange method has; none without any security.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for SessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId[..]")
    }
}
