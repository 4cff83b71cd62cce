//! `session-reconnect@microsoft.com` and `session-latency@microsoft.com`: a session that outlives its stream.
//!
//! Once both sides have listed the extension in EXT_INFO, each tells the other that from the next packet on its payloads
//! end in a [`trailer`]: the number of the last packet it has received. What has not been acknowledged that way
//! stays in the [`replay_log`]. A new connection proves by a [`token`] that it belongs to the session, both say what
//! they have received ([`handshake`]), and the rest is sent again.

pub(crate) mod handshake;
pub(crate) mod latency;
pub(crate) mod replay_log;
pub(crate) mod token;
pub(crate) mod trailer;

use std::time::Duration;

use crate::protocol::messages::{ExtInfo, GlobalRequest, Phase, Rest, phase};
use crate::protocol::wire::{Reader, Write as _};

pub(crate) use handshake::{Position, ReconnectRequest};
pub use handshake::{ReconnectFailure, SessionIndex};
pub use latency::Latency;
use trailer::TrailerForm;

/// In EXT_INFO: sessions can be reconnected.
pub(crate) const RECONNECT: &str = "session-reconnect@microsoft.com";
/// In EXT_INFO: trailers also tell how long ago that last packet came.
pub(crate) const LATENCY: &str = "session-latency@microsoft.com";
/// In EXT_INFO, ours: both sides count the session's messages over all of its connections, and a reconnect goes by those
/// counts. Packet numbers alone start anew with each connection, so a side that never saw the answer to its last
/// reconnect does not know which connection's numbers the other one means.
pub(crate) const COUNT: &str = "session-reconnect-count@adit";
/// The global request that switches the trailer on, from the sender's next packet.
pub(crate) const ENABLE: &str = "enable-session-reconnect@microsoft.com";

/// What a side offers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReconnectOffer {
    /// Channel data that may wait for the peer's acknowledgement, in bytes, 64 for each message included. Past it
    /// writers wait; the last one may go over it by a packet. Control messages may take 1 MiB more. 8 MiB.
    pub window: usize,
    /// Whether latency is measured, for 4 bytes more in each packet. On.
    pub latency: bool,
    /// Whether messages are counted over all connections, if the peer is Adit too. Without that a reconnect that is cut off
    /// before its answer is the end of the session, as it is with every other peer. On.
    pub count: bool,
    /// A server's: how long a session without a stream is kept. 5 minutes.
    pub lifetime: Duration,
}

impl Default for ReconnectOffer {
    fn default() -> Self {
        Self { window: 8 * 1024 * 1024, latency: true, count: true, lifetime: Duration::from_secs(5 * 60) }
    }
}

/// Which of the extensions an EXT_INFO lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) reconnect: bool,
    pub(crate) latency: bool,
    pub(crate) count: bool,
}

impl Extensions {
    pub(crate) fn offered(offer: Option<&ReconnectOffer>) -> Self {
        offer.map_or_else(Self::default, |offer| Self {
            reconnect: true,
            latency: offer.latency,
            count: offer.count,
        })
    }

    /// What both list. Latency and counts mean nothing without reconnecting.
    pub(crate) fn and(self, other: Self) -> Self {
        let reconnect = self.reconnect && other.reconnect;
        Self {
            reconnect,
            latency: reconnect && self.latency && other.latency,
            count: reconnect && self.count && other.count,
        }
    }

    pub(crate) fn note(&mut self, name: &[u8]) {
        self.reconnect |= name == RECONNECT.as_bytes();
        self.latency |= name == LATENCY.as_bytes();
        self.count |= name == COUNT.as_bytes();
    }

    /// Their names, for EXT_INFO.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.reconnect, RECONNECT), (self.latency, LATENCY), (self.count, COUNT)]
            .into_iter()
            .filter_map(|(listed, name)| listed.then_some(name))
    }

    pub(crate) fn trailer(self) -> TrailerForm {
        if self.latency { TrailerForm::SequenceAndTime } else { TrailerForm::Sequence }
    }
}

/// Appends `enable-session-reconnect@microsoft.com`. It is never answered.
pub(crate) fn put_enable(out: &mut Vec<u8>) {
    GlobalRequest { name: ENABLE, want_reply: false, fields: Rest(&[]) }.encode(out);
}

pub(crate) fn is_enable(payload: &[u8]) -> bool {
    is_request(payload, ENABLE)
}

pub(crate) fn is_reconnect(payload: &[u8]) -> bool {
    is_request(payload, RECONNECT)
}

fn is_request(payload: &[u8], name: &str) -> bool {
    let mut reader = Reader::new(payload);
    reader.u8() == Ok(GlobalRequest::NUMBER) && reader.string() == Ok(name.as_bytes())
}

/// Whether a message belongs to the session, and not to the connection that carries it: it is counted, kept until it is
/// acknowledged, and sent again. Both sides judge by this alone. What a client says of itself while it logs in is not
/// kept: it may be a password, and without a login nothing can be resumed.
pub(crate) fn is_counted(payload: &[u8]) -> bool {
    let number = payload.first().copied().unwrap_or_default();
    match phase(number) {
        Phase::Transport | Phase::Kex | Phase::ExtInfo => false,
        Phase::Auth => !matches!(number, 50 | 61),
        Phase::Connection if number == GlobalRequest::NUMBER => !is_enable(payload) && !is_reconnect(payload),
        Phase::Service | Phase::Connection | Phase::Unknown => true,
    }
}

/// Builds EXT_INFO (RFC 8308 §2.3) from what else it holds and the names of these extensions.
pub(crate) fn put_ext_info(
    server_sig_algs: impl Iterator<Item = &'static str>,
    others: impl Iterator<Item = &'static str>,
    ours: Extensions,
) -> Vec<u8> {
    let mut entries = Vec::new();
    entries.put_string(b"server-sig-algs");
    entries.put_names(server_sig_algs);
    let mut count = 1_u32;
    for name in others.chain(ours.names()) {
        entries.put_string(name.as_bytes());
        entries.put_string(b"");
        count = count.saturating_add(1);
    }
    let mut payload = Vec::new();
    ExtInfo { count, entries: Rest(&entries) }.encode(&mut payload);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is kept stays in memory until the peer has acknowledged it, and leaves once more over another connection.
    #[test]
    fn what_belongs_to_a_connection_or_is_a_secret_of_the_login_is_not_kept() {
        let request = |name| {
            let mut payload = Vec::new();
            GlobalRequest { name, want_reply: true, fields: Rest(b"fields") }.encode(&mut payload);
            payload
        };
        for own in [ENABLE, RECONNECT] {
            assert!(!is_counted(&request(own)), "{own}");
        }
        for other in ["keepalive@openssh.com", "tcpip-forward", "enable"] {
            assert!(is_counted(&request(other)), "{other}");
        }
        // DISCONNECT to DEBUG, EXT_INFO, the key exchange; a client's requests and answers, in which passwords are.
        let not_kept = (0..=4).chain([7]).chain(20..=49).chain([50, 61]);
        let not_kept: Vec<u8> = not_kept.collect();
        for number in 1..=u8::MAX {
            if number != GlobalRequest::NUMBER {
                assert_eq!(is_counted(&[number, 0]), !not_kept.contains(&number), "{number}");
            }
        }
    }
}
