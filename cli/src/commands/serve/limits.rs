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
    waiting: Arc<Mutex<Waiting>>,
    random: &'static dyn SecureRandom,
}

#[derive(Debug, Default)]
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
    pub(super) fn new(random: &'static dyn SecureRandom) -> Self {
        Self { waiting: Arc::default(), random }
    }

    /// A place, if there is one for this address. Past [`EARLY_DROP`] it is a matter of luck, the more places are taken
    /// the less, so that a flood does not shut everybody else out.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Pass> {
        let source = Source::of(address);
        let mut waiting = lock(&self.waiting);
        if !waiting.rates.admits(source, Instant::now()) {
            return None;
        }
        if waiting.all >= MAX_WAITING || self.is_unlucky(waiting.all) {
            return None;
        }
        let of_source = waiting.by_source.entry(source).or_default();
        if *of_source >= MAX_WAITING_OF_SOURCE {
            return None;
        }
        *of_source += 1;
        waiting.all += 1;
        Some(Pass { waiting: Arc::clone(&self.waiting), source })
    }

    fn is_unlucky(&self, waiting: usize) -> bool {
        let Some(over) = waiting.checked_sub(EARLY_DROP) else { return false };
        let mut byte = [0];
        // Without randomness no handshake can succeed anyway.
        if self.random.fill(&mut byte).is_err() {
            return true;
        }
        let [byte] = byte;
        usize::from(byte) * (MAX_WAITING - EARLY_DROP) < over * 256
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

/// Connections of all sources that are not logged in.
const MAX_WAITING: usize = 256;
/// From here on new ones are turned away by chance.
const EARLY_DROP: usize = 128;
/// Connections of one source that are not logged in.
const MAX_WAITING_OF_SOURCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::session::PROVIDER;

    #[test]
    fn one_source_cannot_take_all_places() {
        let gate = Gate::new(PROVIDER.random);
        let enter = |address: &str| gate.enter(address.parse().unwrap());
        let passes: Vec<_> = (0..MAX_WAITING_OF_SOURCE).map(|_| enter("10.0.0.1").unwrap()).collect();
        assert!(enter("10.0.0.1").is_none());
        assert!(enter("::ffff:10.0.0.1").is_none());
        assert!(enter("10.0.0.2").is_some());
        drop(passes);
        assert!(enter("10.0.0.1").is_some());
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
        let gate = Gate::new(PROVIDER.random);
        let from = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let passes: Vec<_> = (0..10_000).filter_map(|n| gate.enter(from(n))).collect();
        assert!(passes.len() > EARLY_DROP && passes.len() <= MAX_WAITING, "{}", passes.len());
    }
}
