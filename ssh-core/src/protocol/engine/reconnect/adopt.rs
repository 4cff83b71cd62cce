//! What both sides do to give a session another stream: compare positions, and exchange the transports.

use std::time::Instant;

use zeroize::Zeroizing;

use super::{LinkEvent, Resumption, Stream};
use crate::crypto::HashAlgorithm;
use crate::error::{Error, PeerMisbehaved, ReconnectFailure};
use crate::protocol::Role;
use crate::protocol::engine::Engine;
use crate::protocol::engine::time::KeepAlive;
use crate::protocol::reconnect::replay_log::CountError;
use crate::protocol::reconnect::{Position, SessionIndex};
use crate::protocol::transport::acks::LastWord;
use crate::trace::{TraceEvent, tell_any};

impl Engine {
    pub(super) fn index(&self, session_id: &[u8]) -> SessionIndex {
        let parts: [&[u8]; 2] = [b"adit session index", session_id];
        let digest = self.common.provider.hashes.digest(HashAlgorithm::Sha256, &parts);
        digest.first_chunk().copied().unwrap_or_default()
    }

    pub(super) fn position(&self, resumption: &Resumption) -> Position {
        Position {
            sequence: self.transport.out.acks.last_received(),
            count: resumption.agreed.count.then_some(resumption.received),
        }
    }

    /// Whether what the peer has not received is still there. `Ok(Err(()))` if not, `Err` if its position cannot be.
    pub(super) fn check_position(&self, theirs: &Position) -> Result<Result<(), ()>, Error> {
        let out = &self.transport.out;
        let counts = self.resumption.as_ref().is_some_and(|resumption| resumption.agreed.count);
        if counts {
            let (Some(count), Some(log)) = (theirs.count, &out.log) else { return Ok(Err(())) };
            return match log.check_count(count) {
                Ok(()) => Ok(Ok(())),
                Err(CountError::Dropped) => Ok(Err(())),
                Err(CountError::Misbehaved(rule)) => Err(rule.into()),
            };
        }
        match out.acks.check_last_word(theirs.sequence) {
            Ok(()) => Ok(Ok(())),
            Err(LastWord::TakenBack) => Ok(Err(())),
            Err(LastWord::Future) => Err(PeerMisbehaved::AckOfTheFuture.into()),
        }
    }

    /// Takes the transport of `connection`, and sends on it what the peer has not received.
    pub(super) fn adopt(&mut self, connection: &mut Self, theirs: &Position, now: Instant) {
        let earlier = self.metrics();
        std::mem::swap(&mut self.transport, &mut connection.transport);
        self.earlier = earlier;
        let old = &mut connection.transport;
        let session_id = old.kex.session_id().map(|id| Zeroizing::new(id.to_vec()));
        let mut log = old.out.log.take();
        if let Some(log) = &mut log {
            match theirs.count {
                Some(count) => log.trim_to_count(count),
                None => drop(log.acknowledge(theirs.sequence)),
            }
            log.unsend();
        }
        let crate::protocol::engine::Transport { kex, out, .. } = &mut self.transport;
        if let Some(session_id) = session_id {
            kex.adopt_session_id(session_id);
        }
        kex.drop_token_keys();
        out.log = log;
        self.next_opener = connection.next_opener.take();
        self.stream = Stream::Attached;
        self.generation = self.generation.saturating_add(1);
        self.keepalive = KeepAlive::new(now);
        if let Some(resumption) = &mut self.resumption {
            resumption.reconnections = resumption.reconnections.saturating_add(1);
        }
        self.link_events.push_back(LinkEvent::Resumed);
        let event = match self.role {
            Role::Client => TraceEvent::ClientSessionReconnecting,
            Role::Server => TraceEvent::ServerSessionReconnecting,
        };
        tell_any!(event, "the session has a stream again");

        let waiting = connection.waiting.take().unwrap_or_default();
        connection.ended = Some(Error::Reconnect(ReconnectFailure::HandedOver));
        let resumed = self.transport.out.pump().and_then(|()| self.route_waiting(*waiting, now));
        if let Err(error) = resumed {
            self.fail(error, now);
            return;
        }
        self.connection.on_room(&self.transport.out);
    }
}
