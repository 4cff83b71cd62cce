//! How much may be tried before the login is over.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{AuthAnswer, Role};
use tests::raw_peer::{ClientTry, Field, RawPeer, message, password};

use super::{NO_MORE_AUTH_METHODS, PROTOCOL_ERROR, key, none, public_key, server};

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
