//! Our own client, which knows its host from a `known_hosts` file, and our own server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;

use ssh_core::Error;
use ssh_core::client::{self, KnownHost};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{
    Certificate, CertificateKind, Curve, KeyKind, KnownHosts, PublicKey, PublicLine, SigningKey,
};
use ssh_core::server::{self, danger::AcceptEverybody};

fn key(kind: KeyKind) -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(kind, 3072).unwrap(), provider).unwrap()
}

fn line(prefix: &str, key: &PublicKey) -> String {
    format!("{prefix} {}\n", PublicLine::new(key.clone(), ""))
}

fn server(keys: Vec<SigningKey>, certificate: Option<Certificate>) -> Arc<server::Config> {
    let mut builder = server::Config::builder(AcceptEverybody);
    for key in keys {
        builder = builder.host_key(key);
    }
    match certificate {
        Some(certificate) => builder.host_certificate(certificate).build().unwrap(),
        None => builder.build().unwrap(),
    }
}

/// The key that was accepted, or the words for its refusal.
async fn connect(server: &Arc<server::Config>, known: &str) -> Result<PublicKey, String> {
    let hosts = KnownHosts::parse(known.as_bytes(), "file");
    let client = client::Config::builder("ada").verify_host_key(KnownHost::new(hosts, "host", 2222));
    let (near, far) = tokio::io::duplex(1 << 16);
    let accepting = tokio::spawn(server::accept(far, Arc::clone(server)));
    let connected = client::connect(near, client.build().unwrap()).await;
    let _ = accepting.await.unwrap();
    match connected {
        Ok(session) => Ok(session.info().host_key.clone().unwrap()),
        Err(Error::HostKey(refused)) => Err(refused.message.to_string()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn only_known_keys_are_accepted() {
    let own = key(KeyKind::Ed25519);
    let (public, print) = (own.public_key().clone(), own.public_key().fingerprint());
    let server = server(vec![own], None);
    let other = key(KeyKind::Ed25519).public_key().clone();
    assert_eq!(connect(&server, &line("[host]:2222", &public)).await.unwrap(), public);

    let refused = connect(&server, "").await.unwrap_err();
    assert!(
        refused.starts_with(&format!("the host key of host:2222 is not known: ssh-ed25519 {print};")),
        "{refused}"
    );
    let refused = connect(&server, &line("elsewhere", &public)).await.unwrap_err();
    assert!(refused.contains("it is known as that of elsewhere, file:1"), "{refused}");
    let refused = connect(&server, &line("[host]:2222", &other)).await.unwrap_err();
    let changed = format!(
        "the host key of host:2222 has changed: it is ssh-ed25519 {print}, but known is ssh-ed25519 {} (file:1);",
        other.fingerprint()
    );
    assert!(refused.starts_with(&changed), "{refused}");
    let both = line("[host]:2222", &public) + &line("@revoked *", &public);
    let refused = connect(&server, &both).await.unwrap_err();
    assert!(
        refused.starts_with(&format!("the host key of host:2222, ssh-ed25519 {print}, is revoked (file:2);")),
        "{refused}"
    );
}

/// It is the key that is known that the server is asked for, and not the one that is liked best.
#[tokio::test]
async fn of_several_keys_the_known_one_is_asked_for() {
    let kinds = [KeyKind::Ed25519, KeyKind::Ecdsa(Curve::P256), KeyKind::Ecdsa(Curve::P384), KeyKind::Rsa];
    let keys: Vec<_> = kinds.into_iter().map(key).collect();
    let public: Vec<_> = keys.iter().map(|key| key.public_key().clone()).collect();
    let server = server(keys, None);
    for key in public {
        assert_eq!(connect(&server, &line("[host]:2222", &key)).await.unwrap(), key);
    }
}

#[tokio::test]
async fn certificates_of_a_known_authority_are_accepted() {
    let (authority, own) = (key(KeyKind::Ed25519), key(KeyKind::Ecdsa(Curve::P256)));
    let public = own.public_key().clone();
    let known = line("@cert-authority [host]:2222", authority.public_key());
    for (name, is_accepted) in [("host", true), ("another", false)] {
        let certificate = Certificate::builder(CertificateKind::Host, public.clone()).principal(name);
        let certificate = certificate.sign(&authority, default_provider()).unwrap();
        let server = server(vec![own.clone()], Some(certificate));
        let connected = connect(&server, &known).await;
        assert_eq!(connected.is_ok(), is_accepted, "{connected:?}");
    }
}
