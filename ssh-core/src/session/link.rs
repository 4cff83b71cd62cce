//! What becomes of the stream under a session.

use std::sync::Arc;
use std::time::Duration;

use super::Session;
use crate::driver::{Shared, now};
use crate::error::{Error, ReconnectFailure, Timeout};
use crate::progress::Progress;
use crate::protocol::{Engine, Latency};

/// What becomes of a session from now on, until it is over.
pub(crate) fn events_of(
    shared: &Arc<Shared>,
) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
    let (events, ended) = (shared.subscribe(), Arc::clone(shared));
    let events = futures::stream::unfold((events, ended), |(mut events, ended)| async move {
        use tokio::sync::broadcast::error::{RecvError, TryRecvError};
        loop {
            let received = tokio::select! {
                biased;
                received = events.recv() => received,
                // The last ones may have come since the look at them.
                () = ended.all_told() => match events.try_recv() {
                    Ok(event) => Ok(event),
                    Err(TryRecvError::Lagged(missed)) => Err(RecvError::Lagged(missed)),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
                },
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

/// What became of a session's stream, or of the peer behind it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The set-up of a connection came this far. Those of the first one are over before there is a [`Session`]: they are for
    /// whoever asked the [`Driver`](crate::Driver::events). A client that comes back tells those of each attempt.
    Progress(Progress),
    /// It was lost; the session and its channels wait for another.
    Disconnected(Error),
    /// Another is tried for, after this time.
    Reconnecting {
        /// From 1 since the last one was lost.
        attempt: u32,
        /// The time until then.
        after: Duration,
    },
    /// From now on the session outlives its stream: see [`Session::reconnect_enabled`].
    ReconnectEnabled,
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

/// Whether a peer is silent is looked at so often before it has been for too long.
const LOOKS: u32 = 8;

/// Losing the stream and getting another.
impl Session {
    /// What becomes of the session's stream from now on, and how the peer answers keepalives, as a `Stream` that ends with
    /// the session. A listener that falls behind misses the oldest.
    pub fn events(&self) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
        events_of(&self.inner.shared)
    }

    /// Client: resumes the session over `stream` after its own was lost. Needless where the configuration has a
    /// [`Reconnect`](crate::client::Reconnect).
    ///
    /// # Errors
    /// [`Error::Reconnect`] with [`NotResumable`](ReconnectFailure::NotResumable) if the session has a stream, cannot be
    /// resumed, or is being resumed by another call. With any other, and with whatever ended the new connection: why it failed. If that will not get
    /// better, the session is over.
    ///
    /// # Cancel safety
    /// A dropped future leaves the session without a stream, and another may be tried. Only if the server has been asked
    /// for the session, and is not Adit, is the session over with [`Unanswered`](ReconnectFailure::Unanswered): nobody
    /// could tell any more how far each side is.
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

    /// The way to the peer may be another by now: this machine has come to another network, or back from sleep. Whoever
    /// notices that ([`NetworkWatch`](crate::network::NetworkWatch) does) knows it before the keepalives do.
    ///
    /// The peer is asked for a sign of life. If no message comes from it for `patience`, the stream is lost as it is when
    /// keepalives fail: a session that can be resumed waits for another stream, any other is over. A client that has no
    /// stream and comes back by itself ([`Reconnect`](crate::client::Reconnect)) tries at once.
    ///
    /// # Errors
    /// The session's end, or [`Timeout::KeepAlive`] if the peer was silent.
    ///
    /// # Cancel safety
    /// A dropped future has asked the peer, and takes nothing for lost.
    pub async fn network_changed(&self, patience: Duration) -> Result<(), Error> {
        let shared = &self.inner.shared;
        let heard = |engine: &Engine| engine.metrics().messages_received;
        let asked = shared.with(|engine| {
            if engine.detached().is_some() {
                return Ok(None);
            }
            let (generation, before) = (engine.generation(), heard(engine));
            engine.ask_whether_alive(now()).map(|number| Some((generation, before, number)))
        })?;
        let Some((generation, mut before, number)) = asked else {
            shared.hurry();
            return Ok(());
        };
        let answer = number.map(|number| self.answer_to(number));
        let answer = async move {
            match answer {
                Some(answer) => answer.await.map(drop),
                None => Err(shared.ended().await),
            }
        };
        tokio::pin!(answer);
        let mut silent = 0;
        while silent < LOOKS {
            tokio::select! {
                answer = answer.as_mut() => return answer,
                // Somebody else was quicker to find out.
                () = shared.replaced(generation) => return Ok(()),
                () = tokio::time::sleep(patience / LOOKS) => {}
            }
            let (now, any_word_will_do) =
                shared.with(|engine| (heard(engine), engine.peer_is_dev_tunnels_go()));
            silent = match now == before {
                true => silent + 1,
                false if any_word_will_do => return Ok(()),
                // The answer may be far behind in what the peer has to say.
                false => 0,
            };
            before = now;
        }
        let silence = Error::Timeout(Timeout::KeepAlive);
        let lose =
            |engine: &mut Engine| (engine.generation() == generation).then(|| engine.lose(silence, now()));
        shared.with(lose).map_or(Ok(()), Err)
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

    /// Waits until the session outlives its stream, as [`is_reconnect_enabled`](Self::is_reconnect_enabled) tells.
    ///
    /// # Errors
    /// [`ReconnectFailure::NotResumable`] at once if one of the sides has not offered it, as it cannot without any security;
    /// the session's error once it is over.
    ///
    /// # Cancel safety
    /// Nothing happens to the session.
    pub async fn reconnect_enabled(&self) -> Result<(), Error> {
        let mut events = self.events();
        loop {
            let shared = &self.inner.shared;
            let (enabled, resumable) =
                shared.with(|engine| (engine.is_reconnect_enabled(), engine.is_resumable()));
            if enabled {
                return Ok(());
            }
            if !resumable {
                let never = Error::Reconnect(ReconnectFailure::NotResumable);
                return Err(shared.end_reason().unwrap_or(never));
            }
            let _ = futures::StreamExt::next(&mut events).await;
        }
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
