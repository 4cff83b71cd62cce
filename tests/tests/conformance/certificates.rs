//! PROTOCOL.certkeys: host certificates in the key exchange.

use std::sync::Arc;

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::default_provider;
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{
    Certificate, CertificateError, CertificateKind, Curve, KeyError, KeyKind, PublicKey, SigningKey,
};
use ssh_core::protocol::Role;
use ssh_core::protocol::messages::KexInit;
use ssh_core::protocol::wire::WireError;
use tests::raw_peer::{Offer, RawPeer};

const KEY_EXCHANGE_FAILED: u32 = 3;
const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com";

fn some_key(kind: KeyKind) -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(kind, 3072).unwrap(), provider).unwrap()
}

fn certify(key: &PublicKey) -> Certificate {
    Certificate::builder(CertificateKind::Host, key.clone())
        .principal("host")
        .sign(&some_key(KeyKind::Ed25519), default_provider())
        .unwrap()
}

/// A client's engine, asked for certificates if it is to ask for them, and our key's certificate.
fn client(asks: bool) -> (RawPeer, Certificate) {
    let algorithms =
        Algorithms::default().with_kex("curve25519-sha256").unwrap().with_host_certificates(asks);
    let peer = RawPeer::with(Role::Client, algorithms, Limits::default());
    let certificate = certify(peer.host_key.public_key());
    (peer, certificate)
}

fn offer(host_key: &str) -> Offer {
    Offer { host_key: host_key.into(), ..Offer::sound(Role::Server) }
}

/// The engine's answer to a reply with this blob under this host key algorithm, the signature being good.
fn shown(host_key: &str, blob: Vec<u8>) -> RawPeer {
    let (mut peer, _) = client(true);
    peer.send_version();
    peer.send_kexinit(&offer(host_key));
    peer.host_blob = Some(blob);
    peer.send_reply();
    peer
}

#[test]
fn certificates_are_asked_for_first_and_only_if_wanted() {
    for asks in [false, true] {
        let (mut peer, _) = client(asks);
        peer.send_version();
        let payload = peer.take(20).unwrap();
        let names: Vec<_> = KexInit::decode(&payload).unwrap().host_key.iter().collect();
        let certificates = names.iter().take_while(|name| name.ends_with("-cert-v01@openssh.com")).count();
        assert_eq!(certificates, if asks { names.len() / 2 } else { 0 }, "{names:?}");
        assert!(names[certificates..].iter().all(|name| !name.contains("cert")), "{names:?}");
        assert!(!names.contains(&"ssh-rsa-cert-v01@openssh.com"));
    }
}

#[test]
fn a_certificate_is_shown_with_its_key_before_anything_is_accepted() {
    let (mut peer, certificate) = client(true);
    peer.host_blob = Some(certificate.to_blob());
    peer.connect_offering(&offer(&format!("{CERTIFICATE},ssh-ed25519")));
    peer.settle();
    let shown = peer.host_key_seen.as_ref().unwrap();
    assert_eq!(shown.key, *peer.host_key.public_key());
    assert_eq!(shown.certificate.as_deref(), Some(&certificate));
    assert!(peer.engine.negotiated().unwrap().host_certificate);
}

#[test]
fn a_server_without_certificates_shows_its_key() {
    let (mut peer, _) = client(true);
    peer.connect_offering(&offer("ssh-ed25519"));
    peer.settle();
    assert_eq!(peer.host_key_seen.as_ref().unwrap().certificate, None);
    assert!(!peer.engine.negotiated().unwrap().host_certificate);
}

#[test]
fn the_certified_key_must_have_signed_the_exchange() {
    // Another's certificate, whose key we do not have; one of another kind of key.
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa(Curve::P256)] {
        let peer = shown(CERTIFICATE, certify(some_key(kind).public_key()).to_blob());
        peer.assert_refused(PeerMisbehaved::BadHostSignature, KEY_EXCHANGE_FAILED);
        assert!(peer.host_key_seen.is_none() && peer.count(21) == 0);
    }
    // The signature carries the plain name.
    let (mut peer, certificate) = client(true);
    peer.send_version();
    peer.send_kexinit(&offer(CERTIFICATE));
    peer.host_blob = Some(certificate.to_blob());
    let reply = peer.reply(|reply| reply.algorithm = CERTIFICATE.into());
    peer.send(&reply);
    peer.assert_refused(PeerMisbehaved::BadHostSignature, KEY_EXCHANGE_FAILED);
}

#[test]
fn a_key_is_no_certificate_and_a_certificate_is_no_key() {
    let (peer, certificate) = client(true);
    let key = peer.host_key.public_key().to_blob();
    let peer = shown(CERTIFICATE, key);
    let rule = PeerMisbehaved::BadHostCertificate(CertificateError::UnknownType);
    peer.assert_refused(rule, KEY_EXCHANGE_FAILED);
    let peer = shown("ssh-ed25519", certificate.to_blob());
    peer.assert_refused(PeerMisbehaved::BadHostKey(KeyError::UnknownType), KEY_EXCHANGE_FAILED);
}

#[test]
fn a_malformed_certificate_is_refused_wherever_it_is_cut() {
    let (_, certificate) = client(true);
    let blob = certificate.to_blob();
    for len in (0..blob.len()).step_by(7) {
        let peer = shown(CERTIFICATE, blob[..len].to_vec());
        let Some(Error::PeerMisbehaved(PeerMisbehaved::BadHostCertificate(_))) = peer.error() else {
            panic!("{len}: {:?}", peer.error());
        };
    }
    let peer = shown(CERTIFICATE, [&blob[..], &[0]].concat());
    let rule = PeerMisbehaved::BadHostCertificate(CertificateError::Wire(WireError::Trailing));
    peer.assert_refused(rule, KEY_EXCHANGE_FAILED);
}

#[test]
fn rfc4253_9_the_key_stays_the_same_and_the_certificate_may_be_renewed() {
    let (mut peer, certificate) = client(true);
    let later = || Offer { host_key: CERTIFICATE.into(), ..Offer::without_strict() };
    peer.host_blob = Some(certificate.to_blob());
    peer.connect_offering(&offer(CERTIFICATE));
    peer.authenticate();
    let renewed = certify(peer.host_key.public_key());
    assert_ne!(renewed, certificate);
    peer.host_blob = Some(renewed.to_blob());
    peer.send_kexinit(&later());
    peer.exchange_keys();
    peer.assert_alive();

    peer.host_key = Arc::new(some_key(KeyKind::Ed25519));
    peer.host_blob = Some(certify(peer.host_key.public_key()).to_blob());
    peer.send_kexinit(&later());
    peer.send_reply();
    peer.assert_refused(PeerMisbehaved::HostKeyChanged, KEY_EXCHANGE_FAILED);
}
