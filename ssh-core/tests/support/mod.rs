//! Two sessions over an in-memory stream.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod raw;

use std::sync::Arc;

use ssh_core::config::{Algorithms, Extensions, Limits};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::DetachedSessions;
use ssh_core::{Session, client, server};

/// How both sides are configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sides {
    pub(crate) algorithms: Algorithms,
    pub(crate) limits: Limits,
    pub(crate) client_extensions: Extensions,
    pub(crate) server_extensions: Extensions,
}

/// A client's session and a server's.
pub(crate) async fn sessions(sides: &Sides) -> (Session, Session) {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let accepted = tokio::spawn(server::accept(far, server_config(sides)));
    let client = client::connect(near, client_config(sides)).await.unwrap();
    (client, accepted.await.unwrap().unwrap())
}

pub(crate) fn server_config(sides: &Sides) -> Arc<server::Config> {
    let provider = default_provider();
    let key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap();
    server::Config::builder(server::danger::AcceptEverybody)
        .host_key(key)
        .algorithms(sides.algorithms.clone())
        .limits(sides.limits.clone())
        .extensions(sides.server_extensions.clone())
        .build()
        .unwrap()
}

pub(crate) fn client_config(sides: &Sides) -> Arc<client::Config> {
    client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .algorithms(sides.algorithms.clone())
        .limits(sides.limits.clone())
        .extensions(sides.client_extensions.clone())
        .build()
        .unwrap()
}

/// Two configurations of one server, of which neither knows the sessions of the other, and a client's; sessions between them
/// can come back.
pub(crate) fn resumable() -> ([Arc<server::Config>; 2], Arc<client::Config>) {
    let provider = default_provider();
    let key = provider.signatures.generate(KeyKind::Ed25519, 0).unwrap();
    let servers = [(); 2].map(|()| {
        server::Config::builder(server::danger::AcceptEverybody)
            .host_key(SigningKey::new(&key, provider).unwrap())
            .detached_sessions(DetachedSessions::default())
            .build()
            .unwrap()
    });
    let client = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .offer_reconnect(Default::default())
        .build()
        .unwrap();
    (servers, client)
}
