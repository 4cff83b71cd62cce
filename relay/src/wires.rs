//! The two tasks below a session of ours, and the time to say goodbye.

use std::time::Duration;

use ssh_core::Driver;
use tokio::task::JoinSet;

/// The tasks. Dropping them ends the session without a word.
#[derive(Debug)]
pub(crate) struct Wires(JoinSet<()>);

const FAREWELL: Duration = Duration::from_secs(2);

impl Wires {
    pub(crate) fn spawn(driver: Driver) -> Self {
        let (reading, writing) = driver.into_loops();
        let mut tasks = JoinSet::new();
        tasks.spawn(reading);
        tasks.spawn(writing);
        Self(tasks)
    }

    /// Waits until the peer has been told of the end, but not for long.
    pub(crate) async fn flushed(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
