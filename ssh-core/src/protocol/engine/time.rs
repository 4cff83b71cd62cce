//! Deadlines, and keepalives: whether the peer is still there.

use std::time::Instant;

use super::reconnect::{LinkEvent, Stream};
use super::{Auth, Engine};
use crate::error::{Error, ReconnectFailure, Timeout};
use crate::protocol::auth::{Authenticated, ServerProgress};
use crate::protocol::connection::KEEPALIVE;
use crate::trace::tell;

/// A message that means nothing to anybody (RFC 4251 §7).
const UNASSIGNED: u8 = 191;

/// How long the peer has been silent, and what it did when it was asked for a sign of life.
#[derive(Debug)]
pub(super) struct KeepAlive {
    last_heard: Instant,
    /// Asked for in a row without an answer.
    unanswered: u32,
    /// Answered in a row.
    answered: u32,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> Self {
        Self { last_heard: now, unanswered: 0, answered: 0 }
    }

    /// The stream takes much of what is sent: that stands for one sign of life that was asked for.
    pub(super) fn on_stream_moving(&mut self, now: Instant) {
        if self.unanswered > 0 {
            self.last_heard = now;
            self.unanswered = self.unanswered.saturating_sub(1);
        }
    }
}

/// Time.
impl Engine {
    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        if let Stream::Detached(detached) = &self.stream {
            return detached.until;
        }
        let auth = match &self.auth {
            Auth::Server(auth) => auth.deadline(),
            Auth::Client(_) | Auth::Claim(_) | Auth::Done(_) => None,
        };
        let kex = &self.transport.kex;
        let rekey = self.transport.rekey.deadline().filter(|_| self.may_rekey());
        let put_off = self.exchange_put_off_until();
        [self.login_deadline, kex.deadline(), rekey, put_off, auth, self.keepalive_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The session is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        self.on_timeout(now).map_err(|error| self.fail(error, now))
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if let Stream::Detached(detached) = &self.stream {
            let expired = Error::Reconnect(ReconnectFailure::Expired);
            return if passed(detached.until) { Err(expired) } else { Ok(()) };
        }
        if passed(self.login_deadline) {
            return Err(Error::Timeout(Timeout::Login));
        }
        if passed(self.transport.kex.deadline()) {
            return Err(Error::Timeout(Timeout::KeyExchange));
        }
        self.resume_exchange(now)?;
        if let Auth::Server(auth) = &mut self.auth {
            auth.on_timeout(now, &mut self.transport.out)?;
            self.on_server_auth(ServerProgress::Nothing, now)?;
        }
        if let Auth::Done(proof) = self.auth
            && passed(self.keepalive_deadline())
        {
            // Nothing has come for long.
            self.connection.shrink();
            if self.keepalive.unanswered >= self.keepalive_rule().1 {
                self.link_events.push_back(LinkEvent::KeepAliveFailed(self.keepalive.unanswered));
                return Err(Error::Timeout(Timeout::KeepAlive));
            }
            if self.keepalive.unanswered > 0 {
                let misses = self.keepalive.unanswered;
                self.keepalive.answered = 0;
                self.link_events.push_back(LinkEvent::KeepAliveFailed(misses));
                tell!(KeepAliveResponseNotReceived, misses, "no answer to a keepalive");
            }
            self.keepalive.unanswered = self.keepalive.unanswered.saturating_add(1);
            self.allow_for_lateness(now);
            if let Some(log) = &mut self.transport.out.log {
                log.shrink();
            }
            self.ask_for_a_word(proof, now).inspect_err(|error| {
                tell!(KeepAliveFailed, %error, "no keepalive sent");
            })?;
        }
        self.maybe_rekey(now)
    }

    /// Makes the peer say something. Whatever it says will do: an answer takes its place among the others and is dropped.
    pub(super) fn ask_for_a_word(&mut self, proof: Authenticated, now: Instant) -> Result<(), Error> {
        if let Some(number) = self.ask(proof, now)? {
            self.connection.abandon_global_reply(number);
        }
        Ok(())
    }

    /// The same for somebody who waits: the number of the answer among the global ones, if there will be one. A [Go
    /// peer](Self::peer_is_dev_tunnels_go) may have given it to another question, so there any word has to do.
    ///
    /// # Errors
    /// The session is over, or has not begun.
    pub fn ask_whether_alive(&mut self, now: Instant) -> Result<Option<u64>, Error> {
        let proof = self.authenticated()?;
        let asked = self.ask(proof, now);
        self.fatal(asked)
    }

    /// By a keepalive, if that leaves no doubt which question its answer is for; the number of that.
    fn ask(&mut self, proof: Authenticated, now: Instant) -> Result<Option<u64>, Error> {
        let out = &mut self.transport.out;
        if self.transport.kex.peer_is_dev_tunnels_go() && self.connection.awaits_global_reply() {
            // A Go peer answers keepalives at once, but what it passes on through a pipe when the far side has: the refusal of
            // the one would be taken for that of the other. What it does not know it calls unimplemented, which is a word too.
            return out.send(|buffer| buffer.push(UNASSIGNED)).map(|()| None);
        }
        self.connection.global_request(proof, KEEPALIVE, true, &[], now, out)
    }

    /// Who was stopped, or whose clock has jumped, asks late. What the peer may have said meanwhile has not been read, so it
    /// gets its time to answer from now on.
    fn allow_for_lateness(&mut self, now: Instant) {
        let Some(silence) = self.keepalive_rule().0 else { return };
        let asked_after = silence.saturating_mul(self.keepalive.unanswered);
        if let Some(on_time) = now.checked_sub(asked_after) {
            self.keepalive.last_heard = self.keepalive.last_heard.max(on_time);
        }
    }

    fn keepalive_deadline(&self) -> Option<Instant> {
        if !matches!(self.auth, Auth::Done(_)) {
            return None;
        }
        let silences = self.keepalive.unanswered.saturating_add(1);
        let silence = self.keepalive_rule().0?.saturating_mul(silences);
        self.keepalive.last_heard.checked_add(silence)
    }
}

impl Engine {
    pub(super) fn on_sign_of_life(&mut self, now: Instant) {
        let KeepAlive { unanswered, answered, .. } = self.keepalive;
        self.keepalive = KeepAlive { answered, ..KeepAlive::new(now) };
        // Anything that comes after a question is an answer.
        if unanswered > 0 {
            self.keepalive.answered = answered.saturating_add(1);
            self.link_events.push_back(LinkEvent::KeepAliveSucceeded(self.keepalive.answered));
        }
    }
}
