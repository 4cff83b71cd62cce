//! The ways of logging in against real peers: several steps with sshd, the keys of a real ssh-agent, with asyncssh what
//! sshd cannot do without an account, and questions about keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod agent;
mod asyncssh;
mod queries;
mod sshd;

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{
    self, AuthChoice, AuthContext, AuthPolicy, Config, Credential, PolicyError, danger::AcceptAnyHostKey,
};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyPair, SigningKey};
use ssh_core::{Addresses, Error, Session};
use tests::endpoint::connect;
use tests::keys::KeyFile;
use tests::peers::{PASSWORD, USER};

fn signing_key(file: &KeyFile) -> Arc<SigningKey> {
    let pair = KeyPair::read_file(&file.path, None).unwrap();
    Arc::new(SigningKey::new(&pair.private, default_provider()).unwrap())
}

async fn log_in(port: u16, credentials: &[Credential]) -> Result<Session, Error> {
    log_in_as(USER, port, credentials).await
}

async fn log_in_as(user: &str, port: u16, credentials: &[Credential]) -> Result<Session, Error> {
    let mut config = Config::builder(user).verify_host_key(AcceptAnyHostKey);
    for credential in credentials {
        config = config.authenticate(credential.clone());
    }
    let stream = connect(port).await.unwrap();
    let addresses = Addresses::of(&stream);
    client::connect_from(stream, addresses, config.build()?).await
}

/// All orders of these.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        for mut order in permutations(&[&items[..at], &items[at + 1..]].concat()) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// A second factor on top of a key, and no server that is not known to do it.
#[derive(Debug)]
struct Organisation {
    key: Arc<SigningKey>,
    told: Arc<Mutex<Vec<Vec<String>>>>,
}

impl AuthPolicy for Organisation {
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        self.told.lock().unwrap().push(context.allowed.to_vec());
        let choice = if !context.connection.peer_version().contains("OpenSSH") {
            Err(Arc::new(std::io::Error::other("not one of ours")) as PolicyError)
        } else if context.partial_successes.is_empty() {
            Ok(AuthChoice::Try(Credential::Key(Arc::clone(&self.key))))
        } else {
            Ok(AuthChoice::Try(Credential::password(PASSWORD)))
        };
        std::future::ready(choice).boxed()
    }
}
