//! The engine's face of reconnecting: what is agreed, and losing a stream. The modules bring another.

mod acknowledge;
mod adopt;
mod client;
mod server;
mod waiting;

use std::time::{Duration, Instant};

use super::{Auth, Engine};
use crate::error::{ApiMisuse, Error};
use crate::protocol::Role;
use crate::protocol::reconnect::replay_log::ReplayLog;
use crate::protocol::reconnect::{Extensions, Latency, ReconnectOffer};
use crate::trace::tell;

pub(in crate::protocol::engine) use client::Claim;
pub(in crate::protocol::engine) use waiting::Waiting;

/// Whether there is a stream.
#[derive(Debug)]
pub(super) enum Stream {
    Attached,
    Detached(Detached),
}

#[derive(Debug)]
pub(super) struct Detached {
    /// Why the stream was lost.
    pub(super) cause: Error,
    /// When the session is given up.
    pub(super) until: Option<Instant>,
}

/// What a session has that may outlive its stream.
#[derive(Debug)]
pub(super) struct Resumption {
    offer: ReconnectOffer,
    /// What both sides listed when the session began.
    agreed: Extensions,
    /// Messages of the session that came, over all of its connections.
    received: u64,
    latency: Latency,
    reconnections: u32,
    /// A client's: a server that has been silent for this long is taken for dead.
    dead_peer_after: Option<Duration>,
    /// A server's: requests on this connection that proved nothing.
    wrong_tokens: u32,
    /// A server's: what it last answered a reconnect with.
    last_answer: Option<LastAnswer>,
}

/// The answer to a reconnect, for a peer whose protocol cannot tell whether it came.
#[derive(Debug, Clone, Copy)]
struct LastAnswer {
    /// Its packet number on the connection that it began.
    number: u64,
    /// The client's position that it answered.
    sequence: u64,
}

/// What became of a session's stream.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LinkEvent {
    /// It was lost; the session waits for another.
    Lost(Error),
    /// From now on the session survives the loss of its stream.
    Enabled,
    /// The session has a stream again, and sends what was lost.
    Resumed,
    /// The peer gave a sign of life when asked for one, for so many times in a row.
    KeepAliveSucceeded(u32),
    /// The peer gave none, for so many times in a row.
    KeepAliveFailed(u32),
}

/// Reconnecting (`session-reconnect@microsoft.com`).
impl Engine {
    /// Offers the peer to reconnect. To be called before anything is received. Should the peer not offer it too, it is
    /// as if this side had not.
    ///
    /// # Errors
    /// [`ApiMisuse::ReconnectWithoutKeys`] without any security.
    pub fn offer_reconnect(&mut self, offer: ReconnectOffer) -> Result<(), Error> {
        if self.common.algorithms.is_insecure() {
            tell!(SessionReconnectInitFailed, "there are no keys to prove anything with");
            return Err(Error::ApiMisuse(ApiMisuse::ReconnectWithoutKeys));
        }
        self.transport.kex.keep_token_keys();
        self.transport.out.log = Some(Box::new(ReplayLog::new(offer.window)));
        self.resumption = Some(Box::new(Resumption {
            offer,
            agreed: Extensions::default(),
            received: 0,
            latency: Latency::default(),
            reconnections: 0,
            dead_peer_after: None,
            wrong_tokens: 0,
            last_answer: None,
        }));
        Ok(())
    }

    /// Takes a peer that has been silent for this long for dead, should the session turn out to be one that can be
    /// resumed: it is asked for a sign of life after one and two thirds. The keepalives of the limits hold otherwise.
    pub fn set_dead_peer_after(&mut self, silence: Duration) {
        if let Some(resumption) = &mut self.resumption {
            resumption.dead_peer_after = Some(silence);
        }
    }

    /// After which silence the peer is asked for a sign of life, and how many may stay unanswered.
    pub(super) fn keepalive_rule(&self) -> (Option<Duration>, u32) {
        match self.resumption.as_ref().and_then(|resumption| resumption.dead_peer_after) {
            Some(silence) => (silence.checked_div(3), 2),
            None => (self.common.limits.keepalive, self.common.limits.keepalive_misses),
        }
    }

