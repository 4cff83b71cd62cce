//! The server's side: from a stream to an authenticated [`Session`].

mod config;
mod detached_sessions;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use config::{AuthAttempt, AuthDecision, AuthMethod, Authenticator, Config, ConfigBuilder, danger};

pub use detached_sessions::{DetachedLimits, DetachedSessions, ResumePolicy};

use crate::config::Common;
use crate::driver::{Driver, EndIfDropped, Shared, now};
use crate::error::{Error, ReconnectFailure};
use crate::protocol::{AuthAnswer, Engine, Event, ServerAttempt, ServerMethod, SessionIndex};
use crate::session::Session;

/// Sets up a session over `stream`, decides on authentication, and spawns the two tasks that move the bytes.
///
/// # Errors
/// Whatever ended the session before it was authenticated. [`ReconnectFailure::HandedOver`] says that nothing went wrong:
/// the stream now carries an older session, whose own tasks move its bytes.
///
/// # Cancel safety
/// A dropped future ends the session.
pub async fn accept<S>(stream: S, config: Arc<Config>) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (login, driver) = accept_with_driver(stream, config)?;
    driver.spawn();
    login.await
}

/// As [`accept`], for those who run the [`Driver`] themselves. The future needs it running.
///
/// # Errors
/// If the algorithms leave nothing to offer, or there is no randomness.
pub fn accept_with_driver<S>(
    stream: S,
    config: Arc<Config>,
) -> Result<(impl Future<Output = Result<Session, Error>> + Send, Driver), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let common = Common {
        algorithms: config.algorithms.clone(),
        limits: config.limits.clone(),
        provider: config.provider,
    };
    let methods = config.authenticator.methods();
    let (mut engine, inbound) = Engine::server(common, Arc::clone(&config.host_keys), methods, now())?;
    if let Some(sessions) = &config.detached_sessions {
        engine.offer_reconnect(sessions.offer())?;
    }
    let (driver, shared) = Driver::new(stream, engine, inbound, None);
    Ok((login(shared, config), driver))
}

async fn login(shared: Arc<Shared>, config: Arc<Config>) -> Result<Session, Error> {
    let guard = EndIfDropped::new(&shared);
    let decided = decide(&shared, &config).await;
    guard.disarm();
    match decided {
        Ok(user) => {
            if let Some(sessions) = &config.detached_sessions {
                sessions.add(&shared, &user);
            }
            Ok(Session::new(shared, user))
        }
        Err(error) => Err(shared.with(|engine| engine.end(error))),
    }
}

/// Answers attempts until one is accepted; the user.
async fn decide(shared: &Arc<Shared>, config: &Config) -> Result<Arc<str>, Error> {
    let mut user: Arc<str> = "".into();
    loop {
        match shared.login_event().await? {
            Event::AuthAttempt(ServerAttempt { user: name, method }) => {
                let method = match &method {
                    ServerMethod::None => AuthMethod::None,
                    ServerMethod::Password(password) => AuthMethod::Password(password.expose()),
                    ServerMethod::PublicKeyQuery(key) => AuthMethod::PublicKeyQuery(key),
                    ServerMethod::PublicKey(key) => AuthMethod::PublicKey(key),
                };
                let is_query = matches!(method, AuthMethod::PublicKeyQuery(_));
                let decision = tokio::select! {
                    decision = config.authenticator.authenticate(AuthAttempt { user: &name, method }) => decision,
                    error = shared.ended() => return Err(error),
                };
                tracing::debug!(user = %crate::error::escape_text(name.as_bytes()), ?decision, is_query, "authentication");
                let answer = match decision {
                    AuthDecision::Accept => {
                        user = name.as_str().into();
                        AuthAnswer::Accept
                    }
                    AuthDecision::Reject => AuthAnswer::Reject,
                };
                shared.with(|engine| engine.auth_answer(answer, now()))?;
            }
            Event::ResumeRequested(index) => resume(shared, config, index).await?,
            Event::Authenticated => return Ok(user),
            _ => return Err(Error::Bug("an event out of order")),
        }
    }
}

/// The client wants an older session on this connection. Once it has it, the connection is over as such.
async fn resume(shared: &Arc<Shared>, config: &Config, index: Option<SessionIndex>) -> Result<(), Error> {
    let resumed = match &config.detached_sessions {
        Some(sessions) => tokio::select! {
            resumed = sessions.resume(shared, index) => resumed,
            error = shared.ended() => return Err(error),
        },
        None => Err(ReconnectFailure::SessionNotFound),
    };
    match resumed {
        Ok(()) => Err(Error::Reconnect(ReconnectFailure::HandedOver)),
        Err(failure) => shared.with(|engine| engine.refuse_resume(failure, now())),
    }
}
