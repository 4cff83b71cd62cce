//! What may come when, until the login is over.

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::{AuthAnswer, Role};
use tests::raw_peer::{ClientTry, Field, RawPeer, message, password};

use super::{PROTOCOL_ERROR, SERVICE_NOT_AVAILABLE, none, server};

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

/// RFC 8308 §2.4: what a server takes it says before it accepts the service.
#[test]
fn a_client_may_wait_for_the_service_before_it_tries_anything() {
    for waits in [false, true] {
        let mut peer = RawPeer::against(Role::Client);
        if waits {
            peer.engine.wait_for_service();
        }
        peer.connect();
        assert_eq!((peer.count(5), peer.count(50)), (1, usize::from(!waits)));
        for _ in 0..2 {
            peer.assert_alive();
            peer.send(&message(6, &[Field::Str("ssh-userauth")]));
            assert_eq!(peer.count(50), 1);
        }
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(6), PROTOCOL_ERROR);
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
