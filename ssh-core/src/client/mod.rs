//! The client's side: from a stream to an authenticated [`Session`].

mod agent;
mod attempts;
mod config;
mod credential;
mod history;
mod identity;
mod known_host;
mod login;
mod policy;
pub(crate) mod reconnect;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use agent::Agent;
pub use config::{Config, ConfigBuilder, HostKeyVerifier, NeedsHostKeyVerifier, Ready, danger};
pub use credential::{Credential, HostBased, InfoRequest, KeyQuery, PasswordPrompt, Prompt, PromptResponder};
pub use identity::{AsyncSigner, Identity, KeySource};
pub use known_host::KnownHost;
pub use policy::{AuthChoice, AuthContext, AuthPolicy, PolicyError};

pub use reconnect::{ConnectError, Reconnect};

use crate::config::{Algorithms, Common};
use crate::connection_info::Addresses;
use crate::crypto::SignatureAlgorithm;
use crate::driver::{Driver, Supervisor, now};
use crate::error::Error;
use crate::keys::KeyKind;
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

/// As [`connect`], with the addresses that [`ConnectionInfo`](crate::ConnectionInfo) shall tell.
///
/// # Errors
/// As for [`connect`].
///
/// # Cancel safety
/// A dropped future ends the session.
pub async fn connect_from<S>(stream: S, addresses: Addresses, config: Arc<Config>) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (login, driver) = connect_from_with_driver(stream, addresses, config)?;
    driver.spawn();
    login.await
}

/// As [`connect`], for those who run the [`Driver`] themselves. The future needs it running.
///
/// # Errors
/// If the algorithms leave nothing to offer, or there is no randomness.
///
/// # Cancel safety
/// Dropping the future ends the session, as long as it is not done.
pub fn connect_with_driver<S>(
    stream: S,
    config: Arc<Config>,
) -> Result<(impl Future<Output = Result<Session, Error>> + Send, Driver), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    connect_from_with_driver(stream, Addresses::default(), config)
}

/// As [`connect_with_driver`], with the addresses that [`ConnectionInfo`](crate::ConnectionInfo) shall tell.
///
/// # Errors
/// As for [`connect_with_driver`].
pub fn connect_from_with_driver<S>(
    stream: S,
    addresses: Addresses,
    config: Arc<Config>,
) -> Result<(impl Future<Output = Result<Session, Error>> + Send, Driver), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (offer, supervisor) = match &config.reconnect {
        ReconnectMode::Never => (None, None),
        ReconnectMode::Manual(offer) => (Some(offer.clone()), None),
        ReconnectMode::Auto(policy) => {
            let supervisor = AutoReconnect { policy: policy.clone(), provider: config.provider };
            (Some(policy.offer.clone()), Some(Arc::new(supervisor) as Arc<dyn Supervisor>))
        }
    };
    let algorithms = config.algorithms.clone().with_host_certificates(config.verifier.takes_certificates());
    let common = Common {
        algorithms: with_known_first(algorithms, &config.verifier.known_kinds()),
        limits: config.limits.clone(),
        extensions: config.extensions.clone(),
        provider: config.provider,
    };
    let (mut engine, inbound) = Engine::client(common, config.user.to_string(), now())?;
    engine.set_addresses(addresses);
    if let Some(offer) = offer {
        engine.offer_reconnect(offer)?;
    }
    if let ReconnectMode::Auto(policy) = &config.reconnect {
        engine.set_dead_peer_after(policy.dead_peer_after);
    }
    let (driver, shared) = Driver::new(stream, engine, inbound, supervisor);
    Ok((login::run(shared, config), driver))
}

/// Asks for host keys of these kinds before others.
fn with_known_first(algorithms: Algorithms, kinds: &[KeyKind]) -> Algorithms {
    let is_known =
        |algorithm: &SignatureAlgorithm| kinds.iter().any(|kind| kind.algorithms().contains(algorithm));
    let (known, other): (Vec<_>, Vec<_>) = algorithms.host_keys().iter().copied().partition(is_known);
    algorithms.with_host_keys([known, other].concat())
}
