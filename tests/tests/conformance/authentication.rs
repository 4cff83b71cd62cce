//! RFC 4252, and what may not come before it is over.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{AuthAnswer, AuthReply, Role};
use tests::raw_peer::{ClientTry, Field, RawPeer, message, password, put_string};

const PROTOCOL_ERROR: u32 = 2;
const SERVICE_NOT_AVAILABLE: u32 = 7;
const NO_MORE_AUTH_METHODS: u32 = 14;

fn key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

/// A server that has accepted the authentication service and answers every attempt with `answer`.
fn server(answer: AuthAnswer) -> RawPeer {
    let mut peer = RawPeer::against(Role::Server);
    peer.answer = Some(answer);
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    assert_eq!(peer.take(6), Some(message(6, &[Field::Str("ssh-userauth")])));
    peer
}

fn none(user: &str) -> Vec<u8> {
    message(50, &[Field::Str(user), Field::Str("ssh-connection"), Field::Str("none")])
}

fn public_key(signed: bool, user: &str, algorithm: &str, key: &[u8]) -> Vec<u8> {
    message(
        50,
        &[
            Field::Str(user),
            Field::Str("ssh-connection"),
            Field::Str("publickey"),
            Field::Bool(signed),
            Field::Str(algorithm),
            Field::Bytes(key),
        ],
    )
}

/// A publickey request, signed over `session_id` and what `signed_as` says.
fn signed(session_id: &[u8], request: &[u8], signed_as: &[u8], name: &str, key: &SigningKey) -> Vec<u8> {
    let mut over = Vec::new();
    put_string(&mut over, session_id);
    over.extend(signed_as);
    let blob = key.sign(SignatureAlgorithm::Ed25519, &over).unwrap();
    let mut signature = Vec::new();
    put_string(&mut signature, name.as_bytes());
    put_string(&mut signature, &blob);
    let mut payload = request.to_vec();
    put_string(&mut payload, &signature);
    payload
}

// ---- Before authentication ---------------------------------------------------------------------------

#[test]
fn rfc4252_6_nothing_of_the_connection_protocol_comes_before_the_login() {
    for role in [Role::Client, Role::Server] {
        for in_service in [false, true] {
            for number in 80..=127 {
                let mut peer = RawPeer::against(role);
                peer.client_try = ClientTry::Nothing;
                peer.connect();
                if in_service {
                    peer.send(&message(
                        if role == Role::Server { 5 } else { 6 },
                        &[Field::Str("ssh-userauth")],
                    ));
                }
                let payload = match number {
                    80 => message(80, &[Field::Str("tcpip-forward"), Field::Bool(true)]),
                    90 => tests::raw_peer::open("session", 0, 1 << 20, 1 << 15),
                    _ => message(number, &[Field::U32(0)]),
                };
                peer.send(&payload);
                peer.assert_refused(PeerMisbehaved::NotAuthenticated(number), PROTOCOL_ERROR);
                assert!(peer.offered.is_empty() && peer.requests.is_empty());
            }
        }
    }
}

#[test]
fn a_channel_open_pipelined_behind_an_undecided_login_is_refused() {
    let mut peer = RawPeer::against(Role::Server);
    peer.answer = None;
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    peer.send(&password("ada", "secret"));
    peer.send(&tests::raw_peer::open("session", 0, 1 << 20, 1 << 15));
    peer.assert_refused(PeerMisbehaved::NotAuthenticated(90), PROTOCOL_ERROR);
}

#[test]
fn a_keepalive_is_borne_before_the_login() {
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]));
    assert_eq!(peer.take(82), Some(vec![82]));
    peer.send(&message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(false)]));
    peer.assert_alive();
    assert_eq!(peer.count(82), 0);
    assert!(peer.requests.is_empty());
}

#[test]
fn a_server_takes_no_message_of_a_server() {
    for number in [6, 51, 52, 53, 60, 61, 62, 79] {
        let mut peer = server(AuthAnswer::Accept);
        peer.send(&message(number, &[Field::U32(0)]));
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(number), PROTOCOL_ERROR);
        assert_eq!(peer.authenticated, 0);
    }
}

