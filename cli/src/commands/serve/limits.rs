//! How many may be here without having logged in.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ssh_core::crypto::SecureRandom;
use tokio::time::Instant;

use super::rate::Rates;

/// Lets connections in that are not logged in, up to a limit for each source and one for all.
#[derive(Debug)]
pub(super) struct Gate {
    limits: GateLimits,
    waiting: Arc<Mutex<Waiting>>,
    random: &'static dyn SecureRandom,
}

/// How many may be here without having logged in, and how fast they may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct GateLimits {
    /// Connections of all sources that are not logged in. From half of it on new ones are turned away by chance.
    pub(super) waiting: usize,
    /// Connections of one source that are not logged in.
    pub(super) waiting_per_source: usize,
    /// Connections of one source a second, in the long run.
    pub(super) per_second: u32,
    /// And so many at once.
    pub(super) at_once: u32,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self { waiting: 256, waiting_per_source: 32, per_second: 20, at_once: 100 }
    }
}

#[derive(Debug)]
struct Waiting {
    all: usize,
    by_source: HashMap<Source, usize>,
    rates: Rates,
}

/// An IPv4 address, or the network that one IPv6 host can choose addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

/// A place before the login; dropping it makes room.
#[derive(Debug)]
pub(super) struct Pass {
    waiting: Arc<Mutex<Waiting>>,
    source: Source,
}

impl Gate {
    pub(super) fn new(limits: GateLimits, random: &'static dyn SecureRandom) -> Self {
        let rates = Rates::new(limits.per_second, limits.at_once);
        let waiting = Waiting { all: 0, by_source: HashMap::new(), rates };
        Self { limits, waiting: Arc::new(Mutex::new(waiting)), random }
    }

    /// A place, if there is one for this address. Past half of all it is a matter of luck, the more places are taken the
    /// less, so that a flood does not shut everybody else out.
    ///
    /// # Errors
    /// The name of the limit that is reached.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Pass, &'static str> {
        let source = Source::of(address);
        let mut waiting = lock(&self.waiting);
        if !waiting.rates.admits(source, Instant::now()) {
            return Err("connections_per_second");
        }
        if waiting.all >= self.limits.waiting || self.is_unlucky(waiting.all) {
            return Err("waiting");
        }
        let of_source = waiting.by_source.entry(source).or_default();
        if *of_source >= self.limits.waiting_per_source {
            return Err("waiting_per_source");
        }
        *of_source += 1;
        waiting.all += 1;
        Ok(Pass { waiting: Arc::clone(&self.waiting), source })
    }

    fn is_unlucky(&self, waiting: usize) -> bool {
        let early_drop = self.limits.waiting / 2;
        let Some(over) = waiting.checked_sub(early_drop) else { return false };
        let mut byte = [0];
        // Without randomness no handshake can succeed anyway.
        if self.random.fill(&mut byte).is_err() {
            return true;
        }
        let [byte] = byte;
        usize::from(byte) * (self.limits.waiting - early_drop) < over * 256
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.all = waiting.all.saturating_sub(1);
        if let Some(of_source) = waiting.by_source.get_mut(&self.source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                waiting.by_source.remove(&self.source);
            }
        }
    }
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        })
    }

    pub(super) fn is_loopback(self) -> bool {
        // The network of ::1 holds no other host.
        self.0.is_loopback() || self.0 == IpAddr::from(Ipv6Addr::UNSPECIFIED)
    }
}

/// The address, or the network.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// The counters are right after every statement, so a panic elsewhere spoils nothing.
fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::session::PROVIDER;

    #[test]
    fn one_source_cannot_take_all_places() {
        let gate = Gate::new(GateLimits::default(), PROVIDER.random);
        let enter = |address: &str| gate.enter(address.parse().unwrap());
        let passes: Vec<_> = (0..32).map(|_| enter("10.0.0.1").unwrap()).collect();
        assert_eq!(enter("10.0.0.1").err(), Some("waiting_per_source"));
        assert!(enter("::ffff:10.0.0.1").is_err());
        assert!(enter("10.0.0.2").is_ok());
        drop(passes);
        assert!(enter("10.0.0.1").is_ok());
        assert!(lock(&gate.waiting).by_source.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_addresses_is_one_source() {
        let of = |address: &str| Source::of(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    #[test]
    fn all_sources_together_have_a_limit() {
        let gate = Gate::new(GateLimits::default(), PROVIDER.random);
        let from = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let passes: Vec<_> = (0..10_000).filter_map(|n| gate.enter(from(n)).ok()).collect();
        assert!(passes.len() > 128 && passes.len() <= 256, "{}", passes.len());
    }
}
