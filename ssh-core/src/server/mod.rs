//! The server's side: from a stream to an authenticated [`Session`].

mod config;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use config::{AuthAttempt, AuthDecision, AuthMethod, Authenticator, Config, ConfigBuilder, danger};

use crate::config::Common;
use crate::driver::{Driver, EndIfDropped, Shared, now};
use crate::error::Error;
use crate::protocol::{AuthAnswer, Engine, Event, ServerAttempt, ServerMethod};
use crate::session::Session;

/// Sets up a session over `stream`, decides on authentication, and spawns the two tasks that move the bytes.
///
/// # Errors
/// Whatever ended the session before it was authenticated.
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
        extensions: config.extensions.clone(),
        provider: config.provider,
    };
    let methods = config.authenticator.methods();
    let (engine, inbound) = Engine::server(common, Arc::clone(&config.host_keys), methods, now())?;
    let (driver, shared) = Driver::new(stream, engine, inbound);
    Ok((login(shared, config), driver))
}

async fn login(shared: Arc<Shared>, config: Arc<Config>) -> Result<Session, Error> {
    let guard = EndIfDropped::new(&shared);
    let decided = decide(&shared, &config).await;
    guard.disarm();
    match decided {
        Ok(user) => Ok(Session::new(shared, user)),
        Err(error) => Err(shared.with(|engine| engine.end(error))),
    }
}

/// Answers attempts until one is accepted; the user.
async fn decide(shared: &Shared, config: &Config) -> Result<Arc<str>, Error> {
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
            Event::Authenticated => return Ok(user),
            _ => return Err(Error::Bug("an event out of order")),
        }
    }
}
