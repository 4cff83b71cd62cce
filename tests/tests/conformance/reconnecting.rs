//! `session-reconnect@microsoft.com`, asked for by somebody who should not, and acknowledged by somebody who lies.

use ssh_core::Error;
use ssh_core::error::{PeerIncompatible, PeerMisbehaved, ReconnectFailure};
use ssh_core::protocol::{ReconnectOffer, Role};
use tests::raw_peer::{Field, Offer, RawPeer, message};

const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const RECONNECT: &str = "session-reconnect@microsoft.com";
const ENABLE: &str = "enable-session-reconnect@microsoft.com";

/// Tokens are made with the MAC that was agreed on, whatever the cipher.
fn with_mac(role: Role) -> Offer {
    Offer { mac: "hmac-sha2-256-etm@openssh.com".into(), ..Offer::sound(role) }
}

/// A server that offers the extension to a peer that does too; keys are there, and nobody is logged in.
fn connected() -> RawPeer {
    connected_to(Role::Server)
}

fn connected_to(role: Role) -> RawPeer {
    let mut peer = RawPeer::against(role);
    peer.engine.offer_reconnect(ReconnectOffer::default()).unwrap();
    peer.connect_offering(&with_mac(peer.role()));
    peer.send(&message(7, &[Field::U32(1), Field::Str(RECONNECT), Field::Str("")]));
    peer.assert_alive();
    peer
}

fn request(token: &[u8], sequence: u64) -> Vec<u8> {
    let mut payload = message(80, &[Field::Str(RECONNECT), Field::Bool(true), Field::Bytes(token)]);
    payload.extend(sequence.to_be_bytes());
    payload
}

#[test]
fn the_third_wrong_token_is_the_last() {
    // A wrong length is a wrong token.
    for tokens in [[vec![1; 32], vec![2; 32], vec![3; 32]], [vec![], vec![0; 31], vec![0; 10_000]]] {
        let mut peer = connected();
        for (before, token) in tokens.iter().enumerate() {
            peer.assert_alive();
            assert_eq!(peer.count(82), before);
            peer.send(&request(token, 0));
        }
        peer.assert_refused(PeerMisbehaved::ReconnectGuessing, PROTOCOL_ERROR);
        assert_eq!(peer.resume_requests, 3);
    }
}

#[test]
fn whoever_was_refused_a_session_may_still_log_in() {
    let mut peer = connected();
    peer.send(&request(&[1; 32], 0));
    peer.send(&request(&[2; 32], u64::MAX));
    peer.authenticate();
    peer.assert_alive();
}

#[test]
fn who_is_logged_in_gets_no_other_session() {
    let mut peer = connected();
    peer.authenticate();
    peer.send(&request(&[1; 32], 0));
    peer.assert_alive();
    assert_eq!((peer.resume_requests, peer.count(82)), (0, 1));
}

#[test]
fn nobody_acknowledges_what_was_never_sent() {
    for ahead in [1 << 20, u64::MAX] {
        let mut peer = connected();
        peer.authenticate();
        peer.send(&message(80, &[Field::Str(ENABLE), Field::Bool(false)]));
        let say = |sequence: u64| {
            let mut payload = message(2, &[Field::Bytes(b"")]);
            payload.extend(sequence.to_be_bytes());
            payload
        };
        // Forward, the same again, and back, which says nothing new.
        for sequence in [2, 3, 3, 1, 0, 3] {
            peer.send(&say(sequence));
            peer.assert_alive();
        }
        peer.send(&say(ahead));
        peer.assert_refused(PeerMisbehaved::AckOfTheFuture, PROTOCOL_ERROR);
        assert!(peer.engine.detached().is_none(), "a lie is no loss");
    }
}

/// A lost stream parks a session that was logged in, and no other. What was forged is not lost.
#[test]
fn only_who_was_logged_in_is_waited_for() {
    let lost = Error::unexpected_end;
    for stage in 0..4 {
        let mut peer = RawPeer::against(Role::Server);
        peer.engine.offer_reconnect(ReconnectOffer::default()).unwrap();
        if stage > 0 {
            peer.send_version();
        }
        if stage > 1 {
            peer = connected();
        }
        if stage > 2 {
            peer.send(&message(5, &[Field::Str("ssh-userauth")]));
        }
        peer.engine.lose(lost(), peer.now);
        assert!(peer.engine.detached().is_none() && peer.error().is_some(), "{stage}");
    }
    for (error, waits) in [
        (lost(), true),
        (PeerMisbehaved::BadMac.into(), false),
        (PeerMisbehaved::PacketLength(1).into(), false),
        (PeerMisbehaved::Padding.into(), false),
    ] {
        let mut peer = connected();
        peer.authenticate();
        peer.engine.lose(error, peer.now);
        assert_eq!((peer.engine.detached().is_some(), peer.error().is_none()), (waits, waits));
    }
}

