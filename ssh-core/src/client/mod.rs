//! The client's side: from a stream to an authenticated [`Session`].

mod config;
mod login;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use config::{
    Config, ConfigBuilder, Credential, HostKeyVerifier, NeedsHostKeyVerifier, PasswordPrompt, Ready, danger,
};

use crate::config::Common;
use crate::driver::{Driver, now};
use crate::error::Error;
use crate::protocol::Engine;
use crate::session::Session;

/// Sets up a session over `stream` and spawns the two tasks that move its bytes.
///
/// # Errors
/// Whatever ended the session before it was authenticated.
///
/// # Cancel safety
/// A dropped future ends the session.
pub async fn connect<S>(stream: S, config: Arc<Config>) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (login, driver) = connect_with_driver(stream, config)?;
    driver.spawn();
    login.await
}

/// As [`connect`], for those who run the [`Driver`] themselves. The future needs it running.
///
/// # Errors
/// If the algorithms leave nothing to offer, or there is no randomness.
pub fn connect_with_driver<S>(
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
    let (engine, inbound) = Engine::client(common, config.user.to_string(), now())?;
    let (driver, shared) = Driver::new(stream, engine, inbound);
    Ok((login::run(shared, config), driver))
}
