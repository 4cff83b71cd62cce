//! A server's part of a reconnect: whether a client may have the session that it asks for.

use std::time::Instant;

use zeroize::Zeroizing;

use super::{LastAnswer, Stream, Waiting};
use crate::error::{Error, PeerMisbehaved, ReconnectFailure};
use crate::protocol::Role;
use crate::protocol::engine::{Auth, Engine, Event};
use crate::protocol::reconnect::handshake::{Answer, put_failure};
use crate::protocol::reconnect::{Position, ReconnectRequest, SessionIndex};
use crate::trace::tell;

/// Requests on one connection that prove nothing, before it ends.
const MAX_WRONG_TOKENS: u32 = 3;

/// Being given another stream: the server.
impl Engine {
    pub(in crate::protocol::engine) fn on_resume_request(&mut self, payload: &[u8]) -> Result<(), Error> {
        let request = ReconnectRequest::decode(payload)?;
        let request = request.ok_or(Error::Bug("a request changed its name"))?;
        // A session that has been logged in is its own, and nobody else's.
        if self.role == Role::Client || !matches!(self.auth, Auth::Server(_)) {
            return self.send_refusal(ReconnectFailure::SessionNotFound);
        }
        self.events.push_back(Event::ResumeRequested(request.index));
        self.waiting = Some(Box::new(Waiting::on_request(request)));
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
        // It may have been lost while somebody thought about the request; and the answer has to be the next thing said.
        if connection.ended.is_some() || !connection.transport.kex.is_idle() {
            return Err(ReconnectFailure::UnknownServer);
        }
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
        tell!(ServerSessionReconnectFailed, %failure, "a session was not resumed");
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
}
