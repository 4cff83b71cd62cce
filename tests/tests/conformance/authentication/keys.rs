//! Signatures and queries (RFC 4252 §7).

use std::time::Duration;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{AuthAnswer, AuthReply, Role};
use tests::raw_peer::{ClientTry, Field, RawPeer, message, put_string};

use super::{PROTOCOL_ERROR, key, public_key, server, signed};

/// What a signed request comes to: whether it was let in, and what the application was asked.
fn try_signed(make: impl FnOnce(&RawPeer, &SigningKey, &[u8]) -> Vec<u8>) -> (bool, Vec<String>) {
    let mut peer = server(AuthAnswer::Accept);
    let key = key();
    let request = public_key(true, "ada", "ssh-ed25519", &key.public_key().to_blob());
    let payload = make(&peer, &key, &request);
    peer.send(&payload);
    peer.wait(Duration::from_millis(100));
    peer.assert_alive();
    let let_in = peer.authenticated == 1;
    assert_eq!((peer.count(52) == 1, peer.count(51) == 1), (let_in, !let_in));
    (let_in, peer.attempts)
}

#[test]
fn rfc4252_7_a_signature_lets_in_and_nothing_else_does() {
    let name = "ssh-ed25519";
    let good = try_signed(|peer, key, request| signed(&peer.session_id, request, request, name, key));
    assert_eq!(good, (true, vec!["ada query".to_owned(), "ada publickey".to_owned()]));

    // Another session, no session.
    for session_id in [&[1; 32][..], b""] {
        assert!(!try_signed(|_, key, request| signed(session_id, request, request, name, key)).0);
    }
    // Other data: another user, another key's signature, a flipped bit, another name.
    assert!(
        !try_signed(|peer, key, request| {
            let other = public_key(true, "root", "ssh-ed25519", &key.public_key().to_blob());
            signed(&peer.session_id, request, &other, name, key)
        })
        .0
    );
    assert!(!try_signed(|peer, _, request| signed(&peer.session_id, request, request, name, &self::key())).0);
    assert!(
        !try_signed(|peer, key, request| {
            let mut payload = signed(&peer.session_id, request, request, name, key);
            *payload.last_mut().unwrap() ^= 1;
            payload
        })
        .0
    );
    for other in ["ssh-rsa", "rsa-sha2-512", "", "ssh-ed25519 "] {
        assert!(!try_signed(|peer, key, request| signed(&peer.session_id, request, request, other, key)).0);
    }
    // No signature in the signature.
    assert!(
        !try_signed(|_, _, request| {
            let mut payload = request.to_vec();
            put_string(&mut payload, b"");
            payload
        })
        .0
    );
}

#[test]
fn the_key_that_was_asked_about_is_not_the_key_that_signs() {
    // Query with a key that the application knows, sign with another: only the signer's key may be reported.
    let mut peer = server(AuthAnswer::Accept);
    let (asked, signer) = (key(), key());
    peer.send(&public_key(false, "ada", "ssh-ed25519", &asked.public_key().to_blob()));
    assert!(peer.take(60).is_some());
    let request = public_key(true, "ada", "ssh-ed25519", &asked.public_key().to_blob());
    let payload = signed(&peer.session_id, &request, &request, "ssh-ed25519", &signer);
    peer.send(&payload);
    peer.wait(Duration::from_millis(100));
    assert_eq!((peer.authenticated, peer.count(51)), (0, 1));
    assert_eq!(peer.attempts, ["ada query", "ada query"]);
}

#[test]
fn an_accepted_query_lets_nobody_in_and_another_user_starts_again() {
    let mut peer = server(AuthAnswer::Accept);
    let key = key();
    peer.send(&public_key(false, "ada", "ssh-ed25519", &key.public_key().to_blob()));
    assert_eq!((peer.authenticated, peer.count(60)), (0, 1));
    peer.answer = Some(AuthAnswer::Reject);
    let request = public_key(true, "root", "ssh-ed25519", &key.public_key().to_blob());
    let payload = signed(&peer.session_id, &request, &request, "ssh-ed25519", &key);
    peer.send(&payload);
    peer.wait(Duration::from_millis(100));
    assert_eq!(peer.authenticated, 0);
    assert_eq!(peer.attempts, ["ada query", "root query"]);
}

