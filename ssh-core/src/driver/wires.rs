use std::time::Duration;

use tokio::task::JoinSet;

use super::Driver;

/// The two tasks below a session, for those who end sessions and want their peers to hear of it: what
/// [`Session::close`](crate::Session::close) says is still to be written when it returns.
///
/// Dropping them ends the session without a word.
#[derive(Debug)]
#[must_use = "dropping the tasks ends the session"]
pub struct Wires(JoinSet<()>);

/// How long a peer may take to let itself be told of the end. What is left to write then is little.
const FAREWELL: Duration = Duration::from_secs(2);

impl Wires {
    /// Runs the loops of `driver` as tasks of the runtime.
    pub fn spawn(driver: Driver) -> Self {
        let (reading, writing) = driver.into_loops();
        let mut tasks = JoinSet::new();
        tasks.spawn(reading);
        tasks.spawn(writing);
        Self(tasks)
    }

    /// Waits until the session is over and its peer has been told, at most 2 s, and ends the tasks.
    ///
    /// # Cancel safety
    /// A dropped future ends the session without another word.
    pub async fn flushed(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        // Whoever does not listen is not waited for.
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
