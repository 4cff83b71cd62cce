//! What the application decides, and what the client is told of it and when.

use std::time::Instant;

use super::{Deciding, ServerAuth, ServerProgress, ServerState};
use crate::error::{Error, PeerMisbehaved};
use crate::protocol::auth::authenticated::Authenticated;
use crate::protocol::auth::{AuthAnswer, Method, Refusal, RefusedAttempt, ServerMethod};
use crate::protocol::messages::{
    OptionalText, UserAuthFailure, UserAuthPasswdChangeReq, UserAuthPkOk, UserAuthSuccess,
};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::NameList;

impl ServerAuth {
    /// The application's answer to what it was asked last.
    pub(crate) fn answer(
        &mut self,
        answer: AuthAnswer,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let ServerState::Deciding(deciding) = std::mem::replace(&mut self.state, ServerState::Idle) else {
            return Err(Error::Bug("an authentication answer without a question"));
        };
        match (deciding, answer) {
            (Deciding::Query { algorithm, key_blob }, AuthAnswer::Accept | AuthAnswer::Partial(_)) => {
                self.received = None;
                out.send(|buffer| UserAuthPkOk { algorithm: &algorithm, key: &key_blob }.encode(buffer))?;
                Ok(ServerProgress::Nothing)
            }
            (Deciding::Unverified(request), AuthAnswer::Accept | AuthAnswer::Partial(_)) => {
                if !request.verify(&self.common) {
                    return self.refuse("publickey", Refusal::Signature, false, now, out);
                }
                let key = request.key;
                Ok(self.ask(Deciding::Verified(key.clone()), ServerMethod::PublicKey(key), false))
            }
            (_, AuthAnswer::Accept) => {
                self.state = ServerState::Done;
                out.send(|buffer| UserAuthSuccess {}.encode(buffer))?;
                Ok(ServerProgress::Authenticated(Authenticated::by_server()))
            }
            (deciding, AuthAnswer::Partial(next)) => {
                self.received = None;
                if let Some(user) = &mut self.user {
                    user.succeeded.push(deciding.succeeded());
                    user.methods = next;
                }
                self.send_failure(true, out)?;
                Ok(ServerProgress::Nothing)
            }
            (deciding, AuthAnswer::Reject) => {
                let free = matches!(deciding, Deciding::Plain { is_first_none: true, .. });
                self.fail(free, false, now, out)?;
                Ok(ServerProgress::Nothing)
            }
            (_, AuthAnswer::Stop) => {
                self.fail(false, true, now, out)?;
                Ok(ServerProgress::Nothing)
            }
            (Deciding::Interactive(conversation), AuthAnswer::Prompt(prompts)) => {
                if conversation.rounds() >= self.common.limits.auth_rounds {
                    return self.refuse("keyboard-interactive", Refusal::Rounds, false, now, out);
                }
                match conversation.ask(&prompts, self.flags_last, out)? {
                    Some(asked) => {
                        self.received = None;
                        self.state = ServerState::Asked(asked);
                        Ok(ServerProgress::Nothing)
                    }
                    None => self.refuse("keyboard-interactive", Refusal::Misdecided, false, now, out),
                }
            }
            (Deciding::Plain { method: Method::Password, .. }, AuthAnswer::ChangePassword(prompt)) => {
                self.received = None;
                let (prompt, language) = (prompt.as_bytes(), OptionalText(b""));
                out.send(|buffer| UserAuthPasswdChangeReq { prompt, language }.encode(buffer))?;
                Ok(ServerProgress::Nothing)
            }
            (deciding, AuthAnswer::Prompt(_) | AuthAnswer::ChangePassword(_)) => {
                let method = deciding.succeeded().method.name();
                self.refuse(method, Refusal::Misdecided, false, now, out)
            }
        }
    }

    /// Refuses an attempt without asking the application.
    pub(super) fn refuse(
        &mut self,
        method: &str,
        reason: Refusal,
        free: bool,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        self.fail(free, false, now, out)?;
        let user = self.user.as_ref().map(|user| user.name.clone()).unwrap_or_default();
        Ok(ServerProgress::Refused(RefusedAttempt { user, method: method.to_owned(), reason }))
    }

    /// Fails an attempt. Everybody starts with `none` to learn the methods, so the first of those is free of delay and
    /// of count.
    fn fail(&mut self, free: bool, last: bool, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        let received = self.received.take().unwrap_or(now);
        if free {
            return self.send_failure(false, out);
        }
        self.failures = self.failures.saturating_add(1);
        let last = last || self.failures >= self.common.limits.auth_attempts;
        self.state = ServerState::Delaying { until: self.failure_time(received, now), last };
        Ok(())
    }

    /// The next multiple of the delay after the request came. A decision that took less than the delay cannot be told
    /// from one that took no time.
    fn failure_time(&self, received: Instant, now: Instant) -> Instant {
        let delay = self.common.limits.auth_failure_delay;
        let taken = now.saturating_duration_since(received);
        let Some(whole) = taken.as_nanos().checked_div(delay.as_nanos()) else { return now };
        let delays = u32::try_from(whole.saturating_add(1)).unwrap_or(u32::MAX);
        delay.checked_mul(delays).and_then(|wait| received.checked_add(wait)).unwrap_or(now).max(now)
    }

    /// Sends a delayed failure whose time has come.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        let ServerState::Delaying { until, last } = self.state else { return Ok(()) };
        if now < until {
            return Ok(());
        }
        self.state = ServerState::Idle;
        self.send_failure(false, out)?;
        if last {
            return Err(PeerMisbehaved::TooManyAuthAttempts.into());
        }
        Ok(())
    }

    pub(super) fn send_failure(&self, partial_success: bool, out: &mut Outbound) -> Result<(), Error> {
        let methods = self.user.iter().flat_map(|user| &user.methods);
        // RFC 4252 §5.2: `none` is not to be listed.
        let methods: Vec<_> =
            methods.filter(|method| **method != Method::None).map(|method| method.name()).collect();
        let methods = methods.join(",");
        let methods = NameList::parse(methods.as_bytes())?;
        out.send(|buffer| UserAuthFailure { methods, partial_success }.encode(buffer))
    }
}
