//! When to try again.

use std::time::Duration;

use tokio::sync::watch;

use crate::dial::DialError;

/// Delays of which each is a random share of a cap, and the caps double ("full jitter"): those who were thrown out together
/// come back one by one. A relay that answers is given the time that it asks for, on top.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempt: u32,
    asked: Duration,
    news: watch::Receiver<()>,
}

/// The first cap.
pub(crate) const FIRST: Duration = Duration::from_millis(500);
/// The last cap, for a relay that is not there: when it is back, all have come within this.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// No relay is given more time than this, whatever it asks for, and none that does not say how much it wants.
const LONGEST_ASKED: Duration = Duration::from_secs(30);

impl Backoff {
    /// `news` come when this machine has come to another network.
    pub(crate) fn new(news: watch::Receiver<()>) -> Self {
        Self { attempt: 0, asked: Duration::ZERO, news }
    }

    /// The number of the next attempt, from 1, and how long to wait before it: what the relay has asked for, and our share.
    fn next(&mut self) -> (u32, Duration, Duration) {
        self.attempt = self.attempt.saturating_add(1);
        (self.attempt, std::mem::take(&mut self.asked), share_of(cap(self.attempt, LONGEST)))
    }

    /// Waits for the next attempt. News of the network spare us our own share of it.
    pub(crate) async fn pause(&mut self, announce: impl FnOnce(u32, Duration)) {
        let (attempt, asked, own) = self.next();
        announce(attempt, asked.saturating_add(own));
        tokio::time::sleep(asked).await;
        tokio::select! {
            () = tokio::time::sleep(own) => self.news.mark_unchanged(),
            // An error means that nobody is left to bring any.
            Ok(()) = self.news.changed() => {}
        }
    }

    /// Makes the attempt. `None` if there were news meanwhile: it may be on its way through a network that is left, and the
    /// next pause is none.
    pub(crate) async fn attempt<T>(&mut self, made: impl Future<Output = T>) -> Option<T> {
        let mut news = self.news.clone();
        tokio::select! {
            biased;
            made = made => Some(made),
            Ok(()) = news.changed() => {
                self.attempt = self.attempt.saturating_sub(1);
                None
            }
        }
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
    use tokio::time::Instant;

    use super::*;

    /// The shortest and the longest of many.
    fn ends(of: impl Fn() -> Duration) -> (Duration, Duration) {
        let all: Vec<Duration> = (0..2000).map(|_| of()).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }

    fn backoff() -> Backoff {
        Backoff::new(watch::Sender::default().subscribe())
    }

    fn after(attempts: u32, error: Option<&DialError>) -> Duration {
        let mut backoff = backoff();
        for number in 1..attempts {
            assert_eq!(backoff.next().0, number);
        }
        if let Some(error) = error {
            backoff.failed(error);
        }
        let (_, asked, own) = backoff.next();
        asked + own
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
        let mut backoff = backoff();
        backoff.failed(&refused(429, Some(20)));
        assert!(backoff.next().1 >= Duration::from_secs(20));
        assert!(backoff.next().1 <= FIRST * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_the_network_spare_our_own_share_of_the_wait_and_what_is_on_its_way() {
        let news = watch::Sender::default();
        let mut backoff = Backoff::new(news.subscribe());
        backoff.attempt = 40;
        backoff.failed(&refused(429, Some(7)));
        let start = Instant::now();
        news.send_replace(());
        backoff.pause(|attempt, after| assert!(attempt == 41 && after >= Duration::from_secs(7))).await;
        assert_eq!(start.elapsed().as_secs(), 7, "what the relay asks for is waited for");

        // Old news are none for an attempt, and news while it is made are some for the next.
        assert_eq!(backoff.attempt(std::future::ready(1)).await, Some(1));
        let (made, ()) = tokio::join!(backoff.attempt(std::future::pending::<()>()), async {
            news.send_replace(());
        });
        assert_eq!(made, None);
        let start = Instant::now();
        backoff.pause(|attempt, _| assert_eq!(attempt, 41)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        // Nobody is left to bring any.
        drop(news);
        let expected = std::cell::Cell::new(Duration::ZERO);
        let start = Instant::now();
        backoff.pause(|_, after| expected.set(after)).await;
        assert!(start.elapsed() >= expected.get());
        assert_eq!(backoff.attempt(async { tokio::time::sleep(LONGEST).await }).await, Some(()));
    }
}
