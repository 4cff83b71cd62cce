//! Host certificates between our own client and server, with every kind of key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{self, HostKeyVerifier};
use ssh_core::config::Algorithms;
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::{ApiMisuse, HostKeyError};
use ssh_core::keys::{Certificate, CertificateKind, Curve, HostKey, KeyKind, SigningKey};
use ssh_core::server::{self, danger::AcceptEverybody};

/// Takes everything down and accepts it.
#[derive(Debug, Clone, Default)]
struct Notes {
    wants_certificates: bool,
    shown: Arc<Mutex<Vec<HostKey>>>,
}

impl HostKeyVerifier for Notes {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        self.shown.lock().unwrap().push(shown.clone());
        std::future::ready(Ok(())).boxed()
    }

    fn takes_certificates(&self) -> bool {
        self.wants_certificates
    }
}

fn key(kind: KeyKind) -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(kind, 3072).unwrap(), provider).unwrap()
}

fn certify(kind: CertificateKind, key: &SigningKey) -> Certificate {
    let builder = Certificate::builder(kind, key.public_key().clone()).principal("host");
    builder.sign(&self::key(KeyKind::Ed25519), default_provider()).unwrap()
}

/// What a client is shown.
async fn shown(wants_certificates: bool, server: Arc<server::Config>, algorithms: Algorithms) -> HostKey {
    let notes = Notes { wants_certificates, ..Notes::default() };
    let client = client::Config::builder("ada").verify_host_key(notes.clone()).algorithms(algorithms);
    let (near, far) = tokio::io::duplex(1 << 16);
    let accepted = tokio::spawn(server::accept(far, server));
    let session = client::connect(near, client.build().unwrap()).await.unwrap();
    accepted.await.unwrap().unwrap();
    drop(session);
    let mut shown = notes.shown.lock().unwrap();
    assert_eq!(shown.len(), 1);
    shown.pop().unwrap()
}

#[tokio::test]
async fn every_kind_of_key_is_shown_with_its_certificate_to_who_wants_it() {
    let kinds = [
        KeyKind::Ed25519,
        KeyKind::Ecdsa(Curve::P256),
        KeyKind::Ecdsa(Curve::P384),
        KeyKind::Ecdsa(Curve::P521),
        KeyKind::Rsa,
    ];
    for kind in kinds {
        for algorithm in kind.algorithms() {
            let key = key(kind);
            let certificate = certify(CertificateKind::Host, &key);
            let algorithms = Algorithms::default().with_host_keys(SignatureAlgorithm::ALL.to_vec());
            // The certificate may come first.
            let server = server::Config::builder(AcceptEverybody)
                .host_certificate(certificate.clone())
                .host_key(key)
                .algorithms(algorithms)
                .build()
                .unwrap();
            for wants in [true, false] {
                let asked = Algorithms::default().with_host_keys(vec![*algorithm]);
                let shown = shown(wants, server.clone(), asked).await;
                assert_eq!(shown.key, *certificate.key());
                assert_eq!(shown.certificate.as_deref(), wants.then_some(&certificate), "{algorithm:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_goes_before_a_plain_key_that_is_liked_better() {
    let (plain, certified) = (key(KeyKind::Ed25519), key(KeyKind::Ecdsa(Curve::P256)));
    let certificate = certify(CertificateKind::Host, &certified);
    let server = server::Config::builder(AcceptEverybody)
        .host_key(plain)
        .host_key(certified)
        .host_certificate(certificate.clone())
        .build()
        .unwrap();
    let with = shown(true, server.clone(), Algorithms::default()).await;
    assert_eq!(with.certificate.as_deref(), Some(&certificate));
    assert_eq!(shown(false, server, Algorithms::default()).await.key.kind(), KeyKind::Ed25519);
}

#[test]
fn certificates_that_are_not_for_the_host_are_refused_at_once() {
    let (own, other) = (key(KeyKind::Ed25519), key(KeyKind::Ed25519));
    let cases = [certify(CertificateKind::User, &own), certify(CertificateKind::Host, &other)];
    let mut own = Some(own);
    for certificate in cases {
        let builder = server::Config::builder(AcceptEverybody).host_key(key(KeyKind::Rsa));
        let builder = if certificate.kind() == CertificateKind::User {
            builder.host_key(own.take().unwrap())
        } else {
            builder
        };
        let refused = builder.host_certificate(certificate).build().unwrap_err();
        assert!(matches!(refused, Error::ApiMisuse(ApiMisuse::HostCertificate)), "{refused:?}");
    }
}
