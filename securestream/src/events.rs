use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::session::SessionEvent;

use crate::{Error, SecureStream};

/// What becomes of a [`SecureStream`] and the stream below it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StreamEvent {
    /// The stream below was lost. Reads and writes wait for another; nothing is closed.
    Disconnected(Error),
    /// Another is tried for, after this time. Only on a client whose configuration has a policy for that.
    Reconnecting {
        /// From 1 since the last one was lost.
        attempt: u32,
        /// The time until then.
        after: Duration,
    },
    /// There is another, and everything goes on.
    Reconnected,
    /// It is over, for this reason. The last event, once.
    Closed(Error),
}

impl SecureStream {
    /// What becomes of the stream from now on, to the [end](StreamEvent::Closed). It may be held longer than the stream
    /// itself, and does not keep it open. A listener that falls behind by more than 64 events of the
    /// session, of which these are a part, misses the oldest.
    pub fn events(&self) -> impl futures::Stream<Item = StreamEvent> + Send + Unpin + 'static {
        let events = self.session().events().filter_map(|event| std::future::ready(translate(event)));
        let session = self.session().clone();
        let closed = futures::stream::once(async move { StreamEvent::Closed(session.closed().await) });
        Box::pin(events.chain(closed))
    }
}

/// Events that were added later are none of a stream's.
fn translate(event: SessionEvent) -> Option<StreamEvent> {
    match event {
        SessionEvent::Disconnected(cause) => Some(StreamEvent::Disconnected(cause)),
        SessionEvent::Reconnecting { attempt, after } => Some(StreamEvent::Reconnecting { attempt, after }),
        SessionEvent::Reconnected => Some(StreamEvent::Reconnected),
        _ => None,
    }
}