#[test]
fn rfc4252_7_pk_ok_says_back_what_was_asked() {
    let mut peer = server(AuthAnswer::Accept);
    let blob = key().public_key().to_blob();
    peer.send(&public_key(false, "ada", "ssh-ed25519", &blob));
    assert_eq!(peer.take(60), Some(message(60, &[Field::Str("ssh-ed25519"), Field::Bytes(&blob)])));
}

#[test]
fn a_key_that_cannot_be_used_fails_its_attempt_only() {
    let short_rsa = {
        let mut blob = Vec::new();
        put_string(&mut blob, b"ssh-rsa");
        put_string(&mut blob, &[3]);
        put_string(&mut blob, &[0x7f; 128]);
        blob
    };
    let blob = key().public_key().to_blob();
    for (algorithm, key) in [
        ("ssh-ed25519", &b""[..]),
        ("ssh-ed25519", &blob[..20]),
        ("ssh-rsa", &blob),
        ("rsa-sha2-512", &blob),
        ("rsa-sha2-512", &short_rsa),
        ("ssh-ed25519-cert-v01@openssh.com", &blob),
        ("", &blob),
    ] {
        for signed in [false, true] {
            let mut peer = server(AuthAnswer::Accept);
            let mut payload = public_key(signed, "ada", algorithm, key);
            if signed {
                put_string(&mut payload, b"signature");
            }
            peer.send(&payload);
            peer.wait(Duration::from_millis(100));
            peer.assert_alive();
            assert_eq!((peer.count(51), peer.attempts.len()), (1, 0), "{algorithm}");
        }
    }
}

#[test]
fn algorithms_that_are_not_offered_are_not_taken() {
    let algorithms = Algorithms::default().with_user_keys(vec![SignatureAlgorithm::Ed25519]);
    let mut peer = RawPeer::with(Role::Server, algorithms, Limits::default());
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    let provider = default_provider();
    let key = provider.signatures.generate(KeyKind::Ecdsa(ssh_core::keys::Curve::P256), 0).unwrap();
    let blob = key.public_key().to_blob();
    peer.send(&public_key(false, "ada", "ecdsa-sha2-nistp256", &blob));
    peer.wait(Duration::from_millis(100));
    assert_eq!((peer.count(51), peer.attempts.len()), (1, 0));
}

#[test]
fn rfc4252_7_a_client_takes_pk_ok_for_the_key_it_asked_about_only() {
    let (asked, other) = (key().public_key().clone(), key().public_key().clone());
    for (algorithm, key, good) in [
        ("ssh-ed25519", &asked, true),
        ("ssh-ed25519", &other, false),
        ("rsa-sha2-512", &asked, false),
        ("ssh-rsa", &asked, false),
    ] {
        let mut peer = RawPeer::against(Role::Client);
        peer.client_try = ClientTry::Query(asked.clone());
        peer.connect();
        peer.send(&message(6, &[Field::Str("ssh-userauth")]));
        peer.send(&message(60, &[Field::Str(algorithm), Field::Bytes(&key.to_blob())]));
        if good {
            assert_eq!(peer.replies, [AuthReply::PkOk]);
        } else {
            peer.assert_refused(PeerMisbehaved::PkOkMismatch, PROTOCOL_ERROR);
            assert!(peer.replies.is_empty());
        }
    }
}

#[test]
fn a_client_reports_one_answer_for_each_attempt() {
    let mut peer = RawPeer::against(Role::Client);
    peer.connect();
    peer.send(&message(6, &[Field::Str("ssh-userauth")]));
    peer.send(&message(53, &[Field::Bytes(b"hello\x1b[2J"), Field::Bytes(b"")]));
    assert_eq!(peer.banners, ["hello\\u{1b}[2J"]);
    let failure = message(51, &[Field::Str("password,publickey"), Field::Bool(false)]);
    peer.send(&failure);
    assert_eq!(
        peer.replies,
        [AuthReply::Failure { methods: vec!["password".into(), "publickey".into()], partial_success: false }]
    );
    peer.send(&failure);
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(51), PROTOCOL_ERROR);
}
