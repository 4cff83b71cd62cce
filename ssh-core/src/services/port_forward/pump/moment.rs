use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Something that happens once, and can be waited for with the time that has passed since.
#[derive(Debug, Default)]
pub(super) struct Moment {
    has_come: AtomicBool,
    comes: Notify,
}

impl Moment {
    /// It happens now.
    pub(super) fn come(&self) {
        self.has_come.store(true, Ordering::Release);
        self.comes.notify_waiters();
    }

    /// Ready when it has happened and this time is over, counted from now if it happened before.
    pub(super) async fn is_past(&self, time: Duration) {
        // Before the look at it, so that nothing is missed in between.
        let comes = self.comes.notified();
        if !self.has_come.load(Ordering::Acquire) {
            comes.await;
        }
        tokio::time::sleep(time).await;
    }
}
