//! What can go wrong in a session, who is at fault, and what the peer is told about it.

use std::fmt;
use std::sync::Arc;

use crate::crypto::CryptoError;
use crate::keys::{CertificateError, KeyError, PublicKey};
use crate::protocol::wire::WireError;

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
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<&std::io::Error> for IoError {
    fn from(error: &std::io::Error) -> Self {
        Self { kind: error.kind(), text: error.to_string().into() }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(IoError::from(&error))
    }
}

impl Error {
    /// The stream ended in the middle of the session.
    #[must_use]
    pub fn unexpected_end() -> Self {
        std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the peer closed the connection").into()
    }

    /// The error that an [`AuthPolicy`](crate::client::AuthPolicy) aborted the login with, if it is one of this type.
    #[must_use]
    pub fn policy_error<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Policy(error) => error.downcast_ref(),
            _ => None,
        }
    }

    /// What the peer is told, or `None` if there is nobody to tell.
    #[must_use]
    pub fn disconnect_reason(&self) -> Option<DisconnectReason> {
        use DisconnectReason as R;
        match self {
            Self::Io(_) | Self::Disconnected { .. } => None,
            Self::ClosedWith { reason, .. } => Some(*reason),
            Self::PeerMisbehaved(rule) => Some(rule.disconnect_reason()),
            Self::PeerIncompatible(PeerIncompatible::Version(_)) => Some(R::PROTOCOL_VERSION),
            Self::PeerIncompatible(_) => Some(R::KEY_EXCHANGE_FAILED),
            Self::HostKey(_) => Some(R::HOST_KEY_NOT_VERIFIABLE),
            Self::Auth(AuthFailure::Cancelled) | Self::Policy(_) => Some(R::AUTH_CANCELLED_BY_USER),
            Self::Auth(_) => Some(R::NO_MORE_AUTH_METHODS),
            Self::Timeout(Timeout::KeepAlive) => Some(R::CONNECTION_LOST),
            Self::Timeout(_) | Self::Closed | Self::ApiMisuse(_) | Self::Bug(_) | Self::Crypto(_) => {
                Some(R::BY_APPLICATION)
            }
        }
    }

    /// The words that go with [`disconnect_reason`](Self::disconnect_reason). They tell nothing about our side
    /// but which rule or limit it was.
    #[must_use]
    pub fn disconnect_text(&self) -> String {
        match self {
            Self::PeerMisbehaved(rule) => rule.to_string(),
            Self::PeerIncompatible(why) => why.to_string(),
            Self::HostKey(_) => "host key not accepted".into(),
            Self::Auth(_) => "authentication failed".into(),
            Self::Policy(_) => "authentication cancelled".into(),
            Self::Timeout(what) => what.to_string(),
            Self::Closed => "closed by application".into(),
            Self::ClosedWith { text, .. } => text.to_string(),
            _ => "internal error".into(),
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

/// A rule that the peer broke. One variant a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// RFC 4253 §4.2: the version line is at most 255 bytes and only a server may send lines before it.
    #[error("the version line is malformed or too long")]
    BadVersionLine,
    /// RFC 4253 §6.1: a packet length out of bounds.
    #[error("packet length {0} is out of bounds")]
    PacketLength(u32),
    /// RFC 4253 §6: padding under 4 bytes or longer than the packet, or no payload.
    #[error("the padding of a packet is malformed")]
    Padding,
    /// RFC 4253 §6: a sealed packet that is not a multiple of the block size.
    #[error("a sealed packet is not aligned")]
    Misaligned,
    /// RFC 4253 §6.4: a MAC or tag does not verify.
    #[error("a packet's MAC is wrong")]
    BadMac,
    /// A message whose fields do not parse.
    #[error("a message is malformed: {0}")]
    Malformed(WireError),
    /// A message that may not come in this state, or from this side.
    #[error("message type {0} is not allowed now")]
    UnexpectedMessage(u8),
    /// OpenSSH PROTOCOL §1.9: under strict key exchange, KEXINIT must be the first packet and nothing else may come.
    #[error("strict key exchange was violated")]
    StrictKex,
    /// RFC 4253 §8, RFC 5656 §4: a share out of range, off its curve or of low order.
    #[error("the key exchange value is not valid")]
    BadKexShare,
    /// RFC 4253 §8: the signature over the exchange hash is wrong.
    #[error("the host key's signature does not verify")]
    BadHostSignature,
    /// The host key cannot be used.
    #[error("the host key is refused: {0}")]
    BadHostKey(KeyError),
    /// The host certificate is malformed. One that is merely not trusted is for the application to judge.
    #[error("the host certificate is refused: {0}")]
    BadHostCertificate(CertificateError),
    /// RFC 4253 §9: the host key changed in a later key exchange.
    #[error("the host key changed during the session")]
    HostKeyChanged,
    /// More key exchanges than anybody needs.
    #[error("too many key exchanges")]
    RekeyStorm,
    /// A packet counter would wrap under one key.
    #[error("the packet counter of a key is used up")]
    CounterExhausted,
    /// RFC 4252 §6: a message of the connection protocol before authentication.
    #[error("message type {0} before authentication")]
    NotAuthenticated(u8),
    /// Too many bytes or packets before authentication.
    #[error("too much traffic before authentication")]
    PreAuthTraffic,
    /// RFC 4252 §4: too many failed attempts.
    #[error("too many authentication attempts")]
    TooManyAuthAttempts,
    /// RFC 4253 §10: a service that we do not have.
    #[error("the service is not available")]
    UnknownService,
    /// RFC 4252 §7: PK_OK names another key or algorithm than was asked about.
    #[error("PK_OK names another key than was asked about")]
    PkOkMismatch,
    /// RFC 4254 §5: a message for a channel that never was.
    #[error("message type {message} for channel {channel}, which never existed")]
    UnknownChannel {
        /// The message number.
        message: u8,
        /// The channel number.
        channel: u32,
    },
    /// RFC 4254 §5.2: more data than the window allows.
    #[error("more data than the channel's window allows")]
    WindowOverrun,
    /// RFC 4254 §5.2: more data in a packet than its limit allows.
    #[error("more data than the channel's packet limit allows")]
    PacketOverrun,
    /// RFC 4254 §5.2: a window over 2^32-1 bytes.
    #[error("a window adjust goes past 2^32-1")]
    WindowOverflow,
    /// RFC 4254 §5.3: data or EOF after EOF.
    #[error("data after end of file")]
    DataAfterEof,
    /// RFC 4254 §5.1: a second answer to an open, or one that nobody waits for.
    #[error("an answer to an open that nobody asked for")]
    UnsolicitedOpenReply,
    /// Channels opened and dropped faster than anybody needs.
    #[error("channels are opened and closed too fast")]
    ChannelChurn,
    /// A peer that makes us answer but does not read.
    #[error("too many answers are waiting to be read")]
    OutputNotRead,
}

impl PeerMisbehaved {
    fn disconnect_reason(self) -> DisconnectReason {
        use DisconnectReason as R;
        match self {
            Self::BadVersionLine => R::PROTOCOL_VERSION,
            Self::BadMac => R::MAC_ERROR,
            Self::BadKexShare
            | Self::BadHostSignature
            | Self::BadHostKey(_)
            | Self::BadHostCertificate(_)
            | Self::HostKeyChanged => R::KEY_EXCHANGE_FAILED,
            Self::TooManyAuthAttempts => R::NO_MORE_AUTH_METHODS,
            Self::UnknownService => R::SERVICE_NOT_AVAILABLE,
            _ => R::PROTOCOL_ERROR,
        }
    }
}

/// Why two honest peers cannot talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerIncompatible {
    /// The peer speaks another protocol version.
    #[error("the peer does not speak SSH 2.0, but says {0:?}")]
    Version(Arc<str>),
    /// No algorithm in common.
    #[error("no common {}: the client offers {:?}, the server {:?}", .0.slot, .0.client, .0.server)]
    NoCommonAlgorithm(Arc<NoCommonAlgorithm>),
    /// The negotiated cipher is only safe with strict key exchange, which the peer lacks (CVE-2023-48795).
    #[error(
        "{0} needs strict key exchange, which the peer does not offer: choose another cipher, such as aes256-gcm@openssh.com"
    )]
    NeedsStrictKex(&'static str),
}