#[test]
fn a_client_takes_no_message_of_a_client() {
    for number in [5, 50, 61, 62, 79] {
        let mut peer = RawPeer::against(Role::Client);
        peer.connect();
        peer.send(&message(6, &[Field::Str("ssh-userauth")]));
        peer.send(&message(number, &[Field::Str("ssh-userauth")]));
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(number), PROTOCOL_ERROR);
    }
}

#[test]
fn a_client_takes_no_answer_to_what_it_has_not_asked() {
    for payload in [&[52][..], &message(51, &[Field::Str("password"), Field::Bool(false)])] {
        let mut peer = RawPeer::against(Role::Client);
        peer.client_try = ClientTry::Nothing;
        peer.connect();
        peer.send(&message(6, &[Field::Str("ssh-userauth")]));
        peer.send(payload);
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(payload[0]), PROTOCOL_ERROR);
        assert_eq!((peer.authenticated, peer.replies.len()), (0, 0));

        // Nor before the service was accepted.
        let mut peer = RawPeer::against(Role::Client);
        peer.connect();
        peer.send(payload);
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(payload[0]), PROTOCOL_ERROR);
        assert_eq!((peer.authenticated, peer.replies.len()), (0, 0));
    }
}

#[test]
fn rfc4253_10_other_services_are_refused() {
    for name in ["ssh-connection", "ssh-useraut", "", "x"] {
        let mut peer = RawPeer::against(Role::Server);
        peer.connect();
        peer.send(&message(5, &[Field::Str(name)]));
        peer.assert_refused(PeerMisbehaved::UnknownService, SERVICE_NOT_AVAILABLE);
    }
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&message(50, &[Field::Str("ada"), Field::Str("ssh-other"), Field::Str("none")]));
    peer.assert_refused(PeerMisbehaved::UnknownService, SERVICE_NOT_AVAILABLE);
}

#[test]
fn an_attempt_before_the_service_is_refused() {
    let mut peer = RawPeer::against(Role::Server);
    peer.connect();
    peer.send(&none("ada"));
    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(50), PROTOCOL_ERROR);
}

#[test]
fn rfc4252_5_1_attempts_after_success_are_ignored() {
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&password("ada", "secret"));
    assert_eq!(peer.take(52), Some(vec![52]));
    peer.received.clear();
    for _ in 0..50 {
        peer.send(&password("root", "other"));
    }
    peer.assert_alive();
    assert_eq!((peer.authenticated, peer.attempts.len()), (1, 1));
    assert!(peer.received.is_empty());
}

// ---- Limits ------------------------------------------------------------------------------------------

#[test]
fn rfc4252_4_the_fifth_failure_is_the_last() {
    let mut peer = server(AuthAnswer::Reject);
    for attempt in 1..=5 {
        peer.assert_alive();
        peer.send(&password("ada", "wrong"));
        assert_eq!(peer.count(51), attempt - 1, "the answer is delayed");
        peer.wait(Duration::from_millis(100));
        assert_eq!(peer.count(51), attempt);
    }
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, NO_MORE_AUTH_METHODS);
}

#[test]
fn failures_of_every_method_count() {
    let mut peer = server(AuthAnswer::Reject);
    let attempts = [
        none("ada"),
        password("ada", "x"),
        public_key(false, "ada", "ssh-ed25519", &key().public_key().to_blob()),
        message(50, &[Field::Str("ada"), Field::Str("ssh-connection"), Field::Str("hostbased")]),
        message(
            50,
            &[
                Field::Str("ada"),
                Field::Str("ssh-connection"),
                Field::Str("keyboard-interactive"),
                Field::Str(""),
                Field::Str(""),
            ],
        ),
        none("ada"),
    ];
    for attempt in attempts {
        peer.assert_alive();
        peer.send(&attempt);
        peer.wait(Duration::from_millis(100));
    }
    // The first `none` is how everybody asks for the methods; it alone is free.
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, NO_MORE_AUTH_METHODS);
    assert_eq!(peer.count(51), 6);
}

