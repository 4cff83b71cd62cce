//! How fast connections may come from one source.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Source;

/// A bucket of tokens for each source that has connected lately.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<Source, Bucket>);

#[derive(Debug)]
struct Bucket {
    /// When it is full again: the fuller it is, the sooner.
    full_at: Instant,
}

impl Rates {
    /// Whether one more connection may come. Sources on this machine are spared: one bad user behind a proxy would
    /// shut out all others.
    pub(super) fn admits(&mut self, source: Source, now: Instant) -> bool {
        if source.is_loopback() {
            return true;
        }
        if self.0.len() >= MAX_SOURCES {
            self.0.retain(|_, bucket| bucket.full_at > now);
        }
        // A flood from more sources than that is met by the limits for all.
        if self.0.len() >= MAX_SOURCES && !self.0.contains_key(&source) {
            return true;
        }
        let bucket = self.0.entry(source).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now) + INTERVAL;
        let admitted = full_at.duration_since(now) <= INTERVAL * BURST;
        if admitted {
            bucket.full_at = full_at;
        }
        admitted
    }
}

/// 20 connections a second in the long run.
const INTERVAL: Duration = Duration::from_millis(50);
/// This many at once.
const BURST: u32 = 100;
/// Sources that are remembered.
const MAX_SOURCES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_so_many_a_second() {
        let mut rates = Rates::default();
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
