//! What a peer can be blamed for, and why two honest peers cannot talk.

use std::sync::Arc;

use crate::keys::{CertificateError, KeyError};
use crate::protocol::wire::WireError;

/// A rule that the peer broke. One variant a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// RFC 4253 §4.2: the version line is at most 255 bytes and only a server may send lines before it.
    #[error("the version line is malformed or too long")]
    BadVersionLine,
    /// RFC 4253 §6.1: a packet length out of bounds.
    #[error("packet length {0} is out of bounds (limit packet_bytes)")]
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
    #[error("too much traffic before authentication (limits pre_auth_packets and pre_auth_bytes)")]
    PreAuthTraffic,
    /// RFC 4252 §4: too many failed attempts.
    #[error("too many authentication attempts (limits auth_attempts, auth_requests and auth_rounds)")]
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
    #[error("more data than the channel's window allows (limit channel_window)")]
    WindowOverrun,
    /// RFC 4254 §5.2: more data in a packet than its limit allows.
    #[error("more data than the channel's packet limit allows (limit channel_packet)")]
    PacketOverrun,
    /// RFC 4254 §5.2: a window over 2^32-1 bytes.
    #[error("a window adjust goes past 2^32-1")]
    WindowOverflow,
    /// RFC 4254 §5.1: a second answer to an open, or one that nobody waits for.
    #[error("an answer to an open that nobody asked for")]
    UnsolicitedOpenReply,
    /// Channels opened and dropped faster than anybody needs.
    #[error("channels are opened and closed too fast")]
    ChannelChurn,
    /// `session-reconnect@microsoft.com`: the peer acknowledges what was never sent.
    #[error("the peer acknowledges what was never sent")]
    AckOfTheFuture,
    /// Too many sessions asked for that the peer could not prove to be its own.
    #[error("too many attempts to resume a session")]
    ReconnectGuessing,
    /// A peer that makes us answer but does not read.
    #[error("too many answers are waiting to be read")]
    OutputNotRead,
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
    /// The negotiated cipher and MAC are not safe together, and the peer is none that may have nothing else.
    #[error(
        "{0} is only taken with a MAC over what is sealed: choose one that ends in -etm@openssh.com, or another cipher, such as aes256-gcm@openssh.com"
    )]
    CbcWithPlainMac(&'static str),
    /// The session began with strict key exchange, and the connection that is to carry it on lacks it.
    #[error("the peer no longer offers strict key exchange, with which the session began")]
    NoLongerStrict,
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