/// Both sides' lists of a slot that had nothing in common.
#[derive(Debug, PartialEq, Eq)]
pub struct NoCommonAlgorithm {
    /// Which of KEXINIT's lists.
    pub slot: &'static str,
    /// The client's list.
    pub client: String,
    /// The server's list.
    pub server: String,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Timeout {
    /// The time from connecting to the end of authentication.
    #[error("the session was not set up in time")]
    Login,
    /// A key exchange during the session.
    #[error("a key exchange was not finished in time")]
    KeyExchange,
    /// The peer answered no keepalive.
    #[error("the peer stopped answering")]
    KeepAlive,
}

/// Why a client could not authenticate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthFailure {
    /// All credentials that the server would take were tried.
    #[error("the server refused {tried}; it accepts: {accepts}", tried = list_or(.tried, "to let us in without credentials"), accepts = list_or(.accepts, "nothing more"))]
    Refused {
        /// The methods tried, in order.
        tried: Vec<&'static str>,
        /// The methods in the server's last answer.
        accepts: Vec<String>,
    },
    /// The application gave up.
    #[error("cancelled")]
    Cancelled,
    /// A key that the server would take could not sign, and nothing else was enough.
    #[error("a private key could not sign: {0}")]
    Signing(SignError),
    /// A key of a type that has no algorithm here.
    #[error("a key cannot be used: {0}")]
    Key(KeyError),
    /// More attempts than anybody needs; a policy that never stops is stopped.
    #[error("too many attempts ({0})")]
    TooManyAttempts(u32),
}

