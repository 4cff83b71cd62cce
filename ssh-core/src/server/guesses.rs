//! How often one source may ask for sessions that it cannot prove to be its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where somebody comes from: an IPv4 address, or the network that one IPv6 host can choose addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        })
    }

    /// Behind loopback there may be many: the users of this machine, or those of a proxy.
    fn is_loopback(self) -> bool {
        self.0.is_loopback() || self.0 == IpAddr::from(Ipv6Addr::UNSPECIFIED)
    }
}

/// Wrong guesses of each source in the minute that began with the first of them.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<Source, Minute>>);

#[derive(Debug, Clone, Copy)]
struct Minute {
    began: Instant,
    wrong: u32,
}

impl Guesses {
    /// Whether the source may guess: it has been wrong fewer than `most` times in this minute.
    pub(super) fn may_guess(&self, source: Source, most: u32, now: Instant) -> bool {
        self.0.lock().get(&source).is_none_or(|minute| minute.is_over(now) || minute.wrong < most)
    }

    /// It was wrong.
    pub(super) fn was_wrong(&self, source: Source, now: Instant) {
        if source.is_loopback() {
            return;
        }
        let mut sources = self.0.lock();
        if sources.len() >= MAX_SOURCES && !sources.contains_key(&source) {
            sources.retain(|_, minute| !minute.is_over(now));
            // Each connection has its own limit; so many sources are not met by this one.
            if sources.len() >= MAX_SOURCES {
                return;
            }
        }
        let minute = sources.entry(source).or_insert(Minute { began: now, wrong: 0 });
        if minute.is_over(now) {
            *minute = Minute { began: now, wrong: 0 };
        }
        minute.wrong = minute.wrong.saturating_add(1);
    }
}

impl Minute {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= Duration::from_secs(60)
    }
}

/// Sources that are remembered; about 64 bytes each.
const MAX_SOURCES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_guesses_a_minute_are_all_that_a_source_has() {
        let (guesses, now) = (Guesses::default(), crate::driver::now());
        let source = |text: &str| Source::of(text.parse().unwrap());
        let (one, other, local) = (source("2001:db8::1"), source("2001:db8:0:1::1"), source("::1"));
        for _ in 0..10 {
            for source in [one, local] {
                assert!(guesses.may_guess(source, 10, now));
                guesses.was_wrong(source, now);
            }
        }
        assert!(!guesses.may_guess(source("2001:db8::ffff"), 10, now), "the network counts");
        assert!(guesses.may_guess(other, 10, now) && guesses.may_guess(local, 10, now));
        assert!(!guesses.may_guess(one, 10, now + Duration::from_secs(59)));
        let later = now + Duration::from_secs(60);
        assert!(guesses.may_guess(one, 10, later));
        guesses.was_wrong(one, later);
        assert!(guesses.may_guess(one, 10, later));
    }

    #[test]
    fn memory_is_bounded() {
        let (guesses, now) = (Guesses::default(), crate::driver::now());
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() + 100 {
            guesses.was_wrong(Source::of(std::net::Ipv4Addr::from_bits(number).into()), now);
        }
        assert!(guesses.0.lock().len() <= MAX_SOURCES);
    }
}
