use std::time::{Duration, Instant};

use super::outbound::Counters;
use crate::config::Limits;
use crate::error::PeerMisbehaved;
use crate::protocol::wide;

/// When a key has been used enough, and how often a peer may ask for new ones.
#[derive(Debug)]
pub(crate) struct RekeyPolicy {
    max_bytes: u64,
    max_packets: u64,
    max_age: Option<Duration>,
    /// When the present keys came into use.
    keyed_at: Instant,
    received: Counters,
    /// Exchanges that the peer may still start: one more each second, up to [`BURST`].
    allowance: u32,
    refilled_at: Instant,
}

/// A key that protected this many bytes, both ways together, has been used. OpenSSH with a small limit changes keys for
/// each large packet.
const REAL_USE: u64 = 16 * 1024;
/// A peer may start this many other exchanges in a row, then one a second.
const BURST: u32 = 10;

impl RekeyPolicy {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            max_bytes: limits.rekey_bytes,
            max_packets: limits.rekey_packets,
            max_age: limits.rekey_after,
            keyed_at: now,
            received: Counters::default(),
            allowance: BURST,
            refilled_at: now,
        }
    }

    /// Raises the limits towards a peer that can only answer a key exchange when it is at its own limit. Such a
    /// peer starts by itself at 512 MiB; this is the last resort far behind that.
    pub(crate) fn be_last_resort(&mut self) {
        self.max_bytes = self.max_bytes.max(LAST_RESORT_BYTES);
        self.max_age = None;
    }

    pub(crate) fn on_received(&mut self, wire_len: usize) {
        self.received.bytes = self.received.bytes.saturating_add(wide(wire_len));
        self.received.packets = self.received.packets.saturating_add(1);
    }

    /// Whether it is time for new keys, given what was sent.
    pub(crate) fn is_due(&self, sent: Counters, now: Instant) -> bool {
        let over = |counted: Counters| counted.bytes > self.max_bytes || counted.packets > self.max_packets;
        over(sent) || over(self.received) || self.deadline().is_some_and(|at| now >= at)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.max_age.and_then(|age| self.keyed_at.checked_add(age))
    }

    pub(crate) fn on_keys(&mut self, now: Instant) {
        self.keyed_at = now;
        self.received = Counters::default();
    }

    /// The peer starts an exchange. One of an authenticated peer after real use of the key is its right; the others are
    /// few.
    pub(crate) fn on_peer_start(
        &mut self,
        sent: Counters,
        authenticated: bool,
        now: Instant,
    ) -> Result<(), PeerMisbehaved> {
        if authenticated && sent.bytes.saturating_add(self.received.bytes) >= REAL_USE {
            return Ok(());
        }
        let elapsed = now.saturating_duration_since(self.refilled_at).as_secs();
        if elapsed > 0 {
            self.allowance =
                self.allowance.saturating_add(u32::try_from(elapsed).unwrap_or(BURST)).min(BURST);
            self.refilled_at = now;
        }
        self.allowance = self.allowance.checked_sub(1).ok_or(PeerMisbehaved::RekeyStorm)?;
        Ok(())
    }
}

const LAST_RESORT_BYTES: u64 = 8 * 1024 * 1024 * 1024;
