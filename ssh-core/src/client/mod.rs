//! The client's side: from a stream to an authenticated [`Session`].

mod config;
mod login;
pub(crate) mod reconnect;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use config::{
    Config, ConfigBuilder, Credential, HostKeyVerifier, NeedsHostKeyVerifier, PasswordPrompt, Ready, danger,
};

pub use reconnect::{ConnectError, Reconnect};

use crate::config::Common;
use crate::driver::{Driver, Supervisor, now};
use crate::error::Error;
use crate::protocol::Engine;
use crate::session::Session;
use config::ReconnectMode;
use reconnect::AutoReconnect;

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
    let mut limits = config.limits.clone();
    let (offer, supervisor) = match &config.reconnect {
        ReconnectMode::Never => (None, None),
        ReconnectMode::Manual(offer) => (Some(offer.clone()), None),
        ReconnectMode::Auto(policy) => {
            limits.keepalive = policy.dead_peer_after.checked_div(3);
            limits.keepalive_misses = 2;
            let supervisor = AutoReconnect { policy: policy.clone(), provider: config.provider };
            (Some(policy.offer.clone()), Some(Arc::new(supervisor) as Arc<dyn Supervisor>))
        }
    };
    let common = Common { algorithms: config.algorithms.clone(), limits, provider: config.provider };
    let (mut engine, inbound) = Engine::client(common, config.user.to_string(), now())?;
    if let Some(offer) = offer {
        engine.offer_reconnect(offer)?;
    }
    let (driver, shared) = Driver::new(stream, engine, inbound, supervisor);
    Ok((login::run(shared, config), driver))
}
