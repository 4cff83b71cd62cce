//! The tokio half: two tasks move bytes, applications call straight into the engine.
//!
//! The engine is behind one lock, held to seal, to dispatch and to exchange buffers, and never across I/O or an await.
//! Opening takes no lock: [`Inbound`](crate::protocol::Inbound) belongs to the read loop.

mod read_loop;
mod shared;
mod write_loop;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use shared::{EndIfDropped, Shared};

use crate::protocol::{Engine, Inbound};

/// Moves the bytes of one session. It does nothing unless it is polled; it ends when the session is over.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver {
    reading: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    writing: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Driver {
    pub(crate) fn new<S>(stream: S, engine: Engine, inbound: Inbound) -> (Self, Arc<Shared>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared::new(engine));
        let (reader, writer) = tokio::io::split(stream);
        let driver = Self {
            reading: Box::pin(read_loop::run(Arc::clone(&shared), reader, inbound)),
            writing: Box::pin(write_loop::run(Arc::clone(&shared), writer)),
        };
        (driver, shared)
    }

    /// Runs the two loops as tasks of their own, so that sealing and opening can use two cores.
    pub fn spawn(self) {
        tokio::spawn(self.reading);
        tokio::spawn(self.writing);
    }

    /// The reading and the writing loop, for a caller who wants to know when each is done: the writing loop ends after
    /// the peer has been told of the end of the session.
    ///
    /// # Cancel safety
    /// A loop that is dropped ends the session.
    #[must_use = "a session does nothing unless its loops are polled"]
    pub fn into_loops(
        self,
    ) -> (impl Future<Output = ()> + Send + 'static, impl Future<Output = ()> + Send + 'static) {
        (self.reading, self.writing)
    }

    /// Runs the two loops in the caller's task.
    ///
    /// # Cancel safety
    /// A dropped future ends the session, and the peer is not told why.
    pub async fn run(self) {
        futures::future::join(self.reading, self.writing).await;
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// The only place that asks the clock: the runtime's, so that a test that moves it by hand moves the sessions too.
pub(crate) fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
