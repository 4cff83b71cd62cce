//! What can go wrong in a session, who is at fault, and what the peer is told about it.

mod disconnect;
mod login;
mod peer;
mod text;

use std::fmt;
use std::sync::Arc;

use crate::crypto::CryptoError;
use crate::protocol::wire::WireError;

pub use crate::protocol::ReconnectFailure;
pub use disconnect::DisconnectReason;
pub use login::{AuthFailure, HostKeyError, SignError};
pub use peer::{NoCommonAlgorithm, PeerIncompatible, PeerMisbehaved};
pub(crate) use text::clean_text;
pub use text::escape_text;

/// Why a session ended or could not begin. It is cheap to clone, so that every channel of a lost session can
/// report it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The stream under the session failed or ended without SSH_MSG_DISCONNECT.
    #[error("the connection was lost: {0}")]
    Io(IoError),
    /// The peer broke a rule of the protocol.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(PeerMisbehaved),
    /// The peer is honest, but we have nothing in common.
    #[error("{0}")]
    PeerIncompatible(PeerIncompatible),
    /// The peer ended the session with SSH_MSG_DISCONNECT.
    #[error("the peer disconnected (reason {}): {text}", .reason.0)]
    Disconnected {
        /// The reason code.
        reason: DisconnectReason,
        /// Its words, escaped for display and at most 256 characters.
        text: Arc<str>,
    },
    /// The host key was not accepted.
    #[error("{0}")]
    HostKey(#[from] HostKeyError),
    /// The server accepted none of our credentials.
    #[error("authentication failed: {0}")]
    Auth(AuthFailure),
    /// The client's [`AuthPolicy`](crate::client::AuthPolicy) gave up: its own error, which
    /// [`policy_error`](Self::policy_error) gives back.
    #[error(transparent)]
    Policy(Arc<dyn std::error::Error + Send + Sync>),
    /// A session without a stream could not be resumed, or this connection was the means to resume one.
    #[error("{0}")]
    Reconnect(ReconnectFailure),
    /// A deadline passed.
    #[error("timed out: {0}")]
    Timeout(Timeout),
    /// Our own cryptography failed, for instance for lack of randomness.
    #[error("cryptography failed: {0}")]
    Crypto(CryptoError),
    /// The session was closed by this side.
    #[error("the session is closed")]
    Closed,
    /// The session was closed by this side with
    /// [`Session::disconnect`](crate::session::Session::disconnect).
    #[error("the session is closed: {text}")]
    ClosedWith {
        /// The reason code that the peer was told.
        reason: DisconnectReason,
        /// The words that went with it.
        text: Arc<str>,
    },
    /// A call that makes no sense in the state of the session.
    #[error("{0}")]
    ApiMisuse(ApiMisuse),
    /// An invariant of Adit itself is broken. Please report it.
    #[error("internal error: {0}")]
    Bug(&'static str),
}

const CLOSED_BY_PEER: &str = "the peer closed the connection";

/// An `std::io::Error` that can be cloned.
#[derive(Debug, Clone)]
pub struct IoError {
    kind: std::io::ErrorKind,
    text: Arc<str>,
}

impl IoError {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> std::io::ErrorKind {
        self.kind
    }

    /// With the last words of a peer, which are fit for display.
    pub(crate) fn after_words(error: &std::io::Error, words: &str) -> Self {
        Self { kind: error.kind(), text: format!("{error} after the words \"{words}\"").into() }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&std::io::Error> for IoError {
    fn from(error: &std::io::Error) -> Self {
        // Libraries below tell this in their own words; rustls adds a link to its manual.
        let text = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => CLOSED_BY_PEER.into(),
            _ => error.to_string().into(),
        };
        Self { kind: error.kind(), text }
    }
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        IoError::from(&error).into()
    }
}

impl Error {
    /// The stream ended in the middle of the session.
    #[must_use]
    pub fn unexpected_end() -> Self {
        Self::end_of_stream().into()
    }

    pub(crate) fn end_of_stream() -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::UnexpectedEof, CLOSED_BY_PEER)
    }

    /// The error that an [`AuthPolicy`](crate::client::AuthPolicy) aborted the login with, if it is one of this type.
    #[must_use]
    pub fn policy_error<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Policy(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// Whether the stream was lost, and the session was not ended by anybody: it may be resumed over another stream. A
    /// forged packet is not a loss, or whoever can forge one could make us reconnect at will.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout(Timeout::KeepAlive | Timeout::KeyExchange) => true,
            Self::Disconnected { reason, .. } => *reason == DisconnectReason::CONNECTION_LOST,
            _ => false,
        }
    }
}

impl From<PeerMisbehaved> for Error {
    fn from(rule: PeerMisbehaved) -> Self {
        Self::PeerMisbehaved(rule)
    }
}

impl From<PeerIncompatible> for Error {
    fn from(why: PeerIncompatible) -> Self {
        Self::PeerIncompatible(why)
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        Self::PeerMisbehaved(PeerMisbehaved::Malformed(error))
    }
}

impl From<CryptoError> for Error {
    fn from(error: CryptoError) -> Self {
        match error {
            CryptoError::BadShare => Self::PeerMisbehaved(PeerMisbehaved::BadKexShare),
            other => Self::Crypto(other),
        }
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// The time from connecting to the end of authentication.
    #[error("the session was not set up in time (limit login)")]
    Login,
    /// A key exchange during the session.
    #[error("a key exchange was not finished in time (limit key_exchange)")]
    KeyExchange,
    /// The server did not grant a service.
    #[error("the service was not granted in time")]
    Service,
    /// The peer answered no keepalive.
    #[error("the peer stopped answering (limits keepalive and keepalive_misses)")]
    KeepAlive,
}

/// A call that makes no sense in the state of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// Not authenticated yet.
    #[error("the session is not authenticated yet")]
    NotAuthenticated,
    /// The channel is closed.
    #[error("the channel is closed")]
    ChannelClosed,
    /// Keyboard-interactive prompts want one answer each (RFC 4256 §3.4).
    #[error("the number of answers is not the number of prompts")]
    PromptAnswers,
    /// A name with its fields is over 32 KiB.
    #[error("a request or an open may have 32 KiB of fields")]
    TooLong,
    /// Without keys nobody could prove that a session is theirs.
    #[error("sessions without any security cannot be reconnected")]
    ReconnectWithoutKeys,
    /// A message number that has a meaning of its own already, or no message at all.
    #[error("the message number belongs to the protocol itself")]
    MessageNumber,
    /// Only clients ask for services.
    #[error("only a client may ask for a service")]
    NotAClient,
    /// Only the client brings streams to resume a session over.
    #[error("a server does not reconnect: its clients do")]
    ReconnectByServer,
    /// The algorithm lists are empty or name something that the crypto provider lacks.
    #[error("the algorithm lists are empty or name something that the crypto provider lacks")]
    Algorithms,
    /// A host certificate that is for users, or for a key that is not one of the server's.
    #[error("a host certificate is for users, or for none of the host keys")]
    HostCertificate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_our_words() {
        let end = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "see https://manual.example");
        assert_eq!(Error::from(end).to_string(), Error::unexpected_end().to_string());
    }

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }
}
