//! What went through a session and its channels, and how it went over time.

mod contour;

pub use crate::protocol::Latency;
#[cfg(feature = "tokio")]
pub use collect::ContourCollector;
pub use contour::{BadContour, ContourUpdate, SessionContour};

#[cfg(feature = "tokio")]
mod collect;

/// What went through a session so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SessionMetrics {
    /// Messages sent; the version line counts as one.
    pub messages_sent: u64,
    /// Messages received; the version line counts as one.
    pub messages_received: u64,
    /// Bytes sent, as they are on the wire.
    pub bytes_sent: u64,
    /// Bytes received, as they are on the wire.
    pub bytes_received: u64,
    /// How often the session was resumed. The counts above go on over all its streams.
    pub reconnections: u32,
    /// Round trips, if the peer measures them too.
    pub latency: Option<Latency>,
}

/// What went through a channel so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ChannelMetrics {
    /// Bytes of data and extended data sent.
    pub bytes_sent: u64,
    /// Bytes of data and extended data received.
    pub bytes_received: u64,
    /// Requests of the peer that were refused or dropped because too many were undecided.
    pub dropped_requests: u64,
}
