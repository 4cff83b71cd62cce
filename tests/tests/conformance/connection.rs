//! RFC 4254.

use std::task::{Context, Poll, Waker};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{GlobalReply, OpenError, OpenFailureReason, Role};
use tests::pair::Wakes;
use tests::raw_peer::{Field, RawPeer, data, message, open};

const PROTOCOL_ERROR: u32 = 2;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn logged_in(role: Role) -> RawPeer {
    limited(role, |_| {})
}

fn limited(role: Role, change: impl FnOnce(&mut Limits)) -> RawPeer {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut peer = RawPeer::with(role, Algorithms::default(), limits);
    peer.log_in();
    peer
}

fn number(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// A channel that the engine opened and we confirmed.
fn confirmed(peer: &mut RawPeer, window: u32, max_packet: u32) -> u32 {
    let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
    peer.pull();
    peer.send(&message(91, &[Field::U32(id), Field::U32(77), Field::U32(window), Field::U32(max_packet)]));
    assert!(matches!(peer.engine.poll_opened(id, &mut cx()), Poll::Ready(Ok(_))));
    peer.received.clear();
    id
}

fn read_all(peer: &mut RawPeer, id: u32) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 5000];
    while let Poll::Ready(Ok(n @ 1..)) = peer.engine.poll_read(id, &cx(), &mut buffer) {
        all.extend_from_slice(&buffer[..n]);
    }
    peer.pull();
    all
}

fn write(peer: &mut RawPeer, id: u32, bytes: &[u8]) -> Poll<Result<usize, Error>> {
    let written = peer.engine.poll_write(id, &cx(), &[std::io::IoSlice::new(bytes)]);
    peer.pull();
    written
}

// ---- Windows -----------------------------------------------------------------------------------------

#[test]
fn rfc4254_5_2_data_past_the_window_is_refused() {
    for role in BOTH {
        for code in [None, Some(1), Some(7)] {
            let mut peer = limited(role, |limits| limits.channel_window = 1000);
            let id = peer.open_channel(0, 1000, 1000);
            let payload = |len: usize| match code {
                None => data(id, &vec![1; len]),
                Some(code) => message(95, &[Field::U32(id), Field::U32(code), Field::Bytes(&vec![1; len])]),
            };
            // Stderr that nobody keeps is credited as it comes, so only one message can be too much.
            if code.is_none() {
                peer.send(&payload(1000));
                peer.assert_alive();
                peer.send(&payload(1));
            } else {
                peer.send(&payload(1001));
            }
            peer.assert_refused(PeerMisbehaved::WindowOverrun, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4254_5_2_the_window_is_what_the_confirmation_said() {
    let mut peer = limited(Role::Server, |limits| limits.channel_window = 4321);
    peer.send(&open("session", 9, 1, 1));
    let id = peer.offered.pop().unwrap().id;
    peer.engine.accept_channel(id, b"").unwrap();
    peer.pull();
    let confirmation = peer.take(91).unwrap();
    assert_eq!(number(&confirmation, 1), 9);
    assert_eq!((number(&confirmation, 9), number(&confirmation, 13)), (4321, 32 * 1024));
}

#[test]
fn rfc4254_5_2_data_past_the_packet_limit_is_refused() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(0, 1000, 1000);
        peer.send(&data(id, &vec![1; 32 * 1024]));
        peer.assert_alive();
        peer.send(&data(id, &vec![1; 32 * 1024 + 1]));
        peer.assert_refused(PeerMisbehaved::PacketOverrun, PROTOCOL_ERROR);
    }
}

#[test]
fn rfc4254_5_2_a_window_stays_under_4_gib() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(0, u32::MAX - 5, 1000);
        peer.send(&message(93, &[Field::U32(id), Field::U32(5)]));
        peer.assert_alive();
        peer.send(&message(93, &[Field::U32(id), Field::U32(1)]));
        peer.assert_refused(PeerMisbehaved::WindowOverflow, PROTOCOL_ERROR);
    }
}

#[test]
fn rfc4254_5_2_we_keep_to_the_peers_window_and_packet_limit() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = confirmed(&mut peer, 10, 3);
        assert!(matches!(write(&mut peer, id, &[5; 100]), Poll::Ready(Ok(10))));
        let sizes: Vec<u32> = peer.received.iter().map(|payload| number(payload, 5)).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
        assert!(write(&mut peer, id, &[5; 100]).is_pending());
        peer.received.clear();
        peer.send(&message(93, &[Field::U32(id), Field::U32(1)]));
        assert!(matches!(write(&mut peer, id, &[5; 100]), Poll::Ready(Ok(1))));
        assert_eq!(peer.count(94), 1);
    }
}

#[test]
fn a_packet_limit_of_one_and_a_window_of_zero_do_not_spin() {
    let mut peer = logged_in(Role::Server);
    let id = peer.open_channel(1, 0, 1);
    assert!(write(&mut peer, id, b"hello").is_pending());
    peer.send(&message(93, &[Field::U32(id), Field::U32(u32::MAX)]));
    assert!(matches!(write(&mut peer, id, b"hello"), Poll::Ready(Ok(5))));
    assert_eq!(peer.count(94), 5);
}

