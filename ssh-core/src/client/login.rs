use std::sync::Arc;

use super::history::History;
use super::{AuthChoice, AuthContext, Config, Credential};
use crate::connection_info::ConnectionInfo;
use crate::driver::{EndIfDropped, Shared};
use crate::error::{AuthFailure, Error, SignError};
use crate::protocol::{AuthReply, ClientAuthRequest, Event, PeerVersion};
use crate::session::Session;

/// Goes through host key and authentication, one event after the other.
pub(super) async fn run(shared: Arc<Shared>, config: Arc<Config>) -> Result<Session, Error> {
    let guard = EndIfDropped::new(&shared);
    let history = History::new(&config.credentials);
    let mut login = Login { shared: &shared, config: &config, history, signing_error: None };
    let result = login.run().await;
    guard.disarm();
    match result {
        Ok(()) => Ok(Session::new(shared, Arc::clone(&config.user))),
        Err(error) => Err(shared.with(|engine| engine.end(error))),
    }
}

pub(super) struct Login<'a> {
    pub(super) shared: &'a Shared,
    pub(super) config: &'a Config,
    pub(super) history: History<'a>,
    /// The first key that the server would have taken and that did not sign.
    pub(super) signing_error: Option<SignError>,
}

impl Login<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.event().await? {
                Event::HostKey(shown) => {
                    self.unless_ended(self.config.verifier.verify(&shown)).await??;
                    let asks = self.config.asks_for_methods || !self.history.allow_all();
                    self.shared.with(|engine| {
                        if !asks {
                            engine.wait_for_service();
                        }
                        engine.accept_host_key()
                    })?;
                }
                Event::AuthReady => {
                    if self.history.allowed.is_empty() {
                        // It goes out with the service request.
                        self.begin("none", &ClientAuthRequest::None)?;
                        let reply = self.reply().await?;
                        if self.note("none", None, reply)? {
                            return self.authenticated().await;
                        }
                    }
                    self.authenticate().await?;
                    return self.authenticated().await;
                }
                Event::Authenticated => return Ok(()),
                _ => return Err(Error::Bug("an event out of order")),
            }
        }
    }

    /// After `none`: one attempt after the other, until one is the last that is needed.
    async fn authenticate(&mut self) -> Result<(), Error> {
        let connection = self.shared.with(|engine| engine.connection_info());
        let mut ask_policy = true;
        for _ in 0..MAX_ATTEMPTS {
            let Some(credential) = self.next(&connection, &mut ask_policy).await? else {
                return Err(Error::Auth(self.refusal()));
            };
            if self.attempt(credential).await? {
                return Ok(());
            }
        }
        Err(Error::Auth(AuthFailure::TooManyAttempts(MAX_ATTEMPTS)))
    }

    /// What to try now: the policy's choice, else the list's.
    async fn next(
        &mut self,
        connection: &ConnectionInfo,
        ask_policy: &mut bool,
    ) -> Result<Option<Credential>, Error> {
        if let Some(policy) = self.config.policy.as_deref().filter(|_| *ask_policy) {
            let context = AuthContext {
                connection,
                user: &self.config.user,
                allowed: &self.history.allowed,
                partial_successes: &self.history.partial_successes,
                failed: &self.history.failed,
                tried: &self.history.tried,
            };
            match self.unless_ended(policy.choose(context)).await?.map_err(Error::Policy)? {
                AuthChoice::Try(credential) => return Ok(Some(credential)),
                AuthChoice::Defer => {}
                AuthChoice::DeferForGood => *ask_policy = false,
            }
        }
        Ok(self.history.next_of_list())
    }

    fn refusal(&mut self) -> AuthFailure {
        match self.signing_error.take() {
            Some(error) => AuthFailure::Signing(error),
            None => AuthFailure::Refused {
                tried: std::mem::take(&mut self.history.tried),
                accepts: std::mem::take(&mut self.history.allowed),
            },
        }
    }

    /// Sends the first message of an attempt.
    pub(super) fn begin(
        &mut self,
        method: &'static str,
        request: &ClientAuthRequest<'_>,
    ) -> Result<(), Error> {
        if self.history.tried.len() > MAX_ATTEMPTS as usize {
            return Err(Error::Auth(AuthFailure::TooManyAttempts(MAX_ATTEMPTS)));
        }
        tracing::debug!(method, "trying to authenticate");
        self.history.tried.push(method);
        self.request(request)
    }

    pub(super) fn request(&self, request: &ClientAuthRequest<'_>) -> Result<(), Error> {
        self.shared.with(|engine| engine.auth_request(request))
    }

    /// Takes down how an attempt ended; whether it was the last that was needed. `key` is the one it was made with.
    pub(super) fn note(
        &mut self,
        method: &'static str,
        key: Option<&[u8]>,
        reply: AuthReply,
    ) -> Result<bool, Error> {
        match reply {
            AuthReply::Success => return Ok(true),
            AuthReply::Failure { methods, partial_success: true } => {
                self.history.partial(method, key, methods);
            }
            AuthReply::Failure { methods, partial_success: false } => {
                self.history.refused(method, key, methods);
                if self.shared.with(|engine| engine.peer_version().is_some_and(PeerVersion::is_dev_tunnels)) {
                    self.history.mistrust_list();
                }
            }
            AuthReply::PkOk | AuthReply::ChangePassword { .. } | AuthReply::InfoRequest(_) => {
                return Err(Error::Bug("an answer that the attempt does not have"));
            }
        }
        Ok(false)
    }

    /// Waits for the answer to an attempt.
    pub(super) async fn reply(&self) -> Result<AuthReply, Error> {
        match self.event().await? {
            Event::AuthReply(reply) => Ok(reply),
            _ => Err(Error::Bug("an event out of order")),
        }
    }

    async fn authenticated(&self) -> Result<(), Error> {
        match self.event().await? {
            Event::Authenticated => Ok(()),
            _ => Err(Error::Bug("an event out of order")),
        }
    }

    /// The next event that is not a banner.
    async fn event(&self) -> Result<Event, Error> {
        loop {
            match self.shared.login_event().await? {
                Event::Banner(text) => {
                    if let Some(show) = &self.config.banner {
                        (show.0)(&text);
                    }
                }
                event => return Ok(event),
            }
        }
    }

    /// Nobody should be asked anything for a session that has gone.
    pub(super) async fn unless_ended<T>(&self, answer: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            answer = answer => Ok(answer),
            error = self.shared.ended() => Err(error),
        }
    }
}

/// More attempts than any server allows, and an end to a policy that never stops.
const MAX_ATTEMPTS: u32 = 64;
