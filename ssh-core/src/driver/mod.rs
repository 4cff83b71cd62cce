//! The tokio half: two tasks move bytes, applications call straight into the engine.
//!
//! The engine is behind one lock, held to seal, to dispatch and to exchange buffers, and never across I/O or an await.
//! Opening takes no lock: [`Inbound`](crate::protocol::Inbound) belongs to the read loop.

mod read_loop;
mod shared;
mod stream;
mod wires;
mod write_loop;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use shared::{EndIfDropped, Keeper, Shared};
pub(crate) use stream::{BoxStream, split};
pub use wires::Wires;

use crate::protocol::{Engine, Inbound};
use crate::session::SessionEvent;

/// Finds a stream for a session that has lost its own.
pub(crate) trait Supervisor: Send + Sync {
    /// Tries until the session has a stream, or ends it.
    fn reconnect<'a>(&'a self, shared: &'a Arc<Shared>) -> futures::future::BoxFuture<'a, ()>;
}

/// Moves the bytes of one session, over one stream after the other if it can be resumed. It does nothing unless it is polled; it ends when the session is over.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver {
    reading: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    writing: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
    shared: Arc<Shared>,
}

impl Driver {
    pub(crate) fn new<S>(
        stream: S,
        engine: Engine,
        inbound: Inbound,
        supervisor: Option<Arc<dyn Supervisor>>,
    ) -> (Self, Arc<Shared>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared::new(engine));
        let (reader, writer) = split(Box::pin(stream), inbound, 0);
        let driver = Self {
            reading: Box::pin(read_loop::run(Arc::clone(&shared), reader, supervisor)),
            writing: Box::pin(write_loop::run(Arc::clone(&shared), writer)),
            shared: Arc::clone(&shared),
        };
        (driver, shared)
    }

    /// As [`Session::events`](crate::Session::events), before there is a session: asked before anything has been polled it
    /// tells every [`Progress`](crate::progress::Progress) from the first on.
    pub fn events(&self) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
        crate::session::events_of(&self.shared)
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
