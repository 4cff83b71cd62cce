//! Setting sessions up, and taking them down so that the other side hears of it.

use std::time::Duration;

use ssh_core::{Driver, Session};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A session whose output can be waited for.
pub(crate) struct Link {
    pub(crate) session: Session,
    writing: JoinHandle<()>,
}

/// The task that writes, to be waited for.
pub(crate) fn spawn(driver: Driver) -> JoinHandle<()> {
    let (reading, writing) = driver.into_loops();
    tokio::spawn(reading);
    tokio::spawn(writing)
}

/// The last output gets this long.
const FLUSH: Duration = Duration::from_secs(2);

impl Link {
    pub(crate) fn new(session: Session, writing: JoinHandle<()>) -> Self {
        Self { session, writing }
    }

    /// Tells the other side, and waits for a moment until it has been told.
    pub(crate) async fn close(self) {
        self.session.close();
        // Whether it was told or not, we are done.
        let _ = tokio::time::timeout(FLUSH, self.writing).await;
    }
}

pub(crate) fn tune(stream: &TcpStream) {
    // Only slower without.
    let _ = stream.set_nodelay(true);
}
