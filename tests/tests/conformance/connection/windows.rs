//! Windows and packet limits (RFC 4254 §5.2).

use std::task::Poll;

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, data, message, open};

use super::{BOTH, PROTOCOL_ERROR, confirmed, limited, logged_in, number, read_all, write};

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
