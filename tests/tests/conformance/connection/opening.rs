//! Opening channels (RFC 4254 §5.1).

use std::task::Poll;

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{OpenError, OpenFailureReason, Role};
use tests::raw_peer::{Field, data, message, open};

use super::{BOTH, PROTOCOL_ERROR, confirmed, cx, limited, logged_in, number};

#[test]
fn rfc4254_5_1_answers_to_opens_that_nobody_made_are_refused() {
    let answers = |id: u32| {
        [
            message(91, &[Field::U32(id), Field::U32(0), Field::U32(9), Field::U32(9)]),
            message(92, &[Field::U32(id), Field::U32(1), Field::Bytes(b"no"), Field::Bytes(b"")]),
        ]
    };
    for role in BOTH {
        for which in 0..2 {
            let mut peer = logged_in(role);
            peer.send(&answers(0)[which]);
            peer.assert_refused(PeerMisbehaved::UnsolicitedOpenReply, PROTOCOL_ERROR);

            // For a channel of the peer's own.
            let mut peer = logged_in(role);
            let id = peer.open_channel(3, 1000, 1000);
            peer.send(&answers(id)[which]);
            peer.assert_refused(PeerMisbehaved::UnsolicitedOpenReply, PROTOCOL_ERROR);

            // A second answer.
            let mut peer = logged_in(role);
            let id = confirmed(&mut peer, 9, 9);
            peer.send(&answers(id)[which]);
            peer.assert_refused(PeerMisbehaved::UnsolicitedOpenReply, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4254_5_1_a_refusal_is_told_with_its_words_made_harmless() {
    let mut peer = logged_in(Role::Client);
    let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
    peer.pull();
    peer.send(&message(
        92,
        &[Field::U32(id), Field::U32(2), Field::Bytes(b"no\x1b[2J"), Field::Bytes(b"en")],
    ));
    let Poll::Ready(Err(OpenError::Refused(failure))) = peer.engine.poll_opened(id, &mut cx()) else {
        panic!("not refused")
    };
    assert_eq!(failure.reason, OpenFailureReason::CONNECT_FAILED);
    assert_eq!(failure.text, "no\\u{1b}[2J");
    assert_eq!(peer.engine.channels(), 0);
}

/// Dev Tunnels' TypeScript peers do, whether or not the application has looked at the refusal.
#[test]
fn a_refused_channel_may_be_closed() {
    for role in BOTH {
        for looked_at in [false, true] {
            let mut peer = logged_in(role);
            let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
            peer.pull();
            peer.send(&message(92, &[Field::U32(id), Field::U32(1), Field::Bytes(b"no"), Field::Bytes(b"")]));
            if looked_at {
                assert!(peer.engine.poll_opened(id, &mut cx()).is_ready());
            }
            peer.send(&message(97, &[Field::U32(id)]));
            peer.assert_alive();
            assert_eq!(peer.count(97), 0);
        }
    }
}

#[test]
fn an_open_that_is_given_up_is_closed_when_it_is_confirmed() {
    for role in BOTH {
        for refused in [false, true] {
            let mut peer = logged_in(role);
            let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
            peer.engine.release_channel(id);
            peer.pull();
            assert_eq!((peer.count(90), peer.count(97)), (1, 0));
            if refused {
                peer.send(&message(
                    92,
                    &[Field::U32(id), Field::U32(1), Field::Bytes(b""), Field::Bytes(b"")],
                ));
            } else {
                peer.send(&message(91, &[Field::U32(id), Field::U32(42), Field::U32(9), Field::U32(9)]));
                assert_eq!(peer.take(97), Some(message(97, &[Field::U32(42)])));
                // What the peer sent meanwhile.
                peer.send(&data(id, b"x"));
                peer.send(&message(97, &[Field::U32(id)]));
            }
            peer.assert_alive();
            assert_eq!(peer.engine.channels(), 0);
        }
    }
}

#[test]
fn opens_past_the_limit_are_refused_and_leave_nothing_behind() {
    for role in BOTH {
        let mut peer = limited(role, |limits| limits.channels = 8);
        for ours in 0..8 {
            peer.send(&open("session", ours, 1000, 1000));
        }
        assert_eq!((peer.offered.len(), peer.count(92)), (8, 0));
        for ours in 8..500 {
            peer.send(&open("session", ours, 1000, 1000));
            let failure = peer.take(92).unwrap();
            assert_eq!((number(&failure, 1), number(&failure, 5)), (ours, 4));
        }
        assert_eq!((peer.offered.len(), peer.engine.channels()), (8, 8));
        for offer in std::mem::take(&mut peer.offered) {
            peer.engine.reject_channel(offer.id, OpenFailureReason::CONNECT_FAILED, "no").unwrap();
        }
        assert_eq!(peer.engine.channels(), 0);
        // There is room again.
        peer.open_channel(1000, 1000, 1000);
    }
}

/// A peer that answers none of them costs no more than one that does.
#[test]
fn our_own_opens_end_at_the_limit_too() {
    for role in BOTH {
        let mut peer = limited(role, |limits| limits.channels = 8);
        for number in 0..300 {
            let now = peer.now;
            match peer.engine.open_channel("session", b"", now) {
                Ok(id) if number < 8 => peer.engine.release_channel(id),
                Err(OpenError::TooManyChannels { limit: 8 }) if number >= 8 => {}
                opened => panic!("{number}: {opened:?}"),
            }
        }
        peer.pull();
        assert_eq!((peer.count(90), peer.engine.channels()), (8, 8));
        peer.assert_alive();
    }
}

#[test]
fn windows_of_channels_that_are_gone_are_given_back() {
    // Each channel takes its share of what is left of the session's window; if shares were lost, these would shrink.
    let mut peer = logged_in(Role::Server);
    let mut windows = Vec::new();
    for ours in 0..200 {
        peer.send(&open("session", ours, 1000, 1000));
        let id = peer.offered.pop().unwrap().id;
        if ours % 2 == 0 {
            peer.engine.reject_channel(id, OpenFailureReason::CONNECT_FAILED, "no").unwrap();
            peer.pull();
            continue;
        }
        peer.engine.accept_channel(id, b"").unwrap();
        peer.pull();
        windows.push(number(&peer.take(91).unwrap(), 9));
        peer.send(&message(97, &[Field::U32(id)]));
        peer.engine.release_channel(id);
    }
    assert!(windows.iter().all(|window| *window == 1 << 20), "{windows:?}");
}

#[test]
fn refused_opens_in_a_flood_come_to_an_end() {
    let mut peer = limited(Role::Server, |limits| limits.channels = 1);
    let mut opened = 0;
    while peer.error().is_none() {
        peer.send(&open("session", opened, 1000, 1000));
        opened += 1;
        assert!(opened <= 5002, "the flood never ends");
    }
    peer.assert_refused(PeerMisbehaved::ChannelChurn, PROTOCOL_ERROR);
    assert!(opened > 5000, "{opened}");
}

/// HTTP/2's rapid reset (CVE-2023-44487): each channel costs the application an accept and us a row.
#[test]
fn channels_opened_and_closed_in_a_flood_come_to_an_end() {
    let mut peer = logged_in(Role::Server);
    let mut opened = 0;
    while peer.error().is_none() {
        peer.send(&open("session", opened, 1000, 1000));
        let Some(offer) = peer.offered.pop() else { break };
        if peer.engine.accept_channel(offer.id, b"").is_err() {
            break;
        }
        peer.pull();
        peer.send(&message(97, &[Field::U32(offer.id)]));
        peer.engine.release_channel(offer.id);
        peer.received.retain(|payload| payload[0] == 1);
        opened += 1;
        assert!(opened <= 10_001, "{opened} channels in no time at all");
    }
    peer.pull();
    peer.assert_refused(PeerMisbehaved::ChannelChurn, PROTOCOL_ERROR);
}

#[test]
fn names_are_bounded() {
    let long = "x".repeat(257);
    for payload in [
        open(&long, 0, 9, 9),
        message(80, &[Field::Str(&long), Field::Bool(true)]),
        message(98, &[Field::U32(0), Field::Str(&long), Field::Bool(true)]),
    ] {
        let mut peer = logged_in(Role::Server);
        peer.open_channel(7, 9, 9);
        peer.send(&payload);
        peer.assert_refused(PeerMisbehaved::Malformed(WireError::TooLong), PROTOCOL_ERROR);
    }
}