#[test]
fn a_packet_limit_of_zero_is_refused() {
    let mut peer = logged_in(Role::Server);
    peer.send(&open("session", 3, 1000, 0));
    let failure = peer.take(92).unwrap();
    assert_eq!((number(&failure, 1), number(&failure, 5)), (3, 4));
    assert!(peer.offered.is_empty());
    assert_eq!(peer.engine.channels(), 0);
}

#[test]
fn extended_data_that_nobody_reads_is_credited_back() {
    for role in BOTH {
        for code in [0, 1, 2, u32::MAX] {
            let mut peer = limited(role, |limits| limits.channel_window = 1000);
            let id = peer.open_channel(4, 1000, 1000);
            let mut credited = 0;
            for _ in 0..100 {
                peer.send(&message(95, &[Field::U32(id), Field::U32(code), Field::Bytes(&[0; 100])]));
                peer.assert_alive();
                while let Some(adjust) = peer.take(93) {
                    assert_eq!(number(&adjust, 1), 4);
                    credited += number(&adjust, 5);
                }
            }
            assert!(credited > 9000, "{credited}");
            assert!(read_all(&mut peer, id).is_empty());
        }
    }
}

#[test]
fn credit_is_given_when_the_application_has_read_and_not_before() {
    for role in BOTH {
        for window in [1, 2, 3, 1000, 100_000] {
            let mut peer = limited(role, |limits| limits.channel_window = window);
            let id = peer.open_channel(4, 1000, 1000);
            let mut sent = 0;
            for round in 0..5 {
                let len = window.min(32 * 1024);
                peer.send(&data(id, &vec![round; len as usize]));
                peer.assert_alive();
                sent += len;
                assert_eq!(peer.count(93), 0, "credit before reading");
                let read = read_all(&mut peer, id);
                assert_eq!(read.len(), len as usize);
                let credited: u32 =
                    std::iter::from_fn(|| peer.take(93)).map(|adjust| number(&adjust, 5)).sum();
                assert!(credited <= sent, "{credited} of {sent}");
                if window <= 32 * 1024 {
                    assert_eq!(credited, len);
                }
            }
        }
    }
}

// ---- Ends --------------------------------------------------------------------------------------------

#[test]
fn rfc4254_5_3_no_data_comes_after_eof() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(0, 1000, 1000);
        peer.send(&data(id, b"last"));
        peer.send(&message(96, &[Field::U32(id)]));
        peer.assert_alive();
        assert_eq!(read_all(&mut peer, id), b"last");
        peer.send(&data(id, b"more"));
        peer.assert_refused(PeerMisbehaved::DataAfterEof, PROTOCOL_ERROR);
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

// ---- Opening -----------------------------------------------------------------------------------------

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

// ---- Requests ----------------------------------------------------------------------------------------

#[test]
fn answers_that_nobody_waits_for_are_dropped() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(3, 1000, 1000);
        for _ in 0..1000 {
            for payload in
                [vec![81], vec![82], message(99, &[Field::U32(id)]), message(100, &[Field::U32(id)])]
            {
                peer.send(&payload);
            }
        }
        peer.assert_alive();
        assert!(peer.received.is_empty());
        // They have not answered in advance.
        let asked = peer.engine.global_request("x", true, b"", peer.now).unwrap().unwrap();
        assert!(peer.engine.poll_global_reply(asked, &mut cx()).is_pending());
        peer.send(&[81, 7]);
        assert_eq!(
            peer.engine.poll_global_reply(asked, &mut cx()),
            Poll::Ready(Some(GlobalReply::Success(b"\x07"[..].into())))
        );
    }
}

#[test]
fn rfc4254_4_answers_leave_in_the_order_of_their_requests() {
    for role in BOTH {
        let mut peer = logged_in(role);
        for name in ["a", "b", "keepalive@openssh.com", "c"] {
            peer.send(&message(80, &[Field::Str(name), Field::Bool(true)]));
        }
        // The keepalive is answered by itself, but waits for its turn.
        assert_eq!((peer.requests.len(), peer.count(81) + peer.count(82)), (3, 0));
        let slots: Vec<u64> = peer.requests.iter().map(|request| request.slot.unwrap()).collect();
        for at in [2, 1] {
            let reply = GlobalReply::Success(vec![u8::try_from(at).unwrap()].into());
            peer.engine.answer_global_request(slots[at], reply).unwrap();
            peer.pull();
            assert_eq!(peer.count(81) + peer.count(82), 0);
        }
        peer.engine.answer_global_request(slots[0], GlobalReply::Success(vec![0].into())).unwrap();
        peer.pull();
        assert_eq!(peer.received, [vec![81, 0], vec![81, 1], vec![82], vec![81, 2]]);
    }
}

