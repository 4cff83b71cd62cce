//! Why a forward could not be set up.

use super::event::Target;
use crate::error::Error;
use crate::protocol::OpenError;

/// Why a forward could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The system does not let us listen there.
    #[error("cannot listen on {bind}: {source}")]
    Bind {
        /// Where.
        bind: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The peer does not let us listen there, or the port is taken at its side.
    #[error("the peer refused to listen on {bind}")]
    RefusedByPeer {
        /// Where.
        bind: String,
    },
    /// This side has asked for that already.
    #[error("{bind} is forwarded already")]
    AlreadyForwarded {
        /// Where.
        bind: String,
    },
    /// The peer granted port 0, but did not say which port it chose.
    #[error("the peer did not say which port it chose for {bind}")]
    NoPort {
        /// Where.
        bind: String,
    },
    /// The peer has not asked us to listen on that port.
    #[error("the peer has not asked to forward port {port}")]
    NotForwarded {
        /// The port.
        port: u16,
    },
    /// The channel did not open.
    #[error("cannot open a channel to {target}: {source}")]
    Open {
        /// Where to.
        target: Target,
        /// Why not.
        source: OpenError,
    },
    /// The target reset the connection, or the peer says so, or it was closed before it had taken all that was read.
    #[error("the connection to {target} was reset")]
    Reset {
        /// Whose.
        target: Target,
    },
    /// A stream on this side, such as standard output, failed.
    #[error("a stream on this side failed: {0}")]
    Stream(std::io::Error),
    /// The session is over.
    #[error(transparent)]
    Session(#[from] Error),
}
