//! The ends of channels (RFC 4254 §5.3).

use std::task::{Context, Poll, Waker};

use ssh_core::Error;
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::Role;
use tests::pair::Wakes;
use tests::raw_peer::{Field, RawPeer, data, message, open};

use super::{BOTH, PROTOCOL_ERROR, cx, limited, logged_in, read_all, write};

/// RFC 4254 §5.3 has nothing come behind EOF. Dev Tunnels' Go peers end a channel in one thread while another one writes, so it
/// is dropped rather than held against the whole session; but it counts on the window, which is not credited any more.
#[test]
fn rfc4254_5_3_data_after_eof_is_dropped_and_bounded() {
    for role in BOTH {
        let mut peer = limited(role, |limits| limits.channel_window = 1000);
        let id = peer.open_channel(0, 1000, 1000);
        peer.send(&data(id, b"last"));
        peer.send(&message(96, &[Field::U32(id)]));
        assert_eq!(read_all(&mut peer, id), b"last");
        peer.send(&data(id, &[7; 900]));
        peer.assert_alive();
        assert!(matches!(peer.engine.poll_read(id, &cx(), &mut [0; 8]), Poll::Ready(Ok(0))));
        assert_eq!(peer.count(93), 0);
        peer.send(&data(id, &[7; 97]));
        peer.assert_refused(PeerMisbehaved::WindowOverrun, PROTOCOL_ERROR);
    }
}

/// Nor does it say that a channel may end before it is confirmed, which Dev Tunnels' Go peers do.
#[test]
fn the_end_of_a_channel_may_overtake_its_confirmation() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
        peer.pull();
        peer.received.clear();
        for number in [96, 97, 97] {
            peer.send(&message(number, &[Field::U32(id)]));
            peer.assert_alive();
        }
        assert!(peer.engine.poll_opened(id, &mut cx()).is_pending());
        assert_eq!(peer.count(97), 0);
        let terms = [Field::U32(id), Field::U32(77), Field::U32(1000), Field::U32(1000)];
        peer.send(&message(91, &terms));
        assert_eq!(
            std::iter::from_fn(|| peer.take(97)).collect::<Vec<_>>(),
            [message(97, &[Field::U32(77)])]
        );
        assert!(peer.engine.poll_opened(id, &mut cx()).is_ready());
        assert!(matches!(peer.engine.poll_read(id, &cx(), &mut [0; 8]), Poll::Ready(Ok(0))));
        assert!(peer.engine.poll_channel_closed(id, &mut cx()).is_ready());
        peer.engine.release_channel(id);
        peer.pull();
        assert_eq!((peer.count(97), peer.engine.channels()), (0, 0));
    }
}

#[test]
fn rfc4254_5_3_half_a_channel_may_end() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(3, 1000, 1000);
        peer.engine.send_eof(id).unwrap();
        peer.engine.send_eof(id).unwrap();
        peer.pull();
        assert_eq!(std::iter::from_fn(|| peer.take(96)).collect::<Vec<_>>(), [message(96, &[Field::U32(3)])]);
        assert!(matches!(write(&mut peer, id, b"x"), Poll::Ready(Err(Error::ApiMisuse(_)))));
        // The other half goes on.
        peer.send(&data(id, b"still here"));
        assert_eq!(read_all(&mut peer, id), b"still here");
        // Two EOFs are one.
        peer.send(&message(96, &[Field::U32(id)]));
        peer.send(&message(96, &[Field::U32(id)]));
        peer.assert_alive();
        assert!(matches!(peer.engine.poll_read(id, &cx(), &mut [0; 8]), Poll::Ready(Ok(0))));
    }
}

#[test]
fn rfc4254_5_3_a_close_is_answered_once_and_ends_both_halves() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(3, 1000, 1000);
        peer.send(&data(id, b"unread"));
        peer.send(&message(97, &[Field::U32(id)]));
        peer.send(&message(97, &[Field::U32(id)]));
        peer.assert_alive();
        assert_eq!(peer.count(97), 1);
        assert!(matches!(write(&mut peer, id, b"x"), Poll::Ready(Err(_))));
        assert_eq!(read_all(&mut peer, id), b"unread");
        assert!(matches!(peer.engine.poll_read(id, &cx(), &mut [0; 8]), Poll::Ready(Ok(0))));
        assert!(peer.engine.poll_channel_closed(id, &mut cx()).is_ready());
        peer.engine.release_channel(id);
        peer.pull();
        assert_eq!((peer.count(97), peer.engine.channels()), (1, 0));
    }
}

