//! What failed logins cost the source they come from.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Source;

/// Counts failed logins for each source: past some they are answered ever later, past more the source is turned away at
/// the door for a while. What is here goes on.
#[derive(Debug)]
pub(super) struct Penalties {
    /// Failures at which a source is refused: so many at once, or in a minute.
    refused_at: u32,
    sources: Option<Mutex<HashMap<Source, Record>>>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// Failures that have not been forgiven yet. One is forgiven every now and then.
    failures: u32,
    /// As of when.
    counted: Instant,
    refused_until: Option<Instant>,
}

impl Penalties {
    /// A source is refused after so many failures at once or in a minute. With `is_on` false nothing is counted.
    pub(super) fn new(is_on: bool, refused_at: u32) -> Self {
        Self { refused_at, sources: is_on.then(Mutex::default) }
    }

    /// Takes a failed login down. Whether the source is refused from now on, and was not before.
    pub(super) fn failed(&self, source: Source, now: Instant) -> bool {
        let Some(mut sources) = self.lock() else { return false };
        if !sources.contains_key(&source) && sources.len() >= MAX_SOURCES {
            make_room(&mut sources, self.forgiven_after(), now);
        }
        let fresh = Record { failures: 0, counted: now, refused_until: None };
        let record = sources.entry(source).or_insert(fresh);
        record.forgive(self.forgiven_after(), now);
        record.failures = record.failures.saturating_add(1);
        if record.failures < self.refused_at(source) || record.is_refused(now) {
            return false;
        }
        record.refused_until = now.checked_add(REFUSED_FOR);
        // It starts again with a tenth of its credit.
        record.failures = self.refused_at(source) / 10 * 9;
        true
    }

    /// Whether connections of the source are turned away.
    pub(super) fn is_refused(&self, source: Source, now: Instant) -> bool {
        self.lock().is_some_and(|sources| sources.get(&source).is_some_and(|record| record.is_refused(now)))
    }

    /// How much later than others the source hears that a login failed.
    pub(super) fn delay(&self, source: Source, now: Instant) -> Duration {
        let Some(mut sources) = self.lock() else { return Duration::ZERO };
        let Some(record) = sources.get_mut(&source) else { return Duration::ZERO };
        record.forgive(self.forgiven_after(), now);
        let over = record.failures.saturating_sub(self.delayed_from(source));
        DELAY_STEP.saturating_mul(over).min(MAX_DELAY)
    }

    /// Failures at which a source is refused. Behind loopback there may be many: the users of this machine, or a proxy.
    fn refused_at(&self, source: Source) -> u32 {
        if source.is_loopback() { self.refused_at.saturating_mul(10) } else { self.refused_at }
    }

    /// Failures from which on answers come later.
    fn delayed_from(&self, source: Source) -> u32 {
        self.refused_at(source) / 3
    }

    fn forgiven_after(&self) -> Duration {
        MINUTE / self.refused_at.max(1)
    }

    fn lock(&self) -> Option<MutexGuard<'_, HashMap<Source, Record>>> {
        // What is inside is right after every statement, so a panic elsewhere spoils nothing.
        self.sources.as_ref().map(|sources| sources.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Record {
    fn forgive(&mut self, forgiven_after: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.counted);
        let steps = passed.as_millis().checked_div(forgiven_after.as_millis()).unwrap_or_default();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(steps);
        let passed = forgiven_after.saturating_mul(steps);
        self.counted = self.counted.checked_add(passed).unwrap_or(now).min(now);
    }

    fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }
}

/// Takes out what counts no more, or else a tenth: those that were not heard of for the longest time.
fn make_room(sources: &mut HashMap<Source, Record>, forgiven_after: Duration, now: Instant) {
    sources.retain(|_, record| {
        record.forgive(forgiven_after, now);
        record.failures > 0 || record.is_refused(now)
    });
    if sources.len() < MAX_SOURCES {
        return;
    }
    let mut ages: Vec<(Instant, Source)> = sources
        .iter()
        .map(|(source, record)| (record.refused_until.unwrap_or(record.counted), *source))
        .collect();
    ages.sort_unstable_by_key(|(age, _)| *age);
    for (_, source) in ages.iter().take(MAX_SOURCES / 10) {
        sources.remove(source);
    }
}

/// As many failures as get a source refused are forgiven in this time.
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(60);
const DELAY_STEP: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Sources that are remembered; about 64 bytes each.
const MAX_SOURCES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn too_many_failures_are_delayed_then_refused_and_then_forgiven() {
        let (penalties, start) = (Penalties::new(true, 30), Instant::now());
        for (source, most) in [(source("192.0.2.1"), 30), (source("127.0.0.1"), 300)] {
            for number in 1..most {
                assert!(!penalties.failed(source, start), "{number}");
                assert_eq!(penalties.delay(source, start) > Duration::ZERO, number > most / 3, "{number}");
            }
            assert!(penalties.delay(source, start) <= MAX_DELAY);
            assert!(!penalties.is_refused(source, start));
            assert!(penalties.failed(source, start));
            assert!(penalties.is_refused(source, start));
            // Said once.
            assert!(!penalties.failed(source, start));
            assert!(penalties.is_refused(source, start + Duration::from_secs(59)));
            let later = start + Duration::from_secs(60);
            assert!(!penalties.is_refused(source, later));
            let forgiven = start + Duration::from_secs(2 * 300);
            assert_eq!(penalties.delay(source, forgiven), Duration::ZERO);
        }
        assert!(!penalties.is_refused(source("192.0.2.2"), start));
    }

    #[test]
    fn slow_failures_are_never_refused() {
        let penalties = Penalties::new(true, 30);
        let mut now = Instant::now();
        for _ in 0..1000 {
            assert!(!penalties.failed(source("192.0.2.1"), now));
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn off_is_off() {
        let (penalties, now) = (Penalties::new(false, 30), Instant::now());
        for _ in 0..1000 {
            assert!(!penalties.failed(source("192.0.2.1"), now));
        }
        assert!(!penalties.is_refused(source("192.0.2.1"), now));
        assert_eq!(penalties.delay(source("192.0.2.1"), now), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let (penalties, start) = (Penalties::new(true, 30), Instant::now());
        let address = |number: usize| {
            let [.., a, b, c] = number.to_be_bytes();
            Source::of([10, a, b, c].into())
        };
        for number in 0..MAX_SOURCES + 100 {
            let now = start + Duration::from_micros(u64::try_from(number).unwrap());
            penalties.failed(address(number), now);
        }
        let sources = penalties.lock().unwrap();
        assert!(sources.len() <= MAX_SOURCES);
        assert!(sources.contains_key(&address(MAX_SOURCES + 99)) && !sources.contains_key(&address(0)));
    }
}
