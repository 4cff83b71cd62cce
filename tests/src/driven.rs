//! Two sessions over a stream in memory, moved by the driver. On a runtime whose clock is paused they are as repeatable
//! as a pair of engines.

use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use ssh_core::Session;
use ssh_core::channel::Channel;
use ssh_core::client::{self, Credential, danger::AcceptAnyHostKey};
use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{CryptoProvider, default_provider};
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{self, DetachedSessions, danger::AcceptEverybody};
use ssh_core::session::{Incoming, ReconnectOffer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use crate::backend;

/// What both ends are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Both sides' algorithms.
    pub algorithms: Algorithms,
    /// The client's limits.
    pub client: Limits,
    /// The server's limits.
    pub server: Limits,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
    /// What the stream holds before its writer waits, in bytes.
    pub capacity: usize,
    /// The server's, if sessions are to outlive their streams.
    pub sessions: Option<DetachedSessions>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            algorithms: Algorithms::default().with_kex("curve25519-sha256").unwrap_or_default(),
            client: Limits::default(),
            server: Limits::default(),
            provider: backend::current(),
            capacity: 1 << 20,
            sessions: None,
        }
    }
}

impl Settings {
    /// A client that takes any host key and logs in with a password.
    ///
    /// # Panics
    /// If nothing can be offered.
    #[must_use]
    pub fn client_config(&self) -> Arc<client::Config> {
        let config = client::Config::builder("ada")
            .verify_host_key(AcceptAnyHostKey)
            .authenticate(Credential::password("secret"))
            .algorithms(self.algorithms.clone())
            .limits(self.client.clone())
            .provider(self.provider);
        let config = match &self.sessions {
            Some(_) => config.offer_reconnect(ReconnectOffer::default()),
            None => config,
        };
        config.build().expect("a client")
    }

    /// A server that takes everybody.
    ///
    /// # Panics
    /// If nothing can be offered.
    #[must_use]
    pub fn server_config(&self) -> Arc<server::Config> {
        static KEY: OnceLock<ssh_core::keys::PrivateKey> = OnceLock::new();
        let key = KEY.get_or_init(|| {
            default_provider().signatures.generate(KeyKind::Ed25519, 0).expect("a private key")
        });
        let key = SigningKey::new(key, self.provider).expect("a host key");
        let config = server::Config::builder(AcceptEverybody)
            .host_key(key)
            .algorithms(self.algorithms.clone())
            .limits(self.server.clone())
            .provider(self.provider);
        let config = match &self.sessions {
            Some(sessions) => config.detached_sessions(sessions.clone()),
            None => config,
        };
        config.build().expect("a server")
    }

    /// A stream in memory.
    #[must_use]
    pub fn stream(&self) -> (DuplexStream, DuplexStream) {
        tokio::io::duplex(self.capacity)
    }
}

/// A client's and a server's session, logged in, over a stream in memory.
pub async fn pair(settings: &Settings) -> (Session, Session) {
    let (a, b) = settings.stream();
    over(settings, a, b).await
}

/// The same over these two ends of a stream.
///
/// # Panics
/// If the login fails.
pub async fn over<A, B>(settings: &Settings, client_end: A, server_end: B) -> (Session, Session)
where
    A: AsyncRead + AsyncWrite + Send + 'static,
    B: AsyncRead + AsyncWrite + Send + 'static,
{
    let (client, server) = tokio::join!(
        client::connect(client_end, settings.client_config()),
        server::accept(server_end, settings.server_config())
    );
    (client.expect("a client's session"), server.expect("a server's session"))
}

/// A channel that `opener` opens and `accepter` accepts: both ends of it.
///
/// # Panics
/// If it cannot be opened.
pub async fn channel(opener: &Session, accepter: &Session) -> (Channel, Channel) {
    let accepted = async {
        match accepter.incoming().next().await {
            Some(Incoming::Channel(offer)) => offer.accept().expect("an accepted channel"),
            other => panic!("expected a channel, not {other:?}"),
        }
    };
    let (opened, accepted) = tokio::join!(opener.open_channel("session"), accepted);
    (opened.expect("an open channel"), accepted)
}