#[test]
fn rfc4254_5_4_channel_answers_leave_in_order_and_on_their_own_channel() {
    let mut peer = logged_in(Role::Server);
    let (a, b) = (peer.open_channel(10, 9, 9), peer.open_channel(20, 9, 9));
    let ask = |id: u32, name| message(98, &[Field::U32(id), Field::Str(name), Field::Bool(true)]);
    for (id, name) in [(a, "one"), (b, "other"), (a, "two")] {
        peer.send(&ask(id, name));
    }
    let mut slots = Vec::new();
    for id in [a, a, b] {
        let Poll::Ready(Some(request)) = peer.engine.poll_peer_request(id, &mut cx()) else { panic!() };
        slots.push(request.slot.unwrap());
    }
    peer.engine.answer_peer_request(a, slots[1], true).unwrap();
    peer.engine.answer_peer_request(b, slots[2], true).unwrap();
    peer.engine.answer_peer_request(a, slots[0], false).unwrap();
    peer.pull();
    assert_eq!(
        peer.received,
        [message(99, &[Field::U32(20)]), message(100, &[Field::U32(10)]), message(99, &[Field::U32(10)])]
    );
}

#[test]
fn a_request_that_is_given_up_does_not_shift_the_answers() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = confirmed(&mut peer, 9, 9);
        let mut ask = |name| peer.engine.channel_request(id, name, true, b"").unwrap().unwrap();
        let (first, second, third) = (ask("a"), ask("b"), ask("c"));
        peer.engine.abandon_channel_reply(id, first);
        peer.pull();
        for answer in [100, 99, 100] {
            peer.send(&message(answer, &[Field::U32(id)]));
        }
        assert_eq!(peer.engine.poll_channel_reply(id, third, &mut cx()), Poll::Ready(Some(false)));
        assert_eq!(peer.engine.poll_channel_reply(id, second, &mut cx()), Poll::Ready(Some(true)));

        let now = peer.now;
        let mut ask = |name| peer.engine.global_request(name, true, b"", now).unwrap().unwrap();
        let (first, second, third) = (ask("a"), ask("b"), ask("c"));
        peer.engine.abandon_global_reply(second);
        peer.pull();
        for answer in [1, 2, 3] {
            peer.send(&[81, answer]);
        }
        let reply = |n: u8| Poll::Ready(Some(GlobalReply::Success(vec![n].into())));
        assert_eq!(peer.engine.poll_global_reply(third, &mut cx()), reply(3));
        assert_eq!(peer.engine.poll_global_reply(first, &mut cx()), reply(1));
    }
}

#[test]
fn requests_without_an_answer_in_time_are_refused_past_the_limit() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(10, 9, 9);
        for _ in 0..1000 {
            peer.send(&message(98, &[Field::U32(id), Field::Str("x"), Field::Bool(false)]));
        }
        peer.assert_alive();
        let mut held = 0;
        while peer.engine.poll_peer_request(id, &mut cx()).is_ready() {
            held += 1;
        }
        assert!(held <= 64, "{held} requests were held");

        // Those that want an answer must keep their place, so the flood ends the session.
        let mut sent = 0;
        while peer.error().is_none() {
            peer.send(&message(98, &[Field::U32(id), Field::Str("x"), Field::Bool(true)]));
            sent += 1;
            assert!(sent < 1000, "the flood never ends");
        }
        peer.assert_refused(PeerMisbehaved::OutputNotRead, PROTOCOL_ERROR);
    }
}

#[test]
fn global_requests_that_nobody_looks_at_are_bounded() {
    for role in BOTH {
        for want_reply in [true, false] {
            let mut peer = logged_in(role);
            peer.looks = false;
            for _ in 0..20_000 {
                peer.send(&message(80, &[Field::Str("x"), Field::Bool(want_reply)]));
            }
            peer.looks = true;
            peer.settle();
            assert!(peer.requests.len() <= 512, "{} requests wait for the application", peer.requests.len());
        }
    }
}

#[test]
fn rfc4254_6_10_exit_status_is_kept_and_never_answered() {
    use ssh_core::protocol::ExitStatus;
    let mut peer = logged_in(Role::Client);
    let id = confirmed(&mut peer, 9, 9);
    peer.send(&message(98, &[Field::U32(id), Field::Str("exit-status"), Field::Bool(true), Field::U32(7)]));
    assert_eq!(peer.engine.exit_status(id), Some(ExitStatus::Code(7)));
    assert!(peer.received.is_empty());
    let signal = |extra: &[Field<'_>]| {
        let mut fields = vec![
            Field::U32(id),
            Field::Str("exit-signal"),
            Field::Bool(false),
            Field::Bytes(b"KILL\n"),
            Field::Bool(false),
            Field::Bytes(b"\x1b[31mbye"),
            Field::Bytes(b""),
        ];
        fields.extend_from_slice(extra);
        message(98, &fields)
    };
    peer.send(&signal(&[]));
    assert_eq!(
        peer.engine.exit_status(id),
        Some(ExitStatus::Signal { name: "KILL\\n".into(), message: "\\u{1b}[31mbye".into() })
    );
    peer.assert_alive();
    peer.send(&signal(&[Field::U32(1)]));
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::Trailing), PROTOCOL_ERROR);
}
