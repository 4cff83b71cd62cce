//! The sans-IO half: bytes, commands and time in; bytes, events and deadlines out.
//!
//! [`Engine`] is one side of a session as a value and [`Inbound`] the stream's receiving half. Two engines hold a whole
//! conversation in one unit test.

// What a peer sends is counted, cut and converted by forms that cannot go wrong.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::unwrap_used
    )
)]

pub(crate) mod auth;
pub(crate) mod connection;
mod engine;
pub mod messages;
pub(crate) mod reconnect;
pub(crate) mod transport;
pub mod wire;

pub use auth::{
    AuthAnswer, AuthReply, ClientAuthRequest, InfoRequest, MAX_BANNER_LEN, Method, OfferedKey, Prompt,
    Prompts, Refusal, RefusedAttempt, Secret, ServerAttempt, ServerMethod, Succeeded, ToSign,
};
pub use connection::{
    AcceptTicket, ChannelTerms, ConnectionEvent, ExitStatus, GlobalPeerRequest, GlobalReply, OfferedChannel,
    OpenError, OpenFailure, OpenFailureReason, PeerRequest, Piece, Progress, Waiter,
};
pub use engine::{Engine, Event, LinkEvent};
pub use reconnect::{Latency, ReconnectFailure, ReconnectOffer, SessionIndex};
pub use transport::inbound::NextOpener;
pub use transport::kex::{Direction, Negotiated};
pub use transport::{Inbound, Input, Packet, PeerVersion, VersionInfo};

/// Which side of a session we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Connects, authenticates.
    Client,
    /// Accepts, proves its host key, decides on authentication.
    Server,
}

/// A length, as counters of bytes take it. On machines with addresses of 64 bits it is nothing at all.
pub(crate) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