/// A client with something unsaid, whose stream is gone.
fn lost_client() -> RawPeer {
    let mut peer = connected_to(Role::Client);
    peer.authenticate();
    let id = peer.open_channel(7, 1 << 20, 1 << 15);
    peer.reads = false;
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    let written = peer.engine.poll_write(id, &cx, &[std::io::IoSlice::new(b"attack at dawn")]);
    assert!(matches!(written, std::task::Poll::Ready(Ok(14))), "{written:?}");
    peer.engine.lose(Error::unexpected_end(), peer.now);
    assert!(peer.engine.detached().is_some(), "{:?}", peer.error());
    peer
}

fn assert_said_nothing_of_the_session(peer: &RawPeer) {
    let said: Vec<u8> = peer.received.iter().filter_map(|payload| payload.first().copied()).collect();
    assert!(said.iter().all(|number| *number < 90), "{said:?}");
}

#[test]
fn a_client_sends_nothing_to_who_cannot_prove_to_have_the_session() {
    for token in [vec![9; 32], vec![], vec![0; 31]] {
        let mut session = lost_client();
        let mut peer = RawPeer::against_reconnect(&session);
        peer.connect_offering(&with_mac(Role::Server));
        assert!(peer.take(80).is_some(), "it asks for its session");
        assert_said_nothing_of_the_session(&peer);
        let mut answer = message(81, &[Field::Bytes(&token)]);
        answer.extend(5_u64.to_be_bytes());
        peer.send(&answer);
        let Some(Error::Reconnect(failure)) = peer.error().cloned() else { panic!("{:?}", peer.error()) };
        assert_eq!((failure, failure.code()), (ReconnectFailure::InvalidServerToken, 103));
        assert_said_nothing_of_the_session(&peer);
        assert!(session.engine.resume(&mut peer.engine, session.now).is_err());
        let end = session.engine.is_end_of_attempts(&peer.engine, &Error::Reconnect(failure));
        assert!(matches!(end, Some(Error::Reconnect(ReconnectFailure::InvalidServerToken))), "{end:?}");
    }
}

#[test]
fn a_client_asks_no_other_host_for_its_session() {
    let session = lost_client();
    let mut peer = RawPeer::against_reconnect(&session);
    peer.host_key = RawPeer::against(Role::Client).host_key;
    peer.send_version();
    peer.send_kexinit(&with_mac(Role::Server));
    peer.exchange_keys();
    let Some(Error::Reconnect(failure)) = peer.error() else { panic!("{:?}", peer.error()) };
    assert_eq!((*failure, failure.code()), (ReconnectFailure::DifferentHostKey, 102));
    assert_eq!(peer.count(80), 0, "it asked");
    assert_said_nothing_of_the_session(&peer);
}

/// The same host may have been set back to software that can be attacked, or something in front of it.
#[test]
fn a_client_asks_for_its_session_on_no_weaker_connection_than_before() {
    let session = lost_client();
    let mut peer = RawPeer::against_reconnect(&session);
    peer.send_version();
    peer.send_kexinit(&Offer { kex: "curve25519-sha256".into(), ..with_mac(Role::Server) });
    peer.exchange_keys();
    let error = peer.error().cloned().expect("refused");
    assert!(matches!(error, Error::PeerIncompatible(PeerIncompatible::NoLongerStrict)), "{error:?}");
    assert_eq!((peer.disconnect(), peer.count(80)), (Some(KEY_EXCHANGE_FAILED), 0));
    // Another connection may be better.
    assert!(session.engine.is_end_of_attempts(&peer.engine, &error).is_none());

    // Who was never strict need not become so.
    let mut session = RawPeer::against(Role::Client);
    session.engine.offer_reconnect(ReconnectOffer::default()).unwrap();
    session.connect_offering(&Offer { kex: "curve25519-sha256".into(), ..with_mac(Role::Server) });
    session.send(&message(7, &[Field::U32(1), Field::Str(RECONNECT), Field::Str("")]));
    session.authenticate();
    session.engine.lose(Error::unexpected_end(), session.now);
    let mut peer = RawPeer::against_reconnect(&session);
    peer.connect_offering(&Offer { kex: "curve25519-sha256".into(), ..with_mac(Role::Server) });
    assert!(peer.take(80).is_some(), "it asks for its session");
}

/// Whoever records a request and says it on a connection of their own has said nothing.
#[test]
fn each_connection_has_a_token_of_its_own() {
    let session = lost_client();
    let requests = [(); 2].map(|()| {
        let mut peer = RawPeer::against_reconnect(&session);
        peer.connect_offering(&with_mac(Role::Server));
        peer.take(80).expect("a request")
    });
    let [first, second] = requests;
    assert_eq!(first.len(), second.len());
    // Behind the name comes the token, of 32 bytes.
    let token = 1 + 4 + RECONNECT.len() + 1 + 4;
    assert_ne!(first[token..token + 32], second[token..token + 32]);
    assert_eq!(first[..token], second[..token]);
}
