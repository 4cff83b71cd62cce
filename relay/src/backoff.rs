//! When to try again.

use std::time::Duration;

/// Delays that double, and are spread so that those who were thrown out together do not come back together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempt: u32,
}

pub(crate) const FIRST: Duration = Duration::from_millis(100);
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    /// The number of the next attempt, from 1, and how long to wait before it.
    pub(crate) fn next(&mut self) -> (u32, Duration) {
        let doubled = FIRST.saturating_mul(1_u32.checked_shl(self.attempt).unwrap_or(u32::MAX));
        self.attempt = self.attempt.saturating_add(1);
        let delay = doubled.min(LONGEST);
        let mut random = [0; 2];
        // Without randomness the delay is just not spread.
        let _ = getrandom::fill(&mut random);
        let part = delay.checked_div(2 * 0x1_0000).unwrap_or_default();
        (self.attempt, delay.saturating_sub(part.saturating_mul(u32::from(u16::from_be_bytes(random)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        for (attempt, most) in
            [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1600), (6, 3200), (7, 5000), (8, 5000)]
        {
            let (number, delay) = backoff.next();
            assert_eq!(number, attempt);
            assert!(
                delay <= Duration::from_millis(most) && delay >= Duration::from_millis(most / 2),
                "{attempt}"
            );
        }
    }
}
