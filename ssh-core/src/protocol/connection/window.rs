use std::time::{Duration, Instant};

use crate::error::PeerMisbehaved;

/// What we still let the peer send on one channel (RFC 4254 §5.2).
///
/// Credit goes back as the application reads, at half a window. A window of which half goes in under two round trips
/// holds the channel back, and is doubled. One that holds other channels back gives up some of its credit instead.
#[derive(Debug)]
pub(crate) struct ReceiveWindow {
    /// What the window is when everything has been read.
    size: u32,
    /// What the peer may still send.
    left: u32,
    /// Read by the application, not credited yet.
    consumed: u32,
    credited_at: Option<Instant>,
}

impl ReceiveWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self { size, left: size, consumed: 0, credited_at: None }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// Nothing has arrived so far.
    pub(crate) fn is_untouched(&self) -> bool {
        self.left == self.size && self.consumed == 0 && self.credited_at.is_none()
    }

    /// `len` bytes arrived.
    pub(crate) fn on_data(&mut self, len: usize) -> Result<(), PeerMisbehaved> {
        let len = u32::try_from(len).map_err(|_| PeerMisbehaved::WindowOverrun)?;
        self.left = self.left.checked_sub(len).ok_or(PeerMisbehaved::WindowOverrun)?;
        Ok(())
    }

    /// The application has read `len` bytes. The credit to send now, and by how much of it the window grew or shrank.
    pub(crate) fn on_read(
        &mut self,
        len: usize,
        round_trip: Option<Duration>,
        now: Instant,
        bounds: Bounds,
    ) -> Option<Credit> {
        self.consumed = self.consumed.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        let half = self.size.checked_div(2).unwrap_or_default();
        if self.consumed < half.max(1) {
            return None;
        }
        let fast = self
            .credited_at
            .zip(round_trip)
            .is_some_and(|(at, round_trip)| now.saturating_duration_since(at) < round_trip.saturating_mul(2));
        // What was promised cannot be taken back, and some credit always goes out, so shrinking takes a few rounds.
        let shrunk = self.size.saturating_sub(bounds.shrink_to).min(self.consumed / 2);
        let grown = if fast && shrunk == 0 { self.size.min(bounds.may_grow_by) } else { 0 };
        self.size = self.size.saturating_add(grown).saturating_sub(shrunk);
        let bytes = std::mem::take(&mut self.consumed).saturating_add(grown).saturating_sub(shrunk);
        self.left = self.left.saturating_add(bytes);
        self.credited_at = Some(now);
        Some(Credit { bytes, grown, shrunk })
    }
}

/// What the other channels of the session leave to one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) may_grow_by: u32,
    /// A larger window than this is to shrink.
    pub(crate) shrink_to: u32,
}

/// A WINDOW_ADJUST to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) bytes: u32,
    pub(crate) grown: u32,
    pub(crate) shrunk: u32,
}

/// The shortest of the last round trips seen. Samples come with whatever is answered, so some hold the peer's thinking
/// time too; the shortest holds least of it.
#[derive(Debug, Default)]
pub(crate) struct RoundTrip {
    samples: [Option<Duration>; 8],
    next: usize,
}

impl RoundTrip {
    pub(crate) fn add(&mut self, sample: Duration) {
        if let Some(slot) = self.samples.get_mut(self.next) {
            *slot = Some(sample);
        }
        self.next = self.next.saturating_add(1).checked_rem(self.samples.len()).unwrap_or_default();
    }

    pub(crate) fn shortest(&self) -> Option<Duration> {
        self.samples.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn credit_comes_at_half_a_window_and_grows_it_only_when_it_is_used_fast() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let free = |may_grow_by| Bounds { may_grow_by, shrink_to: u32::MAX };
        let mut window = ReceiveWindow::new(1000);
        window.on_data(600).unwrap();
        assert_eq!(window.on_read(499, RTT, at(0), free(9999)), None);
        let credit = Credit { bytes: 600, grown: 0, shrunk: 0 };
        assert_eq!(window.on_read(101, RTT, at(0), free(9999)), Some(credit));
        window.on_data(1000).unwrap();
        assert_eq!(window.on_data(1), Err(PeerMisbehaved::WindowOverrun));
        // Half a window in 150 ms is under two round trips.
        let credit = Credit { bytes: 1500, grown: 1000, shrunk: 0 };
        assert_eq!(window.on_read(500, RTT, at(150), free(9999)), Some(credit));
        assert_eq!(window.size(), 2000);
        // The same in 300 ms is not, and a cap holds.
        assert_eq!(window.on_read(1000, RTT, at(450), free(9999)).unwrap().grown, 0);
        assert_eq!(window.on_read(1000, RTT, at(460), free(70)).unwrap().grown, 70);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn a_window_that_others_need_shrinks_without_going_below_zero() {
        let bounds = Bounds { may_grow_by: 0, shrink_to: 100 };
        let mut window = ReceiveWindow::new(1000);
        for _ in 0..20 {
            let before = (window.size, window.left);
            window.on_data(window.left as usize).unwrap();
            let credit = window.on_read(before.1 as usize, RTT, Instant::now(), bounds).unwrap();
            assert!(credit.bytes > 0 && credit.grown == 0);
            assert_eq!(credit.bytes + credit.shrunk, before.1);
            assert_eq!((window.size, window.left), (before.0 - credit.shrunk, credit.bytes));
        }
        assert_eq!(window.size(), 100);
    }
}