/// Why a key did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key, or the backend, cannot.
    #[error("{0}")]
    Crypto(#[from] CryptoError),
    /// Whoever holds the key did not give it, or was not willing to sign.
    #[error("{0}")]
    Refused(Arc<str>),
    /// The signature is by another algorithm than the one that was agreed on, or over 16 KiB.
    #[error("the signature is not by the algorithm that was agreed on")]
    WrongAlgorithm,
}

fn list_or<T: AsRef<str>>(names: &[T], empty: &str) -> String {
    if names.is_empty() {
        return empty.into();
    }
    names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ")
}

/// Why a host key was not accepted. It is made by the application's
/// [`HostKeyVerifier`](crate::client::HostKeyVerifier).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HostKeyError {
    /// What to tell the user: which key, why, and what to do about it.
    pub message: Arc<str>,
    /// The key.
    pub key: PublicKey,
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
    /// The algorithm lists are empty or name something that the crypto provider lacks.
    #[error("the algorithm lists are empty or name something that the crypto provider lacks")]
    Algorithms,
    /// A host certificate that is for users, or for a key that is not one of the server's.
    #[error("a host certificate is for users, or for none of the host keys")]
    HostCertificate,
}

/// The reason code of SSH_MSG_DISCONNECT (RFC 4253 §11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DisconnectReason(pub u32);

#[expect(missing_docs, reason = "the names are the RFC's")]
impl DisconnectReason {
    /// Dev Tunnels' normal end.
    pub const NONE: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(2);
    pub const KEY_EXCHANGE_FAILED: Self = Self(3);
    pub const MAC_ERROR: Self = Self(5);
    pub const SERVICE_NOT_AVAILABLE: Self = Self(7);
    pub const PROTOCOL_VERSION: Self = Self(8);
    pub const HOST_KEY_NOT_VERIFIABLE: Self = Self(9);
    pub const CONNECTION_LOST: Self = Self(10);
    pub const BY_APPLICATION: Self = Self(11);
    pub const TOO_MANY_CONNECTIONS: Self = Self(12);
    pub const AUTH_CANCELLED_BY_USER: Self = Self(13);
    pub const NO_MORE_AUTH_METHODS: Self = Self(14);
}

/// Makes a peer's words fit for a terminal and a log: control characters escaped, at most 256 characters.
#[must_use]
pub fn escape_text(text: &[u8]) -> String {
    clean_text(text, MAX_SHOWN_TEXT, 1)
}

/// Makes a peer's words fit for a terminal: control characters escaped, cut at about `max` bytes. If it may have more
/// than one line, tabs and up to `lines` line feeds are kept, and CR LF becomes LF.
pub(crate) fn clean_text(text: &[u8], max: usize, lines: usize) -> String {
    let shown = text.get(..max.saturating_add(1)).unwrap_or(text);
    let shown = String::from_utf8_lossy(shown);
    let mut out = String::new();
    let mut feeds: usize = 0;
    let mut chars = shown.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() >= max || feeds >= lines {
            out.push('…');
            break;
        }
        if lines > 1 && c == '\r' && chars.peek() == Some(&'\n') {
            continue;
        }
        if lines > 1 && matches!(c, '\n' | '\t') {
            feeds = feeds.saturating_add(usize::from(c == '\n'));
            out.push(c);
            continue;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if hidden { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A peer's text is cut at about this many bytes before a human sees it.
const MAX_SHOWN_TEXT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
    }

    #[test]
    fn control_characters_are_escaped_and_long_texts_cut() {
        assert_eq!(escape_text(b"a\x1b[31m\r\n"), "a\\u{1b}[31m\\r\\n");
        assert_eq!(escape_text("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert!(escape_text(&[b'x'; 100_000]).chars().count() <= 257);
        assert!(escape_text(&[b'x'; 100_000]).ends_with("x…"));
        assert_eq!(clean_text(b"a\r\nb\rc\td\x1b\n", 100, 10), "a\nb\\rc\td\\u{1b}\n");
        assert_eq!(clean_text(b"1\n2\n3\n4", 100, 2), "1\n2\n…");
    }
}
