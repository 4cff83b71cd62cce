//! The engine's face of reconnecting: losing a stream, and being given another.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::{Auth, Engine, Event, KeepAlive};
use crate::crypto::HashAlgorithm;
use crate::error::{ApiMisuse, Error, PeerMisbehaved, ReconnectFailure};
use crate::keys::{HostKey, PublicKey};
use crate::protocol::connection::KEEPALIVE;
use crate::protocol::messages::{Ignore, RequestFailure, RequestSuccess, Rest};
use crate::protocol::reconnect::handshake::{Answer, put_failure, read_failure};
use crate::protocol::reconnect::replay_log::{CountError, ReplayLog};
use crate::protocol::reconnect::trailer::Trailer;
use crate::protocol::reconnect::{
    Extensions, Latency, Position, ReconnectOffer, ReconnectRequest, SessionIndex, is_counted,
};
use crate::protocol::transport::acks::{LastWord, held_for};
use crate::protocol::{Inbound, Role};
use crate::trace::TraceEvent;

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

/// A client's connection that is to carry an older session.
pub(super) struct Claim {
    session_id: Zeroizing<Vec<u8>>,
    host_key: PublicKey,
    position: Position,
    index: Option<SessionIndex>,
    state: ClaimState,
}

#[derive(Debug)]
enum ClaimState {
    /// The first key exchange is not over.
    Unsaid,
    /// The server has been asked.
    Said,
    /// The server has proved that it has the session.
    Answered(Position),
}

/// Session ids stay out of logs.
impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("state", &self.state).finish_non_exhaustive()
    }
}

/// What comes while it is decided whose connection this is.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// A server's: what the client asked.
    request: Option<ReconnectRequest>,
    packets: Vec<(BytesMut, u32)>,
    bytes: usize,
}

/// With this much waiting, in bytes, nothing more is read.
const WAITING_PAUSE: usize = 256 * 1024;
/// A driver that reads on nevertheless is stopped here, in bytes. A read is at most 1 MiB.
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// Requests on one connection that prove nothing, before it ends.
const MAX_WRONG_TOKENS: u32 = 3;

