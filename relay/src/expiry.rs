//! Tunnels that nobody uses any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::relay::{LiveCounts, Relay};
use crate::store::{Record, StoreError};

/// What is known from the last time that unused tunnels were looked for.
#[derive(Debug, Default)]
pub(crate) struct Sweeps(Mutex<Option<Sweep>>);

#[derive(Debug)]
struct Sweep {
    /// By the wall clock, in seconds since 1970.
    at: u64,
    /// By the clock that nobody sets.
    instant: Instant,
    /// Since when the time of some is over, by id and generation.
    overdue: HashMap<(String, Option<String>), Instant>,
}

/// When the wall clock has gone by so much more or less than time has between two sweeps, somebody has set it.
const JUMP: Duration = Duration::from_secs(60);
/// A tunnel whose time is over stays for so long, or for as long as its time if that is shorter: whoever finds a wrong clock has
/// this to set it right.
const GRACE: Duration = Duration::from_secs(3600);

impl Relay {
    /// Forgets the tunnels that nobody has used for their time. Call it once a minute or so.
    ///
    /// A wall clock that is ahead by mistake would be the end of all tunnels at once. So only those go that have been overdue at
    /// every call for an hour, or for their time if that is shorter, and a call that finds the clock set anew begins again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn expire(&self) -> Result<usize, StoreError> {
        let (at, instant) = (self.now(), Instant::now());
        let mut last = self.sweeps.0.lock();
        let passed = last.take().map(|last| (last.has_jumped(at, instant), last.overdue));
        let before = match passed {
            Some((true, _)) => {
                *last = Some(Sweep { at, instant, overdue: HashMap::new() });
                tracing::warn!("the clock was set; tunnels expire later");
                return Ok(0);
            }
            Some((false, overdue)) => overdue,
            None => HashMap::new(),
        };
        let (mut gone, mut overdue) = (0_usize, HashMap::new());
        for record in self.store.tunnels() {
            let lifetime = self.lifetime(&record);
            if !self.is_overdue(&record, lifetime, at)? {
                continue;
            }
            let key = (record.tunnel.tunnel_id.clone(), record.generation.clone());
            let since = before.get(&key).copied();
            let is_due =
                since.is_some_and(|since| instant.saturating_duration_since(since) >= GRACE.min(lifetime));
            if !is_due {
                overdue.insert(key, since.unwrap_or(instant));
            } else if self.forget(&record)? {
                gone = gone.saturating_add(1);
            }
        }
        *last = Some(Sweep { at, instant, overdue });
        Ok(gone)
    }

    fn lifetime(&self, record: &Record) -> Duration {
        let longest = self.config.limits.tunnel_lifetime;
        let own = record.tunnel.custom_expiration.map(Duration::from_secs);
        own.map_or(longest, |own| own.min(longest))
    }

    /// Whether nobody uses the tunnel, nor has for its time.
    fn is_overdue(&self, record: &Record, lifetime: Duration, now: u64) -> Result<bool, StoreError> {
        let is_live = self.live.counts(&record.tunnel.tunnel_id) != LiveCounts::default();
        // Noted while it is used too, or a relay that is killed would take it for unused when it is started again; and
        // seldom, since each note is a write.
        let since = now.saturating_sub(record.used);
        if is_live && since > lifetime.as_secs() / 8 {
            self.store.update_same(record, |old| Some(used_at(old, now)))?;
        }
        Ok(!is_live && since >= lifetime.as_secs())
    }

    /// Whether the tunnel is gone, which it is unless somebody has used it meanwhile.
    fn forget(&self, record: &Record) -> Result<bool, StoreError> {
        let id = &record.tunnel.tunnel_id;
        let is_the_same = |newest: &Record| newest.is_same_tunnel(record) && newest.used == record.used;
        if !self.store.delete_if(id, is_the_same)? {
            return Ok(false);
        }
        // Somebody may have come meanwhile.
        self.tunnel_deleted(id);
        tracing::info!(target: "audit", tunnel = %id, "tunnel expired");
        Ok(true)
    }

    /// Notes that a tunnel was used just now.
    pub(crate) async fn touch(self: &Arc<Self>, tunnel: &str) {
        let (relay, tunnel, now) = (Arc::clone(self), tunnel.to_owned(), self.now());
        let touched =
            tokio::task::spawn_blocking(move || relay.store.update(&tunnel, |old| Some(used_at(old, now))));
        if let Ok(Err(error)) = touched.await {
            error.log();
        }
    }
}

impl Sweep {
    /// Whether the wall clock tells another time than has passed since.
    fn has_jumped(&self, at: u64, instant: Instant) -> bool {
        let passed = instant.saturating_duration_since(self.instant);
        let told = Duration::from_secs(at.saturating_sub(self.at));
        at < self.at || told.abs_diff(passed) > JUMP
    }
}

