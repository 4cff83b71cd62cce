//! RFC 4253 §6, in the clear and sealed.

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, Offer, RawPeer, data, message, plain_packet};

const PROTOCOL_ERROR: u32 = 2;
const MAC_ERROR: u32 = 5;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

#[test]
fn rfc4253_6_1_lengths_out_of_bounds_are_refused_by_their_four_bytes() {
    for role in BOTH {
        for length in [0, 1, 5, 35_001, 1 << 20, u32::MAX - 3, u32::MAX] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            // Nothing follows: the verdict must not wait for what was promised.
            peer.send_bytes(&length.to_be_bytes());
            peer.assert_refused(PeerMisbehaved::PacketLength(length), PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_6_1_sealed_lengths_are_refused_by_their_four_bytes() {
    for role in BOTH {
        for length in [0, 1, 5, 256 * 1024 + 16, u32::MAX] {
            let mut peer = RawPeer::against(role);
            peer.connect();
            peer.send_bytes(&length.to_be_bytes());
            peer.assert_refused(PeerMisbehaved::PacketLength(length), PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_6_padding_is_four_bytes_at_least_and_leaves_a_payload() {
    for role in BOTH {
        for packet in [
            // Padding of 3; padding as long as the packet, longer than it; no payload.
            plain_packet(&[2, 0, 0, 0, 0, 0, 0, 0], 3),
            [&[0, 0, 0, 12, 12][..], &[0; 11]].concat(),
            [&[0, 0, 0, 12, 255][..], &[0; 11]].concat(),
            plain_packet(&[], 11),
        ] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.send_bytes(&packet);
            peer.assert_refused(PeerMisbehaved::Padding, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_6_misaligned_packets_are_borne_in_the_clear_as_go_peers_send_them() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.send_version();
        peer.send_bytes(&plain_packet(&[2, 0, 0, 0, 0], 4));
        peer.assert_alive();
    }
}

#[test]
fn rfc4253_6_a_sealed_packet_is_aligned() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.connect();
        let packet = peer.seal_framed(&plain_packet(&[2, 0, 0, 0, 0], 4));
        peer.send_bytes(&packet);
        peer.assert_refused(PeerMisbehaved::Misaligned, PROTOCOL_ERROR);
    }
}

#[test]
fn rfc4253_6_a_well_sealed_packet_may_still_be_malformed() {
    let macs = "hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512,hmac-sha2-256";
    // A server offers ChaCha20 if it is told to.
    let ciphers = Algorithms::default().ciphers().join(",");
    let algorithms =
        Algorithms::default().with_macs(macs).and_then(|all| all.with_ciphers(&ciphers)).unwrap();
    // With the MAC over the plain text the length is part of the first block.
    for (cipher, mac, len) in [
        ("aes256-gcm@openssh.com", "hmac-sha2-256", 16),
        ("aes128-gcm@openssh.com", "hmac-sha2-256", 32),
        ("chacha20-poly1305@openssh.com", "hmac-sha2-256", 16),
        ("aes256-ctr", "hmac-sha2-512-etm@openssh.com", 16),
        ("aes256-ctr", "hmac-sha2-256-etm@openssh.com", 16),
        ("aes256-ctr", "hmac-sha2-512", 28),
        ("aes256-ctr", "hmac-sha2-256", 28),
    ] {
        for role in BOTH {
            let empty = plain_packet(&[], len - 1);
            let short = plain_packet(&vec![2; usize::from(len) - 4], 3);
            let mut long = plain_packet(&vec![2; usize::from(len) - 5], 4);
            long[4] = 200;
            let mut all = plain_packet(&vec![2; usize::from(len) - 5], 4);
            all[4] = len - 1;
            for packet in [empty, short, long, all] {
                let mut peer = RawPeer::with(role, algorithms.clone(), Limits::default());
                let offer = Offer { cipher: cipher.into(), mac: mac.into(), ..Offer::sound(peer.role()) };
                peer.connect_offering(&offer);
                let packet = peer.seal_framed(&packet);
                peer.send_bytes(&packet);
                peer.assert_refused(PeerMisbehaved::Padding, PROTOCOL_ERROR);
            }
        }
    }
}

/// A logged in peer with a channel, and a sealed data packet for it.
fn with_data(role: Role) -> (RawPeer, u32, Vec<u8>) {
    let mut peer = RawPeer::against(role);
    peer.log_in();
    let id = peer.open_channel(0, 1 << 20, 32 * 1024);
    let packet = peer.seal(&data(id, b"attack at dawn"));
    (peer, id, packet)
}

fn read(peer: &mut RawPeer, id: u32) -> Option<Vec<u8>> {
    let mut buffer = [0; 64];
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    match peer.engine.poll_read(id, &cx, &mut buffer) {
        std::task::Poll::Ready(Ok(n)) => Some(buffer[..n].to_vec()),
        _ => None,
    }
}

#[test]
fn rfc4253_6_4_any_flipped_bit_ends_the_session_and_delivers_nothing() {
    for role in BOTH {
        let (.., packet) = with_data(role);
        for bit in 0..packet.len() * 8 {
            let (mut peer, id, mut packet) = with_data(role);
            packet[bit / 8] ^= 1 << (bit % 8);
            peer.send_bytes(&packet);
            // A length that became longer is known for wrong when it has come.
            if peer.error().is_none() {
                assert!(bit < 32, "bit {bit} was not noticed");
                peer.send_bytes(&vec![0; 300 * 1024]);
            }
            let reason = peer.disconnect();
            match peer.error() {
                Some(Error::PeerMisbehaved(PeerMisbehaved::BadMac)) => assert_eq!(reason, Some(MAC_ERROR)),
                Some(Error::PeerMisbehaved(PeerMisbehaved::PacketLength(_) | PeerMisbehaved::Misaligned))
                    if bit < 32 =>
                {
                    assert_eq!(reason, Some(PROTOCOL_ERROR))
                }
                other => panic!("bit {bit}: {other:?}"),
            }
            assert_eq!(read(&mut peer, id), None);
        }
    }
}

#[test]
fn rfc4253_6_4_a_packet_replayed_swapped_or_cut_out_ends_the_session() {
    for role in BOTH {
        let (mut peer, _, packet) = with_data(role);
        peer.send_bytes(&packet);
        peer.assert_alive();
        peer.send_bytes(&packet);
        peer.assert_refused(PeerMisbehaved::BadMac, MAC_ERROR);

        let (mut peer, id, first) = with_data(role);
        let second = peer.seal(&data(id, b"retreat at noon"));
        peer.send_bytes(&second);
        peer.send_bytes(&first);
        peer.assert_refused(PeerMisbehaved::BadMac, MAC_ERROR);
        assert_eq!(read(&mut peer, id), None);
    }
}

#[test]
fn rfc4253_11_4_unknown_messages_are_answered_with_their_sequence_number() {
    for role in BOTH {
        for number in [128, 192, 255] {
            let mut peer = RawPeer::against(role);
            peer.log_in();
            for _ in 0..3 {
                peer.send(&[2, 0, 0, 0, 0]);
            }
            let sequence = match role {
                // Strict: counted from NEWKEYS. A server was sent SERVICE_REQUEST and a login, a client two answers.
                Role::Server | Role::Client => 5_u32,
            };
            peer.send(&[number, 1, 2, 3]);
            peer.assert_alive();
            assert_eq!(peer.take(3), Some(message(3, &[Field::U32(sequence)])), "{number}");
        }
    }
}

#[test]
fn rfc4253_11_4_unknown_messages_of_the_connection_protocol_are_answered_too() {
    let mut peer = RawPeer::against(Role::Server);
    peer.log_in();
    for number in [83, 89, 101, 127] {
        peer.send(&[number]);
        peer.assert_alive();
        assert!(peer.take(3).is_some(), "{number}");
    }
}

#[test]
fn rfc4253_11_1_a_disconnect_ends_the_session_and_is_not_answered() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.log_in();
        peer.send(&message(1, &[Field::U32(11), Field::Bytes(b"bye\x1b[31m")]));
        let Some(Error::Disconnected { reason, text }) = peer.error() else { panic!("{:?}", peer.error()) };
        assert_eq!((reason.0, &**text), (11, "bye\\u{1b}[31m"));
        assert_eq!(peer.disconnect(), None);
    }
}

#[test]
fn messages_end_at_their_last_byte() {
    let whole: &[(u8, Vec<u8>)] = &[
        (96, message(96, &[Field::U32(0)])),
        (97, message(97, &[Field::U32(0)])),
        (93, message(93, &[Field::U32(0), Field::U32(5)])),
        (94, data(0, b"x")),
        (95, message(95, &[Field::U32(0), Field::U32(1), Field::Bytes(b"x")])),
        (99, message(99, &[Field::U32(0)])),
    ];
    for (number, payload) in whole {
        for cut in 1..payload.len() {
            let mut peer = RawPeer::against(Role::Server);
            peer.log_in();
            peer.open_channel(0, 1000, 1000);
            peer.send(&payload[..cut]);
            assert!(
                matches!(peer.error(), Some(Error::PeerMisbehaved(PeerMisbehaved::Malformed(_)))),
                "{number} cut at {cut}: {:?}",
                peer.error()
            );
            assert_eq!(peer.disconnect(), Some(PROTOCOL_ERROR));
        }
        let mut peer = RawPeer::against(Role::Server);
        peer.log_in();
        peer.open_channel(0, 1000, 1000);
        peer.send(&[&payload[..], &[0]].concat());
        assert!(
            matches!(peer.error(), Some(Error::PeerMisbehaved(PeerMisbehaved::Malformed(_)))),
            "{number}"
        );
    }
}
