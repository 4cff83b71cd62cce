//! How fast connections may come from one source.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Source;

/// A bucket of tokens for each source that has connected lately.
#[derive(Debug)]
pub(super) struct Rates {
    buckets: HashMap<Source, Bucket>,
    /// Between two connections, in the long run.
    interval: Duration,
    /// For this many at once.
    most: Duration,
}

#[derive(Debug)]
struct Bucket {
    /// When it is full again: the fuller it is, the sooner.
    full_at: Instant,
}

impl Rates {
    /// `per_second` in the long run, and `at_once` of a source that has not been here.
    pub(super) fn new(per_second: u32, at_once: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { buckets: HashMap::new(), interval, most: interval.saturating_mul(at_once) }
    }

    /// Whether one more connection may come. Sources on this machine are spared: one bad user behind a proxy would
    /// shut out all others.
    pub(super) fn admits(&mut self, source: Source, now: Instant) -> bool {
        if source.is_loopback() {
            return true;
        }
        if self.buckets.len() >= MAX_SOURCES {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        // A flood from more sources than that is met by the limits for all.
        if self.buckets.len() >= MAX_SOURCES && !self.buckets.contains_key(&source) {
            return true;
        }
        let bucket = self.buckets.entry(source).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + self.interval;
        let admitted = full_at.duration_since(now) <= self.most;
        if admitted {
            bucket.full_at = full_at;
        }
        admitted
    }
}

/// Sources that are remembered.
const MAX_SOURCES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_so_many_a_second() {
        let mut rates = Rates::new(20, 100);
        let source = |address: &str| Source::of(address.parse().unwrap());
        let (now, one, other) = (Instant::now(), source("10.0.0.1"), source("10.0.0.2"));
        let mut admitted = |source, now| (0..1000).filter(|_| rates.admits(source, now)).count();
        assert_eq!(admitted(one, now), 100);
        assert_eq!(admitted(other, now), 100);
        assert_eq!(admitted(one, now + Duration::from_secs(1)), 20);
        assert_eq!(admitted(one, now + Duration::from_secs(100)), 100);
        assert_eq!(admitted(source("127.0.0.1"), now), 1000);
    }
}
