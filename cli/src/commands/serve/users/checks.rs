//! How many passwords are checked at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::commands::serve::limits::Source;

/// Places for checks of passwords: each takes a processor, and some of them much memory. One source gets half of them, so
/// that others need not wait behind all that it asks for.
#[derive(Debug)]
pub(super) struct Checks {
    all: Arc<Semaphore>,
    of_source: usize,
    by_source: Mutex<HashMap<Source, Arc<Semaphore>>>,
}

/// A check may run while this is kept.
#[derive(Debug)]
pub(super) struct Place {
    _of_source: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Checks {
    pub(super) fn new(places: usize) -> Self {
        let all = Arc::new(Semaphore::new(places));
        Self { all, of_source: places.div_ceil(2), by_source: Mutex::default() }
    }

    /// Waits for a place. Places are given in the order of asking, first among those of a source.
    ///
    /// # Cancel safety
    /// The place in the queue is lost.
    pub(super) async fn place(&self, source: Option<Source>) -> Option<Place> {
        // Behind loopback may be many: the users of this machine, or a proxy.
        let source = source.filter(|source| !source.is_loopback());
        let of_source = match source.map(|source| self.queue(source)) {
            Some(queue) => Some(queue.acquire_owned().await.ok()?),
            None => None,
        };
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _of_source: of_source, _of_all: of_all })
    }

    fn queue(&self, source: Source) -> Arc<Semaphore> {
        // What is inside is right after every statement, so a panic elsewhere spoils nothing.
        let mut queues = self.by_source.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds or waits for; there are no more others than connections that are not logged in.
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        Arc::clone(queues.entry(source).or_insert_with(|| Arc::new(Semaphore::new(self.of_source))))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn source(text: &str) -> Option<Source> {
        Some(Source::of(text.parse().unwrap()))
    }

    #[test]
    fn one_source_cannot_take_all_places() {
        let checks = Checks::new(4);
        let place = |source| checks.place(source).now_or_never().flatten();
        let (loud, quiet) = (source("192.0.2.1"), source("192.0.2.2"));
        let mut taken = vec![place(loud).unwrap(), place(loud).unwrap()];
        assert!(place(loud).is_none());
        taken.extend([place(quiet).unwrap(), place(quiet).unwrap()]);
        assert!(place(source("192.0.2.3")).is_none(), "there are four");
        taken.remove(0);
        assert!(place(quiet).is_none());
        assert!(place(loud).is_some());
        drop(taken);
        assert!(place(None).is_some());
        assert!(place(quiet).is_some());
        assert_eq!(checks.by_source.lock().unwrap().len(), 1, "the others are forgotten");
    }

    #[test]
    fn loopback_may_take_all_and_one_place_is_enough_for_everybody() {
        let checks = Checks::new(3);
        let places: Vec<_> =
            (0..4).map(|_| checks.place(source("127.0.0.1")).now_or_never().flatten()).collect();
        assert_eq!(places.iter().flatten().count(), 3);
        let single = Checks::new(1);
        assert!(single.place(source("192.0.2.1")).now_or_never().flatten().is_some());
    }
}
