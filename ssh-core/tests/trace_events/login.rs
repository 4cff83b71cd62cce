//! Logins that are refused.

use std::time::Duration;

use futures::future::BoxFuture;
use ssh_core::config::Limits;
use ssh_core::error::HostKeyError;
use ssh_core::keys::HostKey;
use ssh_core::{client, server};

use super::support::{Sides, server_config};
use super::{E, has, listen, told};

#[derive(Debug)]
struct Nobody;

impl client::HostKeyVerifier for Nobody {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let error = HostKeyError { message: "not this one".into(), key: shown.key.clone() };
        Box::pin(async { Err(error) })
    }
}

impl server::Authenticator for Nobody {
    fn begin<'a>(&'a self, _: server::AuthStart<'a>) -> BoxFuture<'a, server::AuthOffer> {
        server::AuthOffer::ready([server::Method::None, server::Method::Password])
    }

    fn authenticate<'a>(&'a self, _: server::AuthAttempt<'a>) -> BoxFuture<'a, server::AuthDecision> {
        Box::pin(async { server::AuthDecision::Reject(server::RejectReason::InvalidUser) })
    }
}

#[tokio::test]
async fn a_refused_host_key_is_told() {
    listen();
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, server_config(&Sides::default())));
    let config = client::Config::builder("ada").verify_host_key(Nobody).build().unwrap();
    assert!(client::connect(near, config).await.is_err());
    told(E::ServerAuthenticationFailed).await;
}

async fn refused_login(attempts: u32) {
    listen();
    let mut limits = Limits::default();
    (limits.auth_attempts, limits.auth_failure_delay) = (attempts, Duration::ZERO);
    let provider = ssh_core::crypto::default_provider();
    let key = provider.signatures.generate(ssh_core::keys::KeyKind::Ed25519, 0).unwrap();
    let key = ssh_core::keys::SigningKey::new(&key, provider).unwrap();
    let config = server::Config::builder(Nobody).host_key(key).limits(limits).build().unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(server::accept(far, config));
    let client_config = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(client::Credential::password("wrong"))
        .build()
        .unwrap();
    assert!(client::connect(near, client_config).await.is_err());
    assert!(accepted.await.unwrap().is_err());
}

#[tokio::test]
async fn a_refused_client_is_told() {
    refused_login(5).await;
    told(E::ClientAuthenticationFailed).await;
    assert!(!has(E::AuthenticationError));
}

#[tokio::test]
async fn too_many_attempts_are_told() {
    refused_login(1).await;
    told(E::AuthenticationError).await;
}
