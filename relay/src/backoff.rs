//! When to try again.

use std::time::Duration;

use crate::dial::DialError;

/// Delays of which each is a random share of a cap, and the caps double ("full jitter"): those who were thrown out together
/// come back one by one. A relay that answers is given the time that it asks for, on top.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempt: u32,
    asked: Duration,
}

/// The first cap.
pub(crate) const FIRST: Duration = Duration::from_millis(500);
/// The last cap, for a relay that is not there: when it is back, all have come within this.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// No relay is given more time than this, whatever it asks for, and none that does not say how much it wants.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

impl Backoff {
    /// The number of the next attempt, from 1, and how long to wait before it.
    pub(crate) fn next(&mut self) -> (u32, Duration) {
        self.attempt = self.attempt.saturating_add(1);
        let asked = std::mem::take(&mut self.asked);
        (self.attempt, asked.saturating_add(share_of(cap(self.attempt, LONGEST))))
    }

    /// The attempt has failed like this.
    pub(crate) fn failed(&mut self, error: &DialError) {
        self.asked = asked(error, self.attempt);
    }
}

/// The time that a relay wants to be left alone for, which has answered attempt number `attempt`, from 1, like this.
pub(crate) fn asked(error: &DialError, attempt: u32) -> Duration {
    match error {
        DialError::Refused { retry_after: Some(time), .. } => (*time).min(LONGEST_ASKED),
        DialError::Refused { status: 429 | 503, .. } => share_of(cap(attempt, LONGEST_ASKED)),
        _ => Duration::ZERO,
    }
}

fn cap(attempt: u32, longest: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(longest)
}

/// From nothing to all of it.
fn share_of(whole: Duration) -> Duration {
    let mut random = [0; 2];
    // Without randomness nobody is spread, and nobody comes too early.
    let part = getrandom::fill(&mut random).map_or(u16::MAX, |()| u16::from_be_bytes(random));
    whole.checked_div(u16::MAX.into()).unwrap_or_default().saturating_mul(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shortest and the longest of many.
    fn ends(of: impl Fn() -> Duration) -> (Duration, Duration) {
        let all: Vec<Duration> = (0..2000).map(|_| of()).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }

    fn after(attempts: u32, error: Option<&DialError>) -> Duration {
        let mut backoff = Backoff::default();
        for number in 1..attempts {
            assert_eq!(backoff.next().0, number);
        }
        if let Some(error) = error {
            backoff.failed(error);
        }
        backoff.next().1
    }

    fn refused(status: u16, retry_after: Option<u64>) -> DialError {
        let retry_after = retry_after.map(Duration::from_secs);
        DialError::Refused { status, detail: String::new(), retry_after }
    }

    #[test]
    fn delays_are_shares_of_caps_that_double_up_to_the_longest() {
        for (attempt, cap) in [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 5000), (6, 5000), (40, 5000)] {
            let (shortest, longest) = ends(|| after(attempt, None));
            let cap = Duration::from_millis(cap);
            assert!(
                shortest < cap / 50 && longest <= cap && longest > cap * 49 / 50,
                "{attempt}: {longest:?}"
            );
        }
        let away = DialError::Unreachable { at: String::new(), why: String::new() };
        assert!(ends(|| after(40, Some(&away))).1 <= LONGEST, "whoever does not answer asks for nothing");
    }

    #[test]
    fn a_relay_that_answers_gets_the_time_that_it_asks_for() {
        for (seconds, given) in [(1, 1), (7, 7), (30, 30), (60, 30), (u64::MAX, 30)] {
            let (shortest, longest) = ends(|| after(3, Some(&refused(503, Some(seconds)))));
            let given = Duration::from_secs(given);
            assert!(shortest >= given && longest <= given + FIRST * 4 && longest > given + FIRST * 3);
        }
        // Without a word the time grows up to the longest.
        for status in [429, 503] {
            let (_, early) = ends(|| after(2, Some(&refused(status, None))));
            assert!(early <= FIRST * 3, "{early:?}");
            let (shortest, longest) = ends(|| after(12, Some(&refused(status, None))));
            assert!(
                shortest < LONGEST && longest > LONGEST * 5 && longest <= LONGEST_ASKED + LONGEST,
                "{longest:?}"
            );
        }
        assert!(ends(|| after(12, Some(&refused(502, None)))).1 <= LONGEST);
    }

    #[test]
    fn a_wish_counts_once() {
        let mut backoff = Backoff::default();
        backoff.failed(&refused(429, Some(20)));
        assert!(backoff.next().1 >= Duration::from_secs(20));
        assert!(backoff.next().1 <= FIRST * 2);
    }
}
