//! The server's login through the public API: one handler decides, over real sessions in memory.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod handler;
mod orders;
mod stores;
mod timing;

use std::fmt;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use ssh_core::client::{self, Credential, danger::AcceptAnyHostKey};
use ssh_core::config::Limits;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{
    self, AuthAttempt, AuthDecision, AuthOffer, AuthRecord, AuthStart, Authenticator, Method,
};
use ssh_core::{Addresses, Error, Session};

fn key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

type Begin = dyn Fn(AuthStart<'_>) -> AuthOffer + Send + Sync;
type Decide = dyn for<'a> Fn(AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> + Send + Sync;

/// An authenticator made of closures, which notes what became of each attempt.
#[derive(Clone)]
struct Handler {
    begin: Arc<Begin>,
    decide: Arc<Decide>,
    records: Arc<Mutex<Vec<String>>>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

impl Handler {
    fn new(
        methods: &[Method],
        decide: impl for<'a> Fn(AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> + Send + Sync + 'static,
    ) -> Self {
        let methods = methods.to_vec();
        Self {
            begin: Arc::new(move |_| AuthOffer::methods(methods.clone())),
            decide: Arc::new(decide),
            records: Arc::default(),
        }
    }

    /// One that needs no time.
    fn at_once(
        methods: &[Method],
        decide: impl Fn(AuthAttempt<'_>) -> AuthDecision + Send + Sync + 'static,
    ) -> Self {
        Self::new(methods, move |attempt| Box::pin(std::future::ready(decide(attempt))))
    }

    fn records(&self) -> Vec<String> {
        self.records.lock().unwrap().clone()
    }
}

impl Authenticator for Handler {
    fn begin<'a>(&'a self, start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        Box::pin(std::future::ready((self.begin)(start)))
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        (self.decide)(attempt)
    }

    fn decided(&self, record: &AuthRecord<'_>) {
        let query = if record.is_query { "?" } else { "" };
        let line = format!("{} {}{query} {}", record.user, record.method, record.outcome);
        self.records.lock().unwrap().push(line);
    }
}

/// A client that tries these.
fn client(credentials: Vec<Credential>) -> client::ConfigBuilder<client::Ready> {
    let config = client::Config::builder("ada").verify_host_key(AcceptAnyHostKey);
    credentials.into_iter().fold(config, client::ConfigBuilder::authenticate)
}

fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.auth_failure_delay = std::time::Duration::from_millis(2);
    limits
}

fn server(handler: &Handler, limits: Limits) -> server::ConfigBuilder {
    server::Config::builder(handler.clone()).host_key(key()).limits(limits)
}

type Ends = (Result<Session, Error>, Result<Session, Error>);

/// Both ends of a login: client, server.
async fn log_in(client: client::ConfigBuilder<client::Ready>, server: server::ConfigBuilder) -> Ends {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (here, there) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:22".parse().unwrap());
    tokio::join!(
        client::connect(near, client.build().unwrap()),
        server::accept_from(far, Addresses { local: Some(there), peer: Some(here) }, server.build().unwrap())
    )
}