#[test]
fn everything_for_a_closed_channel_is_ignored() {
    for role in BOTH {
        for released in [true, false] {
            let mut peer = logged_in(role);
            let id = peer.open_channel(3, 1000, 1000);
            if released {
                peer.engine.release_channel(id);
            } else {
                peer.engine.close_channel(id).unwrap();
            }
            peer.pull();
            assert_eq!(peer.count(97), 1);
            peer.received.clear();
            for payload in [
                data(id, b"late"),
                message(95, &[Field::U32(id), Field::U32(1), Field::Bytes(b"late")]),
                message(93, &[Field::U32(id), Field::U32(7)]),
                message(98, &[Field::U32(id), Field::Str("exec"), Field::Bool(true)]),
                message(99, &[Field::U32(id)]),
                message(100, &[Field::U32(id)]),
                message(96, &[Field::U32(id)]),
                message(97, &[Field::U32(id)]),
            ] {
                peer.send(&payload);
                peer.assert_alive();
            }
            assert_eq!(peer.received, Vec::<Vec<u8>>::new());
        }
    }
}

#[test]
fn numbers_are_not_used_again() {
    let mut peer = logged_in(Role::Server);
    let mut seen = std::collections::HashSet::new();
    for ours in 0..50 {
        let id = peer.open_channel(ours, 1000, 1000);
        assert!(seen.insert(id));
        peer.send(&message(97, &[Field::U32(id)]));
        peer.engine.release_channel(id);
    }
    assert_eq!(peer.engine.channels(), 0);
}

#[test]
fn messages_for_a_channel_that_never_was_are_refused() {
    for role in BOTH {
        for payload in [
            data(5, b"x"),
            message(95, &[Field::U32(5), Field::U32(1), Field::Bytes(b"x")]),
            message(93, &[Field::U32(5), Field::U32(7)]),
            message(98, &[Field::U32(5), Field::Str("exec"), Field::Bool(true)]),
            message(99, &[Field::U32(5)]),
            message(100, &[Field::U32(5)]),
            message(96, &[Field::U32(5)]),
            message(97, &[Field::U32(5)]),
        ] {
            let mut peer = logged_in(role);
            peer.open_channel(5, 1000, 1000);
            peer.send(&payload);
            let rule = PeerMisbehaved::UnknownChannel { message: payload[0], channel: 5 };
            peer.assert_refused(rule, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn data_for_a_channel_that_is_not_confirmed_is_refused() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.send(&open("session", 0, 1000, 1000));
        let id = peer.offered[0].id;
        peer.send(&data(id, b"early"));
        let rule = PeerMisbehaved::UnknownChannel { message: 94, channel: id };
        peer.assert_refused(rule, PROTOCOL_ERROR);

        let mut peer = logged_in(role);
        let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
        peer.pull();
        peer.send(&data(id, b"early"));
        let rule = PeerMisbehaved::UnknownChannel { message: 94, channel: id };
        peer.assert_refused(rule, PROTOCOL_ERROR);
    }
}

/// The other half of a split channel may be waiting for data, requests or the end when one half closes.
#[test]
fn closing_wakes_those_who_wait_for_the_channel() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(3, 0, 1000);
        let waiters: Vec<_> = (0..4).map(|_| Wakes::new()).collect();
        let mut contexts: Vec<_> = waiters.iter().map(|(_, waker)| Context::from_waker(waker)).collect();
        assert!(peer.engine.poll_read(id, &contexts[0], &mut [0; 8]).is_pending());
        assert!(peer.engine.poll_write(id, &contexts[1], &[std::io::IoSlice::new(b"x")]).is_pending());
        assert!(peer.engine.poll_peer_request(id, &mut contexts[2]).is_pending());
        assert!(peer.engine.poll_channel_closed(id, &mut contexts[3]).is_pending());
        peer.engine.close_channel(id).unwrap();
        wake(&mut peer);
        for (name, (wakes, _)) in ["reader", "writer"].into_iter().zip(&waiters) {
            assert!(wakes.take(), "the {name} sleeps on after the close");
        }
        // Whoever waits for the peer's CLOSE is woken by it, at the latest.
        peer.send(&message(97, &[Field::U32(id)]));
        wake(&mut peer);
        assert!(peer.engine.poll_channel_closed(id, &mut cx()).is_ready());
        let (closed, _) = &waiters[3];
        assert!(closed.take(), "nobody was told of the peer's CLOSE");
    }
}

fn wake(peer: &mut RawPeer) {
    let mut batch: [Option<Waker>; 4] = Default::default();
    loop {
        let more = peer.engine.take_wakes(&mut batch);
        batch.iter_mut().filter_map(Option::take).for_each(Waker::wake);
        if !more {
            return;
        }
    }
}