impl Waiting {
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WAITING_PAUSE
    }
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
            let event = TraceEvent::SessionReconnectInitFailed.id();
            tracing::debug!(event, "there are no keys to prove anything with");
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
        tracing::debug!(event = TraceEvent::SessionDisconnected.id(), %cause, "the stream was lost");
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
        // Data writers may fill the log.
        self.connection.on_room(&self.transport.out);
        self.link_events.push_back(LinkEvent::Lost(cause));
    }

    // ---- Being given another: the client --------------------------------------------------------------

    /// Client: a connection that is to carry this session. It is driven over the new stream like any other until it
    /// [is ready](Self::is_claim_answered) for [`resume`](Self::resume), or has ended.
    ///
    /// # Errors
    /// [`ReconnectFailure::NotResumable`] if the session has a stream, is over, or cannot be resumed.
    pub fn reconnect(&self, now: Instant) -> Result<(Self, Inbound), Error> {
        let not_resumable = Error::Reconnect(ReconnectFailure::NotResumable);
        let (Some(resumption), Stream::Detached(_), true) =
            (&self.resumption, &self.stream, self.is_resumable())
        else {
            return Err(self.ended.clone().unwrap_or(not_resumable));
        };
        let kex = &self.transport.kex;
        let (Some(session_id), Some(host_key)) = (kex.session_id(), kex.host_key()) else {
            return Err(not_resumable);
        };
        let claim = Claim {
            session_id: Zeroizing::new(session_id.to_vec()),
            host_key: host_key.clone(),
            position: self.position(resumption),
            index: resumption.agreed.count.then(|| self.index(session_id)),
            state: ClaimState::Unsaid,
        };
        let common = (*self.common).clone();
        let (mut attempt, inbound) =
            Self::new(Role::Client, common, std::sync::Arc::new([]), now, |_| Auth::Claim(Box::new(claim)))?;
        attempt.offer_reconnect(resumption.offer.clone())?;
        attempt.transport.out.log = None;
        Ok((attempt, inbound))
    }

    /// Client, on a connection from [`reconnect`](Self::reconnect): the server has proved that it has the session.
    #[must_use]
    pub fn is_claim_answered(&self) -> bool {
        matches!(&self.auth, Auth::Claim(claim) if matches!(claim.state, ClaimState::Answered(_)))
    }

    /// Client: the session goes on over the connection of `attempt`, which is then of no more use.
    ///
    /// # Errors
    /// [`ReconnectFailure::ClientDroppedMessages`] if the server misses what is no longer there; the session stays as it is.
    pub fn resume(&mut self, attempt: &mut Self, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Auth::Claim(claim) = &attempt.auth else {
            return Err(Error::Reconnect(ReconnectFailure::NotResumable));
        };
        let (ClaimState::Answered(theirs), Stream::Detached(_)) = (&claim.state, &self.stream) else {
            return Err(Error::Reconnect(ReconnectFailure::NotResumable));
        };
        let theirs = *theirs;
        self.check_position(&theirs)?
            .map_err(|()| Error::Reconnect(ReconnectFailure::ClientDroppedMessages))?;
        self.adopt(attempt, &theirs, now);
        Ok(())
    }

    /// Client: `attempt` failed with `error`. Whether, and with what, that is the end of the session: a peer that does not
    /// count messages over all connections cannot be asked again once it may have taken an attempt for done.
    #[must_use]
    pub fn is_end_of_attempts(&self, attempt: &Self, error: &Error) -> Option<Error> {
        let counts = self.resumption.as_ref().is_some_and(|resumption| resumption.agreed.count);
        let said = matches!(&attempt.auth, Auth::Claim(claim) if !matches!(claim.state, ClaimState::Unsaid));
        match error {
            Error::Timeout(_) | Error::Io(_) | Error::Disconnected { .. } if !said || counts => None,
            Error::Timeout(_) | Error::Io(_) | Error::Disconnected { .. } => {
                Some(Error::Reconnect(ReconnectFailure::Unanswered))
            }
            other => Some(other.clone()),
        }
    }

    pub(super) fn on_host_key(&mut self, key: HostKey) -> Result<(), Error> {
        match &self.auth {
            Auth::Claim(claim) if claim.host_key == key.key => Ok(()),
            Auth::Claim(_) => Err(Error::Reconnect(ReconnectFailure::DifferentHostKey)),
            _ => {
                self.events.push_back(Event::HostKey(key));
                Ok(())
            }
        }
    }

    /// The first key exchange is over: asks for the session. It does not wait for the server's EXT_INFO.
    pub(super) fn claim(&mut self) -> Result<(), Error> {
        let Auth::Claim(claim) = &mut self.auth else { return Ok(()) };
        let keys = self.transport.kex.token_keys();
        let keys = keys.ok_or(Error::Reconnect(ReconnectFailure::UnknownClient))?;
        let request = ReconnectRequest {
            token: keys.client_token(&claim.session_id)?,
            position: claim.position,
            index: claim.index,
        };
        claim.state = ClaimState::Said;
        self.transport.out.send(|out| request.encode(out))
    }

    /// The first answer on such a connection is the server's: nothing else was asked.
    pub(super) fn is_claim_answer(&self, number: u8) -> bool {
        matches!(&self.auth, Auth::Claim(claim) if matches!(claim.state, ClaimState::Said))
            && matches!(number, RequestSuccess::NUMBER | RequestFailure::NUMBER)
    }

    pub(super) fn on_claim_answer(&mut self, payload: &[u8]) -> Result<(), Error> {
        let Auth::Claim(claim) = &mut self.auth else { return Ok(()) };
        if payload.first() == Some(&RequestFailure::NUMBER) {
            return Err(Error::Reconnect(read_failure(payload)));
        }
        let answer = Answer::decode(payload)?;
        let keys = self.transport.kex.token_keys();
        let proved = keys.is_some_and(|keys| keys.verify_server(&claim.session_id, &answer.token));
        if !proved {
            return Err(Error::Reconnect(ReconnectFailure::InvalidServerToken));
        }
        if claim.position.count.is_some() != answer.position.count.is_some() {
            return Err(Error::Reconnect(ReconnectFailure::UnknownServer));
        }
        claim.state = ClaimState::Answered(answer.position);
        // From its answer on the server derives keys with the session's id.
        let session_id = claim.session_id.clone();
        self.transport.kex.adopt_session_id(session_id);
        self.login_deadline = None;
        self.waiting = Some(Box::default());
        Ok(())
    }

    // ---- Being given another: the server ---------------------------------------------------------------

    pub(super) fn on_resume_request(&mut self, payload: &[u8]) -> Result<(), Error> {
        let request = ReconnectRequest::decode(payload)?;
        let request = request.ok_or(Error::Bug("a request changed its name"))?;
        // A session that has been logged in is its own, and nobody else's.
        if self.role == Role::Client || !matches!(self.auth, Auth::Server(_)) {
            return self.send_refusal(ReconnectFailure::SessionNotFound);
        }
        self.events.push_back(Event::ResumeRequested(request.index));
        self.waiting = Some(Box::new(Waiting { request: Some(request), ..Waiting::default() }));
        Ok(())
    }

    /// Server: whether the waiting request proves to come from the client of the session with this id.
    pub(crate) fn claims(&self, session_id: &[u8]) -> bool {
        let request = self.waiting.as_ref().and_then(|waiting| waiting.request.as_ref());
        let keys = self.transport.kex.token_keys();
        request.zip(keys).is_some_and(|(request, keys)| keys.verify_client(session_id, &request.token))
    }

    /// Server: where this session is found by an Adit client, and its id, once it may be resumed. The id is a secret.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "the driver calls it"))]
    pub(crate) fn resume_key(&self) -> Option<(SessionIndex, Zeroizing<Vec<u8>>)> {
        let session_id = self.transport.kex.session_id().filter(|_| self.is_resumable())?;
        Some((self.index(session_id), Zeroizing::new(session_id.to_vec())))
    }

    /// Server: gives this session the stream of `connection`, whose client has asked for it. If the session still has
    /// one, nothing more may be read from that.
    ///
    /// # Errors
    /// Why not; nothing has changed then, and `connection` has to be [told](Self::refuse_resume).
    pub fn hand_over(&mut self, connection: &mut Self, now: Instant) -> Result<(), ReconnectFailure> {
        let session_id = self.transport.kex.session_id().filter(|_| self.is_resumable());
        let session_id = session_id.ok_or(ReconnectFailure::SessionNotFound)?;
        if !connection.claims(session_id) {
            return Err(ReconnectFailure::InvalidClientToken);
        }
        let waiting = connection.waiting.as_ref().and_then(|waiting| waiting.request.as_ref());
        let theirs = waiting.ok_or(ReconnectFailure::UnknownServer)?.position;
        let keys = connection.transport.kex.token_keys().ok_or(ReconnectFailure::UnknownServer)?;
        let token = keys.server_token(session_id).map_err(|_| ReconnectFailure::UnknownServer)?;
        let possible = self.check_position(&theirs).ok().and_then(Result::ok);
        possible.filter(|()| !self.is_ambiguous(&theirs)).ok_or(ReconnectFailure::ServerDroppedMessages)?;
        if matches!(self.stream, Stream::Attached) {
            self.detach(Error::Reconnect(ReconnectFailure::HandedOver), now);
        }
        let resumption = self.resumption.as_ref().ok_or(ReconnectFailure::UnknownServer)?;
        // Nothing is read from the old stream any more, so this is its last word.
        let answer = Answer { token, position: self.position(resumption) };
        let out = &mut connection.transport.out;
        let last_answer = LastAnswer { number: out.next_number(), sequence: theirs.sequence };
        out.send(|buffer| answer.encode(buffer)).map_err(|_| ReconnectFailure::UnknownServer)?;
        self.adopt(connection, &theirs, now);
        if let Some(resumption) = &mut self.resumption {
            resumption.last_answer = Some(last_answer);
        }
        Ok(())
    }

    /// Server: the session that the client of this connection asked for cannot be had. The connection goes on as any
    /// other.
    ///
    /// # Errors
    /// The connection is over.
    pub fn refuse_resume(&mut self, failure: ReconnectFailure, now: Instant) -> Result<(), Error> {
        self.alive()?;
        self.refuse(failure, now).map_err(|error| self.end(error))
    }

    fn refuse(&mut self, failure: ReconnectFailure, now: Instant) -> Result<(), Error> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        tracing::debug!(event = TraceEvent::ServerSessionReconnectFailed.id(), %failure, "a session was not resumed");
        if failure.code() != ReconnectFailure::ServerDroppedMessages.code()
            && let Some(resumption) = &mut self.resumption
        {
            resumption.wrong_tokens = resumption.wrong_tokens.saturating_add(1);
            if resumption.wrong_tokens >= MAX_WRONG_TOKENS {
                return Err(PeerMisbehaved::ReconnectGuessing.into());
            }
        }
        self.send_refusal(failure)?;
        self.route_waiting(*waiting, now)
    }

    fn send_refusal(&mut self, failure: ReconnectFailure) -> Result<(), Error> {
        self.transport.out.send(|out| put_failure(failure, out))
    }

    /// A client that does not count messages, and that may not have had the answer to its last reconnect, may mean either
    /// connection's numbers. Then it is better to end than to guess.
    fn is_ambiguous(&self, theirs: &Position) -> bool {
        let Some(resumption) = &self.resumption else { return true };
        let Some(last) = resumption.last_answer.filter(|_| !resumption.agreed.count) else { return false };
        theirs.sequence < last.number
            || (theirs.sequence == last.sequence && !self.transport.out.acks.is_acknowledged(last.number))
    }

    // ---- Both -------------------------------------------------------------------------------------------

    fn index(&self, session_id: &[u8]) -> SessionIndex {
        let parts: [&[u8]; 2] = [b"adit session index", session_id];
        let digest = self.common.provider.hashes.digest(HashAlgorithm::Sha256, &parts);
        digest.first_chunk().copied().unwrap_or_default()
    }

    fn position(&self, resumption: &Resumption) -> Position {
        Position {
            sequence: self.transport.out.acks.last_received(),
            count: resumption.agreed.count.then_some(resumption.received),
        }
    }

    /// Whether what the peer has not received is still there. `Ok(Err(()))` if not, `Err` if its position cannot be.
    fn check_position(&self, theirs: &Position) -> Result<Result<(), ()>, Error> {
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
    fn adopt(&mut self, connection: &mut Self, theirs: &Position, now: Instant) {
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
        let super::Transport { kex, out, .. } = &mut self.transport;
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
        tracing::debug!(event = event.id(), "the session has a stream again");

        let waiting = connection.waiting.take().unwrap_or_default();
        connection.ended = Some(Error::Reconnect(ReconnectFailure::HandedOver));
        let resumed = self.transport.out.pump().and_then(|()| self.route_waiting(*waiting, now));
        if let Err(error) = resumed {
            self.fail(error, now);
            return;
        }
        self.connection.on_room(&self.transport.out);
    }

    /// Keeps a packet until it is known whose it is.
    pub(super) fn wait(&mut self, payload: BytesMut, sequence: u32) -> Result<(), Error> {
        if self.role == Role::Server {
            // The limits of a connection that has not logged in hold.
            self.check_allowed(Ignore::NUMBER)?;
        }
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        waiting.bytes = waiting.bytes.saturating_add(payload.len()).saturating_add(size_of::<BytesMut>());
        if waiting.bytes > MAX_WAITING {
            return Err(PeerMisbehaved::OutputNotRead.into());
        }
        waiting.packets.push((payload, sequence));
        Ok(())
    }

    fn route_waiting(&mut self, waiting: Waiting, now: Instant) -> Result<(), Error> {
        let mut packets = waiting.packets.into_iter();
        for (payload, sequence) in packets.by_ref() {
            self.route(payload, sequence, false, now)?;
            if let Some(again) = &mut self.waiting {
                // The client asked once more.
                again.packets.extend(packets);
                return Ok(());
            }
        }
        Ok(())
    }

    // ---- Extensions, acknowledgements -------------------------------------------------------------------

    /// What our EXT_INFO lists: nothing that could not be kept.
    pub(super) fn our_extensions(&self) -> Extensions {
        let offer = self.resumption.as_ref().map(|resumption| &resumption.offer);
        Extensions::offered(offer.filter(|_| self.transport.kex.token_keys().is_some()))
    }

    pub(super) fn on_extensions(&mut self, theirs: Extensions) -> Result<(), Error> {
        // The first one counts: the trailer cannot change its form.
        if self.transport.extensions.is_some() || matches!(self.auth, Auth::Done(_)) {
            return Ok(());
        }
        // Nothing is agreed that we did not list.
        self.transport.extensions = Some(theirs.and(self.our_extensions()));
        let both = self.shared_extensions();
        let Some(resumption) = self.resumption.as_mut().filter(|_| both.reconnect) else { return Ok(()) };
        resumption.agreed = both;
        self.transport.out.enable_trailer(both.trailer()).inspect_err(|error| {
            let event = TraceEvent::SessionReconnectInitFailed.id();
            tracing::debug!(event, %error, "reconnecting was not switched on");
        })
    }

    /// The peer's payloads end in a trailer from now on. Go peers say so twice.
    pub(super) fn on_enable(&mut self) -> Result<(), Error> {
        if self.transport.incoming.is_none() {
            self.transport.incoming = Some(self.shared_extensions().trailer());
            if self.is_reconnect_enabled() {
                self.link_events.push_back(LinkEvent::Enabled);
            }
        }
        self.ask_how_far()
    }

    /// What both sides list on this connection.
    fn shared_extensions(&self) -> Extensions {
        let offer = self.resumption.as_ref().map(|resumption| &resumption.offer);
        Extensions::offered(offer).and(self.transport.extensions.unwrap_or_default())
    }

    /// The login is over: from now on the session can be resumed, or never.
    pub(super) fn settle_resumption(&mut self) {
        self.transport.kex.drop_token_keys();
        if self.resumption.as_ref().is_none_or(|resumption| !resumption.agreed.reconnect) {
            self.resumption = None;
            self.transport.out.log = None;
        }
    }

    pub(super) fn count_received(&mut self, payload: &[u8]) {
        if let Some(resumption) = &mut self.resumption
            && is_counted(payload)
        {
            resumption.received = resumption.received.saturating_add(1);
        }
    }

    pub(super) fn on_trailer(&mut self, trailer: &Trailer, now: Instant) -> Result<(), Error> {
        let out = &mut self.transport.out;
        let Some(number) = out.acks.on_trailer(trailer)? else { return Ok(()) };
        let Some(log) = &mut out.log else { return Ok(()) };
        let sent_at = log.acknowledge(number);
        if let Some((sent_at, held)) = sent_at.zip(held_for(trailer))
            && let Some(resumption) = &mut self.resumption
        {
            let round_trip = resumption.latency.add(sent_at, held, now);
            self.connection.add_round_trip(round_trip);
        }
        if self.connection.has_parked() && out.data_room() > 0 {
            self.connection.on_room(out);
        }
        self.ask_how_far()
    }

    /// Asks for an acknowledgement where the log fills up: the answer to a keepalive is one, from every peer.
    pub(super) fn ask_how_far(&mut self) -> Result<(), Error> {
        let out = &mut self.transport.out;
        let Some(log) = &out.log else { return Ok(()) };
        if !log.wants_acknowledgement() {
            return Ok(());
        }
        let Auth::Done(proof) = self.auth else { return Ok(()) };
        let possible = matches!(self.stream, Stream::Attached)
            && self.transport.incoming.is_some()
            && self.ended.is_none();
        if !possible || log.has_unsent() || !out.acks.ask() {
            return Ok(());
        }
        let now = self.connection.now();
        let number = self.connection.global_request(proof, KEEPALIVE, true, &[], now, out)?;
        if let Some(number) = number {
            self.connection.abandon_global_reply(number);
        }
        Ok(())
    }

    /// Tells a peer that has sent much, and heard nothing, how far we are.
    pub(super) fn say_how_far(&mut self) -> Result<(), Error> {
        let out = &mut self.transport.out;
        if out.acks.owes_word() && self.transport.kex.is_idle() && matches!(self.stream, Stream::Attached) {
            return out.send(|buffer| Ignore { data: Rest(&[]) }.encode(buffer));
        }
        Ok(())
    }
}
