//! A client's way back to its session: a connection that asks for it, and then carries it.

use std::time::Instant;

use zeroize::Zeroizing;

use super::Stream;
use crate::error::{Error, PeerIncompatible, ReconnectFailure};
use crate::keys::{HostKey, PublicKey};
use crate::protocol::engine::{Auth, Engine, Event};
use crate::protocol::messages::{RequestFailure, RequestSuccess};
use crate::protocol::reconnect::handshake::{Answer, read_failure};
use crate::protocol::reconnect::{Position, ReconnectRequest, SessionIndex};
use crate::protocol::{Inbound, Role};

/// A client's connection that is to carry an older session.
pub(in crate::protocol::engine) struct Claim {
    session_id: Zeroizing<Vec<u8>>,
    host_key: PublicKey,
    /// Whether the connection before had a strict key exchange.
    strict: bool,
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

/// Being given another stream: the client.
impl Engine {
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
            strict: kex.is_strict(),
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

    /// Client, on a connection from [`reconnect`](Self::reconnect): whether the server has been asked for the session, and
    /// so may have given it this connection.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        matches!(&self.auth, Auth::Claim(claim) if !matches!(claim.state, ClaimState::Unsaid))
    }

    /// Client: `attempt` failed with `error`. Whether, and with what, that is the end of the session: a peer that does not
    /// count messages over all connections cannot be asked again once it may have taken an attempt for done.
    #[must_use]
    pub fn is_end_of_attempts(&self, attempt: &Self, error: &Error) -> Option<Error> {
        let counts = self.resumption.as_ref().is_some_and(|resumption| resumption.agreed.count);
        let said = attempt.has_asked();
        match error {
            Error::Timeout(_) | Error::Io(_) | Error::Disconnected { .. } if !said || counts => None,
            // Anybody on the way could have said that.
            Error::PeerMisbehaved(_) | Error::PeerIncompatible(_) if !said => None,
            Error::Timeout(_) | Error::Io(_) | Error::Disconnected { .. } => {
                Some(Error::Reconnect(ReconnectFailure::Unanswered))
            }
            other => Some(other.clone()),
        }
    }

    pub(in crate::protocol::engine) fn on_host_key(&mut self, key: HostKey) -> Result<(), Error> {
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
    pub(in crate::protocol::engine) fn claim(&mut self) -> Result<(), Error> {
        let Auth::Claim(claim) = &mut self.auth else { return Ok(()) };
        // No less than before: nothing of the session is said on a connection that is worth less.
        if claim.strict && !self.transport.kex.is_strict() {
            return Err(PeerIncompatible::NoLongerStrict.into());
        }
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
    pub(in crate::protocol::engine) fn is_claim_answer(&self, number: u8) -> bool {
        matches!(&self.auth, Auth::Claim(claim) if matches!(claim.state, ClaimState::Said))
            && matches!(number, RequestSuccess::NUMBER | RequestFailure::NUMBER)
    }

    pub(in crate::protocol::engine) fn on_claim_answer(&mut self, payload: &[u8]) -> Result<(), Error> {
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
}