    /// Whether the session would survive the loss of its stream.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        let agreed = self.resumption.as_ref().is_some_and(|resumption| resumption.agreed.reconnect);
        agreed && self.ended.is_none() && matches!(self.auth, Auth::Done(_))
    }

    /// Whether both directions carry acknowledgements: what is lost from now on is certain to be sent again.
    #[must_use]
    pub fn is_reconnect_enabled(&self) -> bool {
        self.is_resumable() && self.transport.incoming.is_some()
    }

    /// The stream has gone; why, if so.
    #[must_use]
    pub fn detached(&self) -> Option<&Error> {
        match &self.stream {
            Stream::Detached(detached) => Some(&detached.cause),
            Stream::Attached => None,
        }
    }

    /// Round trips, if `session-latency@microsoft.com` is in use.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let resumption = self.resumption.as_ref()?;
        resumption.agreed.latency.then_some(resumption.latency)
    }

    /// How often the session has been resumed.
    #[must_use]
    pub fn reconnections(&self) -> u32 {
        self.resumption.as_ref().map_or(0, |resumption| resumption.reconnections)
    }

    /// What is kept for the peer, in bytes: now, and at most so far.
    #[must_use]
    pub fn replay_bytes(&self) -> (usize, usize) {
        self.transport.out.log.as_ref().map_or((0, 0), |log| (log.size(), log.most()))
    }

    /// What the session holds, in bytes: what is kept for the peer, and what has come and was not read.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.replay_bytes().0.saturating_add(self.connection.unread_bytes())
    }

    /// Changes whenever the stream is lost or replaced, so that what belongs to an older one can be told.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What became of the stream.
    pub fn poll_link_event(&mut self) -> Option<LinkEvent> {
        self.link_events.pop_front()
    }

    /// Whether [`set_now`](Self::set_now) is worth the look at a clock: packets tell the time.
    #[must_use]
    pub fn keeps_time(&self) -> bool {
        self.transport.out.acks.keeps_time()
    }

    /// The time at which what is sealed next is said to leave.
    pub fn set_now(&mut self, now: Instant) {
        self.transport.out.acks.now = Some(now);
    }

    // ---- Losing a stream ----------------------------------------------------------------------------

    /// The stream failed. A session that can be resumed waits for another, any other one ends.
    pub fn lose(&mut self, error: Error, now: Instant) -> Error {
        if let Some(first) = &self.ended {
            return first.clone();
        }
        if matches!(self.stream, Stream::Detached(_)) {
            return error;
        }
        self.fail(error, now)
    }

    /// What an error of the connection means for the session.
    pub(super) fn fail(&mut self, error: Error, now: Instant) -> Error {
        if self.is_resumable() && error.is_loss() && matches!(self.stream, Stream::Attached) {
            self.detach(error.clone(), now);
            return error;
        }
        self.end(error)
    }

    fn detach(&mut self, cause: Error, now: Instant) {
        tell!(SessionDisconnected, %cause, "the stream was lost");
        self.next_opener = None;
        let mut until = None;
        if let Some(resumption) = &mut self.resumption {
            resumption.latency.on_disconnect();
            let lifetime = Some(resumption.offer.lifetime).filter(|_| self.role == Role::Server);
            until = lifetime.and_then(|lifetime: Duration| now.checked_add(lifetime));
        }
        self.generation = self.generation.saturating_add(1);
        self.stream = Stream::Detached(Detached { cause: cause.clone(), until });
        if let Err(error) = self.transport.out.detach() {
            self.end(error);
            return;
        }
        // It may stay like this for minutes.
        self.connection.shrink();
        // Data writers may fill the log.
        self.connection.on_room(&self.transport.out);
        self.link_events.push_back(LinkEvent::Lost(cause));
    }
}

#[cfg(all(test, feature = "rustcrypto"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
