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
    /// Exchanges that the peer may still start before its login.
    early: u32,
    /// After it, behind a key that has hardly been used.
    idle: Allowance,
    /// After it, behind one that has been used a little.
    used: Allowance,
}

/// A key that protected this many bytes, both ways together, has been used. OpenSSH with a small limit changes keys for
/// each large packet.
const REAL_USE: u64 = 16 * 1024;
/// So many are as much work as an exchange, or near it.
const FULL_USE: u64 = 1024 * 1024;
/// Before its login no honest peer starts any.
const EARLY: u32 = 1;
/// Who starts more exchanges than this in a row, then one a second, with keys that have not been used, means no good.
const IDLE_BURST: u32 = 10;
const IDLE_PACE: Duration = Duration::from_secs(1);
/// Who starts more than this in a row with keys that have been used a little waits for the others.
const USED_BURST: u32 = 100;
const USED_PACE: Duration = Duration::from_millis(100);

impl RekeyPolicy {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            max_bytes: limits.rekey_bytes,
            max_packets: limits.rekey_packets,
            max_age: limits.rekey_after,
            keyed_at: now,
            received: Counters::default(),
            early: EARLY,
            idle: Allowance::new(IDLE_BURST, IDLE_PACE, now),
            used: Allowance::new(USED_BURST, USED_PACE, now),
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

    /// The peer starts an exchange. One of an authenticated peer after full use of the key is its right; the others are
    /// few, or late. When to answer it; `None` is at once.
    pub(crate) fn on_peer_start(
        &mut self,
        sent: Counters,
        authenticated: bool,
        now: Instant,
    ) -> Result<Option<Instant>, PeerMisbehaved> {
        if !authenticated {
            self.early = self.early.checked_sub(1).ok_or(PeerMisbehaved::RekeyStorm)?;
            return Ok(None);
        }
        match sent.bytes.saturating_add(self.received.bytes) {
            FULL_USE.. => Ok(None),
            REAL_USE.. => Ok(self.used.take(now).err()),
            _ => self.idle.take(now).map(|()| None).map_err(|_| PeerMisbehaved::RekeyStorm),
        }
    }
}

/// Some at once, then one each `pace`.
#[derive(Debug)]
struct Allowance {
    left: u32,
    burst: u32,
    pace: Duration,
    /// Up to when what was earned is in `left`.
    counted_at: Instant,
}

impl Allowance {
    fn new(burst: u32, pace: Duration, now: Instant) -> Self {
        Self { left: burst, burst, pace, counted_at: now }
    }

    /// # Errors
    /// When the next one is, which is taken as well.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.left < self.burst
            && let Some(next) = self.counted_at.checked_add(self.pace).filter(|next| *next <= now)
        {
            self.left = self.left.saturating_add(1);
            self.counted_at = next;
        }
        if self.left == self.burst {
            self.counted_at = now;
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Ok(());
        }
        self.counted_at = self.counted_at.checked_add(self.pace).unwrap_or(now);
        Err(self.counted_at)
    }
}

const LAST_RESORT_BYTES: u64 = 8 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a start for the clock")]
    fn policy() -> (RekeyPolicy, Instant) {
        let now = Instant::now();
        (RekeyPolicy::new(&Limits::default(), now), now)
    }

    /// As with `RekeyLimit 1M` of OpenSSH, however fast the path is.
    #[test]
    fn an_exchange_for_each_mebibyte_is_answered_at_once() {
        let (mut policy, now) = policy();
        for _ in 0..10_000 {
            assert_eq!(policy.on_peer_start(Counters { bytes: 1 << 20, packets: 1 }, true, now), Ok(None));
        }
    }

    #[test]
    fn little_use_waits_and_none_fails_once_the_burst_is_over() {
        let (mut policy, start) = policy();
        let (used, idle) = (Counters { bytes: 20_000, packets: 1 }, Counters::default());
        assert!((0..100).all(|_| policy.on_peer_start(used, true, start) == Ok(None)));
        let later = |tenths: u32| start + Duration::from_millis(100) * tenths;
        assert_eq!(policy.on_peer_start(used, true, start), Ok(Some(later(1))));
        assert_eq!(policy.on_peer_start(used, true, later(1)), Ok(Some(later(2))));
        // Three are earned in half a second of which two tenths are used up.
        assert!((0..3).all(|_| policy.on_peer_start(used, true, later(5)) == Ok(None)));
        assert_eq!(policy.on_peer_start(used, true, later(5)), Ok(Some(later(6))));
        // A long rest earns a burst and not more.
        assert!((0..100).all(|_| policy.on_peer_start(used, true, later(10_000)) == Ok(None)));
        assert!(policy.on_peer_start(used, true, later(10_000)).is_ok_and(|until| until.is_some()));

        assert!((0..10).all(|_| policy.on_peer_start(idle, true, start) == Ok(None)));
        assert_eq!(policy.on_peer_start(idle, true, later(10)), Ok(None));
        assert_eq!(policy.on_peer_start(idle, true, later(10)), Err(PeerMisbehaved::RekeyStorm));
    }
}
