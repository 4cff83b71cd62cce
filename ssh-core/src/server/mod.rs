//! The server's side: from a stream to an authenticated [`Session`].
//!
//! [`accept`] needs a [`Config`] with host keys and an [`Authenticator`], which decides on every attempt of a client to log
//! in. Where users are kept somewhere, [`UserStore`] is less to write: `MemoryUsers` is one (feature `passwords`), and the example `user_stores`
//! has one each for a file, a program and a web service. Whoever knows wolfSSH's `UserAuthCb` finds each of its parts in
//! [`coming_from_wolfssh`].

mod authenticator;
#[doc = include_str!("coming_from_wolfssh.md")]
pub mod coming_from_wolfssh {}
mod config;
pub mod danger;
mod decision;
mod detached_sessions;
mod guesses;
mod login;
#[cfg(feature = "passwords")]
mod memory_users;
mod principal;
mod store;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use authenticator::{AuthAttempt, AuthMethod, AuthOffer, AuthStart, Authenticator};
pub use config::{Config, ConfigBuilder};
pub use decision::{AuthDecision, AuthOutcome, AuthRecord, RejectReason};
#[cfg(feature = "passwords")]
pub use memory_users::MemoryUsers;
pub use principal::{Permissions, Principal};
pub use store::{CannotCheck, StoreAuthenticator, StoredUser, UserStore};

pub use detached_sessions::{DetachedLimits, DetachedSessions, ResumeAttempt, ResumePolicy};

use crate::config::Common;
use crate::connection_info::Addresses;
use crate::driver::{Driver, EndIfDropped, Shared, now};
use crate::error::{Error, ReconnectFailure};
use crate::protocol::{Engine, SessionIndex};
pub use crate::protocol::{MAX_BANNER_LEN, Method, OfferedKey, Prompt, Prompts, Refusal, Secret, Succeeded};
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

/// As [`accept`], with the addresses that [`ConnectionInfo`](crate::ConnectionInfo) shall tell.
///
/// # Errors
/// As for [`accept`].
///
/// # Cancel safety
/// A dropped future ends the session.
pub async fn accept_from<S>(stream: S, addresses: Addresses, config: Arc<Config>) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (login, driver) = accept_from_with_driver(stream, addresses, config)?;
    driver.spawn();
    login.await
}

/// As [`accept`], for those who run the [`Driver`] themselves. The future needs it running.
///
/// # Errors
/// If the algorithms leave nothing to offer, or there is no randomness.
///
/// # Cancel safety
/// Dropping the future ends the session, as long as it is not done.
pub fn accept_with_driver<S>(
    stream: S,
    config: Arc<Config>,
) -> Result<(impl Future<Output = Result<Session, Error>> + Send, Driver), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    accept_from_with_driver(stream, Addresses::default(), config)
}

/// As [`accept_with_driver`], with the addresses that [`ConnectionInfo`](crate::ConnectionInfo) shall tell.
///
/// # Errors
/// As for [`accept_with_driver`].
pub fn accept_from_with_driver<S>(
    stream: S,
    addresses: Addresses,
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
    let (mut engine, inbound) = Engine::server(common, Arc::clone(&config.host_keys), &[], now())?;
    engine.ask_auth_methods();
    engine.set_addresses(addresses);
    if let Some(sessions) = &config.detached_sessions {
        engine.offer_reconnect(sessions.offer())?;
    }
    let (driver, shared) = Driver::new(stream, engine, inbound, None);
    Ok((log_in(shared, config), driver))
}

async fn log_in(shared: Arc<Shared>, config: Arc<Config>) -> Result<Session, Error> {
    let guard = EndIfDropped::new(&shared);
    let decided = login::decide(&shared, &config).await;
    guard.disarm();
    match decided {
        Ok((user, principal)) => {
            if let Some(sessions) = &config.detached_sessions {
                sessions.add(&shared, &user, principal.as_ref());
            }
            Ok(Session::of_principal(shared, user, principal))
        }
        Err(error) => Err(shared.with(|engine| engine.end(error))),
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
