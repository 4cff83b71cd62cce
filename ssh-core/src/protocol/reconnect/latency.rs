use std::time::{Duration, Instant};

/// Round trips as the trailers of `session-latency@microsoft.com` show them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Latency {
    /// The last one; zero without a stream.
    pub current: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// Samples taken.
    pub samples: u64,
    total: Duration,
}

impl Latency {
    /// Of all samples; zero without any.
    #[must_use]
    pub fn average(&self) -> Duration {
        let total = self.total.as_nanos().checked_div(u128::from(self.samples)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(total).unwrap_or(u64::MAX))
    }

    /// Of the samples that came after `before`, an earlier state of the same; zero without any.
    #[must_use]
    pub fn average_since(&self, before: &Self) -> Duration {
        let total = self.total.saturating_sub(before.total).as_nanos();
        let samples = self.samples.saturating_sub(before.samples);
        let average = total.checked_div(u128::from(samples)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(average).unwrap_or(u64::MAX))
    }

    /// A packet sent at `sent_at` was acknowledged by one that left `held` after it had arrived.
    pub(crate) fn add(&mut self, sent_at: Instant, held: Duration, now: Instant) -> Duration {
        let round_trip = now.saturating_duration_since(sent_at).saturating_sub(held);
        self.current = round_trip;
        self.min = if self.samples == 0 { round_trip } else { self.min.min(round_trip) };
        self.max = self.max.max(round_trip);
        self.total = self.total.saturating_add(round_trip);
        self.samples = self.samples.saturating_add(1);
        round_trip
    }

    pub(crate) fn on_disconnect(&mut self) {
        self.current = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn the_peers_own_time_is_taken_off() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut latency = Latency::default();
        assert_eq!(latency.average(), Duration::ZERO);
        latency.add(at(0), Duration::from_millis(30), at(100));
        latency.add(at(100), Duration::from_millis(90), at(200));
        // A peer that claims to have held it for longer than it was away.
        latency.add(at(0), Duration::from_secs(9), at(1));
        assert_eq!((latency.min, latency.max), (Duration::ZERO, Duration::from_millis(70)));
        assert_eq!(
            (latency.average(), latency.samples),
            (Duration::from_micros(26_666) + Duration::from_nanos(666), 3)
        );
        latency.on_disconnect();
        assert_eq!(latency.current, Duration::ZERO);
    }
}
