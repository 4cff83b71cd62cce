//! From an engine to a principal: the application's decisions, each in its time.

use std::sync::Arc;
use std::time::Instant;

use super::decision::{AuthDecision, AuthOutcome, AuthRecord, Parts, RejectReason};
use super::{AuthAttempt, AuthMethod, AuthOffer, AuthStart, Config, Principal};
use crate::connection_info::ConnectionInfo;
use crate::driver::{Shared, now};
use crate::error::{Error, escape_text};
use crate::protocol::{Event, Method, ServerAttempt, ServerMethod};

/// Answers attempts until one is accepted: the user's name as the client sent it, and
/// whom the authenticator takes it for.
pub(super) async fn decide(
    shared: &Arc<Shared>,
    config: &Config,
) -> Result<(Arc<str>, Option<Principal>), Error> {
    let mut login = Login { shared, config, connection: None, greeted: false };
    // Without any security there is nobody to ask, and nobody comes in as anybody.
    let mut accepted: (Arc<str>, Option<Principal>) = ("".into(), None);
    loop {
        match shared.login_event().await? {
            Event::AuthBegin(user) => login.begin(&user).await?,
            Event::AuthAttempt(attempt) => {
                if let Some(principal) = login.attempt(&attempt).await? {
                    accepted = (attempt.user.as_str().into(), Some(principal));
                }
            }
            Event::AuthRefused(refused) => {
                let outcome = AuthOutcome::Rejected(RejectReason::Protocol(refused.reason));
                let connection = login.connection().clone();
                let (user, method) = (refused.user.as_str(), refused.method.as_str());
                Said { config, connection: &connection, user, method, is_query: refused.is_query }
                    .record(&outcome);
            }
            Event::ResumeRequested(index) => super::resume(shared, config, index).await?,
            Event::Authenticated => return Ok(accepted),
            _ => return Err(Error::Bug("an event out of order")),
        }
    }
}

struct Login<'a> {
    shared: &'a Shared,
    config: &'a Config,
    /// Known from the first event on.
    connection: Option<ConnectionInfo>,
    greeted: bool,
}

impl Login<'_> {
    async fn begin(&mut self, user: &str) -> Result<(), Error> {
        let connection = self.connection().clone();
        let deadline = self.deadline();
        let start = AuthStart { connection: &connection, user, service: SERVICE, deadline };
        let offer = self.in_time(deadline, self.config.authenticator.begin(start)).await?;
        let offer = offer.unwrap_or_else(|| {
            tracing::warn!(user = %escape_text(user.as_bytes()), "the methods of a user came too late");
            AuthOffer::default()
        });
        let common = self.config.banner.as_deref().filter(|_| !std::mem::replace(&mut self.greeted, true));
        self.shared.with(|engine| {
            for text in [common, offer.banner.as_deref()].into_iter().flatten() {
                engine.auth_banner(text)?;
            }
            engine.auth_begin(offer.methods, now())
        })
    }

    /// The principal of an attempt that lets the client in.
    async fn attempt(&mut self, attempt: &ServerAttempt) -> Result<Option<Principal>, Error> {
        let connection = self.connection().clone();
        let deadline = self.deadline();
        let put = AuthAttempt {
            connection: &connection,
            user: &attempt.user,
            service: SERVICE,
            succeeded: &attempt.succeeded,
            number: attempt.number,
            deadline,
            is_signed: attempt.is_signed,
            method: borrow(&attempt.method),
        };
        let is_query = matches!(attempt.method, ServerMethod::PublicKeyQuery(_));
        let method = attempt.method.method().name();
        let said =
            Said { config: self.config, connection: &connection, user: &attempt.user, method, is_query };
        let undecided = Undecided(Some(said));
        let decision = self.in_time(deadline, self.config.authenticator.authenticate(put)).await?;
        let decision = decision.unwrap_or(AuthDecision::Reject(RejectReason::CannotCheck));
        let Parts { banners, answer, principal, outcome, delay } = decision.into_parts();
        // Before the delay: to hang up while it lasts is no way to leave no trace.
        undecided.record(&outcome);
        if !delay.is_zero() {
            // The time to decide is over at the deadline, and the answer goes out then.
            self.in_time(deadline, tokio::time::sleep(delay)).await?;
        }
        self.shared.with(|engine| {
            for text in &banners {
                engine.auth_banner(text)?;
            }
            engine.auth_answer(answer, now())
        })?;
        Ok(principal.filter(|_| !is_query))
    }

    /// `None` if the application takes too long.
    async fn in_time<T>(
        &self,
        deadline: Instant,
        decision: impl Future<Output = T>,
    ) -> Result<Option<T>, Error> {
        tokio::select! {
            decided = tokio::time::timeout_at(deadline.into(), decision) => Ok(decided.ok()),
            error = self.shared.ended() => Err(error),
        }
    }

    fn deadline(&self) -> Instant {
        let now = now();
        now.checked_add(self.config.limits.auth_decision).unwrap_or(now)
    }

    fn connection(&mut self) -> &ConnectionInfo {
        self.connection.get_or_insert_with(|| self.shared.with(|engine| engine.connection_info()))
    }
}

/// What is decided on, for the logs.
struct Said<'a> {
    config: &'a Config,
    connection: &'a ConnectionInfo,
    user: &'a str,
    method: &'a str,
    is_query: bool,
}

impl Said<'_> {
    fn record(&self, outcome: &AuthOutcome) {
        let Self { config, connection, user, method, is_query } = *self;
        let shown = |text: &str| escape_text(text.as_bytes());
        let peer = connection.addresses.peer.map(tracing::field::display);
        match outcome {
            AuthOutcome::Rejected(_) | AuthOutcome::Stopped(_) if method != Method::None.name() => {
                tracing::info!(user = %shown(user), method = %shown(method), is_query, peer, %outcome, "authentication");
            }
            _ => {
                tracing::debug!(user = %shown(user), method = %shown(method), is_query, peer, %outcome, "authentication");
            }
        }
        config.authenticator.decided(&AuthRecord { connection, user, method, is_query, outcome });
    }
}

/// An attempt that the authenticator looks at. Where that is cut short, by the end of the connection or by whoever drops
/// the login, it is on record as abandoned.
struct Undecided<'a>(Option<Said<'a>>);

impl Undecided<'_> {
    fn record(mut self, outcome: &AuthOutcome) {
        if let Some(said) = self.0.take() {
            said.record(outcome);
        }
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        if let Some(said) = self.0.take() {
            said.record(&AuthOutcome::Rejected(RejectReason::Abandoned));
        }
    }
}

/// The only service that there is to reach.
const SERVICE: &str = "ssh-connection";

fn borrow(method: &ServerMethod) -> AuthMethod<'_> {
    match method {
        ServerMethod::None => AuthMethod::None,
        ServerMethod::Password(password) => AuthMethod::Password(password.expose()),
        ServerMethod::PasswordChange { old, new } => {
            AuthMethod::PasswordChange { old: old.expose(), new: new.expose() }
        }
        ServerMethod::PublicKeyQuery(key) => AuthMethod::PublicKeyQuery(key),
        ServerMethod::PublicKey(key) => AuthMethod::PublicKey(key),
        ServerMethod::KeyboardInteractive { submethods, rounds } => {
            AuthMethod::KeyboardInteractive { submethods, answers: rounds.last().map(Vec::as_slice), rounds }
        }
        ServerMethod::HostBased { key, host, user } => AuthMethod::HostBased { key, host, user },
    }
}