#[test]
fn queries_come_to_an_end_even_if_each_is_accepted() {
    let mut peer = server(AuthAnswer::Accept);
    let query = public_key(false, "ada", "ssh-ed25519", &key().public_key().to_blob());
    let mut asked = 0;
    while peer.error().is_none() {
        peer.send(&query);
        asked += 1;
        assert!(asked < 100, "queries never end");
    }
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, NO_MORE_AUTH_METHODS);
}

#[test]
fn attempts_that_wait_for_a_decision_are_bounded() {
    let mut peer = RawPeer::against(Role::Server);
    peer.answer = None;
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    let long = password("ada", &"x".repeat(1000));
    for _ in 0..70 {
        peer.send(&long);
    }
    peer.assert_refused(PeerMisbehaved::PreAuthTraffic, PROTOCOL_ERROR);
    assert_eq!(peer.attempts.len(), 1);
}

#[test]
fn traffic_before_the_login_is_bounded() {
    for role in [Role::Client, Role::Server] {
        for (payload, bytes) in [(message(2, &[Field::Bytes(b"")]), false), (vec![2; 30_000], true)] {
            let mut peer = RawPeer::against(role);
            peer.client_try = ClientTry::Nothing;
            peer.connect();
            let mut sent = 0;
            while peer.error().is_none() {
                peer.send(&payload);
                sent += 1;
                assert!(sent <= if bytes { 18 } else { 1000 }, "the flood never ends");
            }
            peer.assert_refused(PeerMisbehaved::PreAuthTraffic, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn traffic_before_the_keys_is_bounded() {
    for role in [Role::Client, Role::Server] {
        for (payload, bytes) in [(message(2, &[Field::Bytes(b"")]), false), (vec![2; 30_000], true)] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            let mut sent = 0;
            while peer.error().is_none() {
                peer.send(&payload);
                sent += 1;
                assert!(sent <= if bytes { 18 } else { 1001 }, "the flood never ends");
            }
            peer.assert_refused(PeerMisbehaved::PreAuthTraffic, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn ext_info_does_not_promise_more_than_it_holds() {
    for (count, rule) in [
        (u32::MAX, PeerMisbehaved::Malformed(WireError::TooLong)),
        (65, PeerMisbehaved::Malformed(WireError::TooLong)),
        (1, PeerMisbehaved::Malformed(WireError::Truncated)),
    ] {
        for role in [Role::Client, Role::Server] {
            let mut peer = RawPeer::against(role);
            peer.client_try = ClientTry::Nothing;
            peer.connect();
            peer.send(&message(7, &[Field::U32(count)]));
            peer.assert_refused(rule, PROTOCOL_ERROR);
        }
    }
    let mut peer = RawPeer::against(Role::Server);
    peer.connect();
    peer.send(&message(7, &[Field::U32(0), Field::Str("more")]));
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::Trailing), PROTOCOL_ERROR);
}

#[test]
fn names_are_bounded_and_passwords_too() {
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&none(&"x".repeat(257)));
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::TooLong), PROTOCOL_ERROR);
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&password("ada", &"x".repeat(1025)));
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::TooLong), PROTOCOL_ERROR);
    let mut peer = server(AuthAnswer::Accept);
    peer.send(&message(50, &[Field::Bytes(b"\xff"), Field::Str("ssh-connection"), Field::Str("none")]));
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::NotUtf8), PROTOCOL_ERROR);
}

#[test]
fn the_login_deadline_covers_the_whole_login() {
    let mut peer = server(AuthAnswer::Reject);
    for _ in 0..4 {
        peer.send(&password("ada", "x"));
        peer.wait(Duration::from_secs(7));
        peer.assert_alive();
    }
    peer.wait(Duration::from_secs(2));
    assert!(matches!(peer.error(), Some(Error::Timeout(ssh_core::error::Timeout::Login))));
    assert_eq!(peer.disconnect(), Some(11));
}

// ---- Keys --------------------------------------------------------------------------------------------

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
