//! Requests and their answers (RFC 4254 §4, §5.4).

use std::task::Poll;

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::wire::WireError;
use ssh_core::protocol::{GlobalReply, Role};
use tests::raw_peer::{Field, message};

use super::{BOTH, PROTOCOL_ERROR, confirmed, cx, logged_in};

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
