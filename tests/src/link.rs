//! One direction of a scripted network.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::random::Dice;

/// Carries bytes in order: late, in pieces, and perhaps only up to a point.
#[derive(Debug)]
pub struct Link {
    in_flight: VecDeque<(Instant, u8)>,
    delay: Duration,
    /// A read yields from 1 to this many bytes.
    largest_read: usize,
    /// What the link holds before its writer has to wait, in bytes.
    capacity: usize,
    cut_after: Option<u64>,
    carried: u64,
    severed: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            in_flight: VecDeque::new(),
            delay: Duration::ZERO,
            largest_read: 64 * 1024,
            capacity: 256 * 1024,
            cut_after: None,
            carried: 0,
            severed: false,
        }
    }
}

impl Link {
    /// Every byte arrives this much later.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Reads yield at most this many bytes.
    #[must_use]
    pub fn with_largest_read(mut self, bytes: usize) -> Self {
        self.largest_read = bytes.max(1);
        self
    }

    /// The writer waits while this many bytes are on their way.
    #[must_use]
    pub fn with_capacity(mut self, bytes: usize) -> Self {
        self.capacity = bytes.max(1);
        self
    }

    /// The link dies after it has carried this many bytes.
    #[must_use]
    pub fn cut_after(mut self, bytes: u64) -> Self {
        self.cut_after = Some(bytes);
        self
    }

    /// It is to die after it has carried this many more bytes.
    pub fn cut_in(&mut self, bytes: u64) {
        self.cut_after = Some(self.carried + bytes);
    }

    /// It dies now, with all that is on its way. It still takes what fits, as a socket does.
    pub fn sever(&mut self) {
        self.in_flight.clear();
        self.cut_after = Some(self.carried);
        self.severed = true;
    }

    /// Whether it was [severed](Self::sever).
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.severed
    }

    /// Whether it is going to die.
    #[must_use]
    pub fn has_planned_cut(&self) -> bool {
        self.cut_after.is_some()
    }

    /// A new connection over the same kind of network: nothing is on its way, and nothing cuts it.
    pub fn reset(&mut self) {
        self.in_flight.clear();
        self.cut_after = None;
        self.severed = false;
    }

    /// How many bytes the link takes now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.in_flight.len())
    }

    /// Puts in as much of `bytes` as there is room for; how much.
    pub fn send(&mut self, bytes: &[u8], now: Instant) -> usize {
        let taken = self.room().min(bytes.len());
        self.in_flight.extend(bytes[..taken].iter().map(|byte| (now + self.delay, *byte)));
        taken
    }

    /// When the next byte arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        if self.is_cut() { None } else { self.in_flight.front().map(|(at, _)| *at) }
    }

    /// Some of what has arrived.
    pub fn receive(&mut self, now: Instant, dice: &mut Dice) -> Vec<u8> {
        let left = self.cut_after.map_or(u64::MAX, |cut| cut - self.carried);
        let arrived = self.in_flight.iter().take_while(|(at, _)| *at <= now).take(self.largest_read).count();
        let arrived = arrived.min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = if arrived > 0 { dice.between(1, arrived) } else { 0 };
        self.carried += n as u64;
        self.in_flight.drain(..n).map(|(_, byte)| byte).collect()
    }

    /// Whether nothing will arrive any more.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|cut| self.carried >= cut)
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried
    }
}
