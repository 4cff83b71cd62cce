//! What happens to forwards, for those who show it to a user.

use std::fmt;

use std::sync::Arc;

use super::proxy::BadProxyRequest;
use crate::error::{IoError, escape_text};
use crate::protocol::OpenFailure;
use crate::trace::{TraceEvent, tell_any};

/// A host and a port, or a Unix socket. It shows control characters of a peer escaped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target(Place);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp { host: Arc<str>, port: u16 },
    Socket(Arc<str>),
}

impl Target {
    /// A name or an address, and a port.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self(Place::Tcp { host: host.into(), port })
    }

    /// The path of a Unix socket.
    #[must_use]
    pub fn socket(path: &str) -> Self {
        Self(Place::Socket(path.into()))
    }

    /// The name or address as it was given; the path of a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.0 {
            Place::Tcp { host, .. } => host,
            Place::Socket(path) => path,
        }
    }

    /// The port; 0 for a Unix socket.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.0 {
            Place::Tcp { port, .. } => *port,
            Place::Socket(_) => 0,
        }
    }

    /// The path, if this is a Unix socket.
    #[must_use]
    pub fn socket_path(&self) -> Option<&str> {
        match &self.0 {
            Place::Tcp { .. } => None,
            Place::Socket(path) => Some(path),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = escape_text(self.host().as_bytes());
        match (host.as_str(), &self.0) {
            (path, Place::Socket(_)) => f.write_str(path),
            ("", Place::Tcp { port, .. }) => write!(f, "*:{port}"),
            (host, Place::Tcp { port, .. }) if host.contains(':') && !host.starts_with('[') => {
                write!(f, "[{host}]:{port}")
            }
            (host, Place::Tcp { port, .. }) => write!(f, "{host}:{port}"),
        }
    }
}

/// Something that happened. Shown as text, it is one line that names the culprit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ForwardEvent {
    /// A connection goes through.
    Connection {
        /// Whoever connected, as far as it is known.
        from: String,
        /// Where it goes.
        target: Target,
    },
    /// The peer did not take a connection.
    Refused {
        /// Where it was to go.
        target: Target,
        /// The peer's reason.
        failure: OpenFailure,
    },
    /// This side could not connect for the peer.
    DialFailed {
        /// Where to.
        target: Target,
        /// The system's reason.
        error: IoError,
    },
    /// The peer wanted to connect to something that the policy does not permit.
    TargetDenied {
        /// What it wanted.
        target: Target,
    },
    /// The peer wanted to listen on something that the policy does not permit.
    ListenDenied {
        /// What it wanted.
        bind: Target,
    },
    /// This side could not listen for the peer.
    ListenFailed {
        /// Where.
        bind: Target,
        /// The system's reason.
        error: IoError,
    },
    /// The peer listens for us, or this side for the peer.
    Listening {
        /// Where.
        bind: Target,
    },
    /// The peer passed on a connection to a port that it was not asked to listen on.
    NotRequested {
        /// The port, with the host as the peer says.
        bind: Target,
    },
    /// A client of a dynamic forward asked for something that we do not do.
    BadProxyRequest {
        /// The client.
        from: String,
        /// What is wrong.
        reason: BadProxyRequest,
    },
    /// A connection was reset because there are as many as may be.
    TooManyConnections {
        /// Whoever connected.
        from: String,
    },
}

impl ForwardEvent {
    /// The number that the log tells it by.
    #[must_use]
    pub const fn trace_event(&self) -> TraceEvent {
        match self {
            Self::Connection { .. } => TraceEvent::PortForwardConnectionOpened,
            Self::Refused { .. } => TraceEvent::PortForwardChannelOpenFailed,
            Self::TargetDenied { .. } | Self::NotRequested { .. } => TraceEvent::PortForwardChannelInvalid,
            Self::ListenDenied { .. } => TraceEvent::PortForwardRequestInvalid,
            Self::ListenFailed { .. } => TraceEvent::PortForwardServerListenFailed,
            Self::Listening { .. } => TraceEvent::PortForwardServerListening,
            Self::DialFailed { .. } | Self::BadProxyRequest { .. } | Self::TooManyConnections { .. } => {
                TraceEvent::PortForwardConnectionFailed
            }
        }
    }
}

impl fmt::Display for ForwardEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { from, target } => write!(f, "connection from {from} to {target}"),
            Self::Refused { target, failure } => write!(f, "the peer refused {target}: {failure}"),
            Self::DialFailed { target, error } => write!(f, "cannot connect to {target}: {error}"),
            Self::TargetDenied { target } => write!(f, "the peer may not connect to {target}"),
            Self::ListenDenied { bind } => write!(f, "the peer may not listen on {bind}"),
            Self::ListenFailed { bind, error } => write!(f, "cannot listen on {bind} for the peer: {error}"),
            Self::Listening { bind } => write!(f, "listening on {bind} for the peer"),
            Self::NotRequested { bind } => {
                write!(f, "the peer passed on a connection to {bind}, which nobody asked for")
            }
            Self::BadProxyRequest { from, reason } => write!(f, "proxy client {from}: {reason}"),
            Self::TooManyConnections { from } => {
                write!(f, "too many connections (limit channels): the one from {from} was reset")
            }
        }
    }
}

/// Where events go.
#[derive(Clone, Default)]
pub(super) struct Events(Option<Arc<dyn Fn(ForwardEvent) + Send + Sync>>);

impl Events {
    pub(super) fn new(callback: impl Fn(ForwardEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(callback)))
    }

    pub(super) fn emit(&self, event: ForwardEvent) {
        tell_any!(event.trace_event(), "{event}");
        if let Some(callback) = &self.0 {
            callback(event);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Events").field(&self.0.is_some()).finish()
    }
}
