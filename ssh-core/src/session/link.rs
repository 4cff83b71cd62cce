//! What becomes of the stream under a session.

use std::sync::Arc;

use super::Session;
use crate::error::Error;
use crate::protocol::Latency;

/// What became of a session's stream, or of the peer behind it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// It was lost; the session and its channels wait for another.
    Disconnected(Error),
    /// Another is tried for, after this time.
    Reconnecting {
        /// From 1 since the last one was lost.
        attempt: u32,
        /// The time until then.
        after: std::time::Duration,
    },
    /// There is another, and everything goes on.
    Reconnected,
    /// The peer was silent, was asked for a sign of life and gave one.
    KeepAliveSucceeded {
        /// How often in a row, from 1.
        count: u32,
    },
    /// The peer was asked for a sign of life and gave none in time.
    KeepAliveFailed {
        /// How often in a row, from 1.
        count: u32,
    },
}

/// Losing the stream and getting another.
impl Session {
    /// What becomes of the session's stream from now on, and how the peer answers keepalives, as a `Stream` that ends with
    /// the session. A listener that falls behind misses the oldest.
    pub fn events(&self) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
        let events = self.inner.shared.subscribe();
        let ended = Arc::clone(&self.inner.shared);
        let events = futures::stream::unfold((events, ended), |(mut events, ended)| async move {
            use tokio::sync::broadcast::error::RecvError;
            loop {
                let received = tokio::select! {
                    biased;
                    received = events.recv() => received,
                    _ = ended.ended() => return None,
                };
                match received {
                    Ok(event) => return Some((event, (events, ended))),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        // Whoever waits for several things at once asks again after the end.
        Box::pin(futures::StreamExt::fuse(events))
    }

    /// Client: resumes the session over `stream` after its own was lost. Needless where the configuration has a
    /// [`Reconnect`](crate::client::Reconnect).
    ///
    /// # Errors
    /// [`Error::Reconnect`] with [`NotResumable`](crate::error::ReconnectFailure::NotResumable) if the session has a stream, or cannot be
    /// resumed. With any other, and with whatever ended the new connection: why it failed. If that will not get
    /// better, the session is over.
    ///
    /// # Cancel safety
    /// The session stays as it is.
    pub async fn reconnect<S>(&self, stream: S) -> Result<(), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    {
        use crate::client::reconnect::{Attempt, resume};
        match resume(&self.inner.shared, Box::pin(stream)).await {
            Ok(()) => Ok(()),
            Err(Attempt::Failed(error)) => Err(error),
            Err(Attempt::Hopeless(error)) => Err(self.inner.shared.with(|engine| engine.end(error))),
        }
    }

    /// Why the session has no stream at the moment, if it has none.
    #[must_use]
    pub fn disconnected(&self) -> Option<Error> {
        self.inner.shared.with(|engine| engine.detached().cloned())
    }

    /// Whether the session outlives its stream: both sides have offered that, and told each other how far they are.
    #[must_use]
    pub fn is_reconnect_enabled(&self) -> bool {
        self.inner.shared.with(|engine| engine.is_reconnect_enabled())
    }

    /// Round trips, if the peer measures them too (`session-latency@microsoft.com`).
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.inner.shared.with(|engine| engine.latency())
    }

    /// How often the session has been resumed.
    #[must_use]
    pub fn reconnections(&self) -> u32 {
        self.inner.shared.with(|engine| engine.reconnections())
    }
}
