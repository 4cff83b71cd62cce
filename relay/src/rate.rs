//! Requests of one source a minute.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use std::collections::HashMap;

use crate::relay::source;

/// Counts in windows of a minute.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    windows: Mutex<HashMap<IpAddr, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    count: u32,
}

const MINUTE: Duration = Duration::from_secs(60);
/// Sources that are counted at once. Past it those whose minute is over go, and then everybody starts anew: an attacker with
/// so many addresses is not held back by a count for each.
const MAX_SOURCES: usize = 50_000;

impl Rates {
    /// Counts a request. When it is one too many: how long until the next is taken.
    pub(crate) fn take(&self, address: IpAddr, limit: u32, now: Instant) -> Result<(), Duration> {
        let mut windows = self.windows.lock();
        if windows.len() >= MAX_SOURCES {
            windows.retain(|_, window| now.saturating_duration_since(window.since) < MINUTE);
            if windows.len() >= MAX_SOURCES {
                windows.clear();
            }
        }
        let window = windows.entry(source(address)).or_insert(Window { since: now, count: 0 });
        let age = now.saturating_duration_since(window.since);
        if age >= MINUTE {
            *window = Window { since: now, count: 0 };
        }
        if window.count >= limit {
            return Err(MINUTE.saturating_sub(age));
        }
        window.count = window.count.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "only the start of an invented clock")]
    fn a_source_waits_for_its_next_minute() {
        let rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let same_net: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!(rates.take(one, 2, at(0)), Ok(()));
        assert_eq!(rates.take(same_net, 2, at(1)), Ok(()));
        assert_eq!(rates.take(one, 2, at(20)), Err(Duration::from_secs(40)));
        assert_eq!(rates.take(other, 2, at(20)), Ok(()));
        assert_eq!(rates.take(one, 2, at(60)), Ok(()));
    }
}
