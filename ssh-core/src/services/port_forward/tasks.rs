//! The tasks of a session's forwards, which all end with it.

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// Tasks that can be stopped together.
#[derive(Debug)]
pub(super) struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }
}

impl Tasks {
    /// `None` if everything has been stopped; the future is then dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        let mut tasks = self.0.lock();
        let tasks = tasks.as_mut()?;
        // Those that have ended would stay in the set.
        while tasks.try_join_next().is_some() {}
        Some(tasks.spawn(task))
    }

    /// Stops all of them, and those that would come.
    pub(super) fn stop(&self) {
        let tasks = self.0.lock().take();
        drop(tasks);
    }
}
