//! `session-reconnect@microsoft.com`, asked for by somebody who should not, and acknowledged by somebody who lies.

use ssh_core::Error;
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::{ReconnectOffer, Role};
use tests::raw_peer::{Field, Offer, RawPeer, message};

const PROTOCOL_ERROR: u32 = 2;
const RECONNECT: &str = "session-reconnect@microsoft.com";
const ENABLE: &str = "enable-session-reconnect@microsoft.com";

/// A server that offers the extension to a peer that does too; keys are there, and nobody is logged in.
fn connected() -> RawPeer {
    let mut peer = RawPeer::against(Role::Server);
    peer.engine.offer_reconnect(ReconnectOffer::default()).unwrap();
    // Tokens are made with the MAC that was agreed on, whatever the cipher.
    let mac = "hmac-sha2-256-etm@openssh.com".into();
    peer.connect_offering(&Offer { mac, ..Offer::sound(Role::Client) });
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