/// No clock that is set back makes a tunnel one that was not used for longer.
fn used_at(old: &Record, now: u64) -> Record {
    Record { used: now.max(old.used), ..old.clone() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::Config;
    use crate::clock::WallClock;
    use crate::model::Tunnel;

    const HOUR: u64 = 3600;
    const LIFETIME: u64 = 24 * HOUR;
    const NOON: u64 = 1_800_000_000;

    /// A relay with one tunnel, `abc`, whose clock is set by hand.
    struct Clocked {
        relay: Arc<Relay>,
        wall: Arc<AtomicU64>,
    }

    impl Clocked {
        fn new() -> Self {
            let wall = Arc::new(AtomicU64::new(NOON));
            let hands = Arc::clone(&wall);
            let clock =
                WallClock::new(move || UNIX_EPOCH + Duration::from_secs(hands.load(Ordering::Relaxed)));
            let mut config = Config { clock, ..Config::default() };
            config.limits.tunnel_lifetime = Duration::from_secs(LIFETIME);
            let relay = Relay::new(config).unwrap();
            let clocked = Self { relay, wall };
            clocked.make();
            clocked
        }

        fn make(&self) {
            let tunnel = Tunnel { tunnel_id: "abc".into(), ..Tunnel::default() };
            let record = Record::new(tunnel, "ada".into(), self.relay.now()).unwrap();
            assert!(self.relay.store.create(record).unwrap());
        }

        fn used(&self) -> u64 {
            self.relay.store.tunnel("abc").unwrap().used
        }

        /// Time passes, by both clocks.
        async fn passes(&self, seconds: u64) {
            self.wall.fetch_add(seconds, Ordering::Relaxed);
            tokio::time::advance(Duration::from_secs(seconds)).await;
        }

        /// Looks for unused tunnels every minute until one goes, and says when that was.
        async fn hours_until_gone(&self) -> u64 {
            for minutes in 0..10_000 {
                if self.relay.expire().unwrap() == 1 {
                    assert!(self.relay.store.tunnel("abc").is_none());
                    return minutes / 60;
                }
                self.passes(HOUR / 60).await;
            }
            panic!("it never goes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_nobody_uses_goes_after_its_time() {
        let relay = Clocked::new();
        assert_eq!(relay.hours_until_gone().await, 25);
    }

    /// A server that boots with a wrong clock, or whose time server lies for a while.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_and_is_set_right_ends_no_tunnel() {
        for jump in [366 * 24 * HOUR, 2 * LIFETIME] {
            let relay = Clocked::new();
            assert_eq!(relay.relay.expire().unwrap(), 0);
            relay.wall.fetch_add(jump, Ordering::Relaxed);
            for _ in 0..60 {
                assert_eq!(relay.relay.expire().unwrap(), 0, "it believes the clock");
                relay.passes(HOUR / 60).await;
            }
            relay.wall.fetch_sub(jump, Ordering::Relaxed);
            assert_eq!(relay.hours_until_gone().await, 25 - 1, "it lasts for its time");
            // A clock that is wrong from the start has not jumped; there is an hour to set it right all the same.
            let relay = Clocked::new();
            relay.wall.fetch_add(jump, Ordering::Relaxed);
            for _ in 0..60 {
                assert_eq!(relay.relay.expire().unwrap(), 0, "it believes the clock");
                relay.passes(HOUR / 60).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_does_not_make_a_tunnel_older() {
        let relay = Clocked::new();
        relay.wall.fetch_sub(2 * LIFETIME, Ordering::Relaxed);
        relay.relay.touch("abc").await;
        assert_eq!(relay.used(), NOON);
        relay.wall.fetch_add(2 * LIFETIME, Ordering::Relaxed);
        relay.passes(HOUR).await;
        relay.relay.touch("abc").await;
        assert_eq!(relay.used(), NOON + HOUR);
    }

    /// What was overdue may have been made anew since, or used.
    #[tokio::test(start_paused = true)]
    async fn what_was_overdue_is_looked_at_again() {
        let relay = Clocked::new();
        assert_eq!(relay.relay.expire().unwrap(), 0);
        relay.passes(LIFETIME).await;
        assert_eq!(relay.relay.expire().unwrap(), 0);
        relay.relay.touch("abc").await;
        relay.passes(HOUR).await;
        assert_eq!(relay.relay.expire().unwrap(), 0, "it was used");
        relay.passes(LIFETIME).await;
        assert_eq!(relay.relay.expire().unwrap(), 0);
        relay.relay.store.delete("abc").unwrap();
        relay.wall.fetch_sub(LIFETIME, Ordering::Relaxed);
        relay.make();
        relay.wall.fetch_add(LIFETIME, Ordering::Relaxed);
        relay.passes(HOUR).await;
        assert_eq!(relay.relay.expire().unwrap(), 0, "it is another tunnel");
        relay.passes(HOUR).await;
        assert_eq!(relay.relay.expire().unwrap(), 1);
    }
}
