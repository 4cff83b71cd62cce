//! RFC 4253 §8 and §9, RFC 5656 §4, RFC 8731: shares, signatures, later exchanges.

use std::sync::Arc;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::default_provider;
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::Role;
use ssh_core::protocol::wire::WireError;
use tests::raw_peer::{Field, Offer, RawPeer, data, message, open};

const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

/// An engine that has chosen `method` and, if it is a client, has sent its share.
fn choosing(role: Role, method: &str) -> RawPeer {
    let algorithms = Algorithms::default().with_kex(method).unwrap();
    let mut peer = RawPeer::with(role, algorithms, Limits::default());
    let mut offer = Offer::sound(peer.role());
    offer.kex = offer.kex.replace("curve25519-sha256", method);
    peer.send_version();
    peer.send_kexinit(&offer);
    peer.assert_alive();
    peer
}

/// Sends `share`, as a server in a reply that is otherwise well formed.
fn send_share(peer: &mut RawPeer, share: &[u8]) {
    let message = match peer.role() {
        Role::Client => message(30, &[Field::Bytes(share)]),
        Role::Server => {
            let mut signature = Vec::new();
            tests::raw_peer::put_string(&mut signature, b"ssh-ed25519");
            tests::raw_peer::put_string(&mut signature, &[0; 64]);
            let key = peer.host_key.public_key().to_blob();
            message(31, &[Field::Bytes(&key), Field::Bytes(share), Field::Bytes(&signature)])
        }
    };
    peer.send(&message);
}

/// The modulus of RFC 3526 group 16, from its definition: 2^4096 - 2^4032 - 1 + 2^64 * (floor(2^3966 pi) + 240904).
/// Only its ends are needed here, which all groups of RFC 3526 share.
fn modulus_like(len: usize, last: u8) -> Vec<u8> {
    let mut p = vec![0xff; len];
    p[len - 1] = last;
    p
}

#[test]
fn rfc8731_3_shares_of_low_order_are_refused() {
    // The points of small order, from the curve's own definition.
    let low_order: [[u8; 32]; 7] = {
        let number = |low: u8, fill: u8, high: u8| {
            let mut point = [fill; 32];
            point[0] = low;
            point[31] = high;
            point
        };
        [
            number(0, 0, 0),
            number(1, 0, 0),
            [
                0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
                0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
                0xb8, 0x00,
            ],
            [
                0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
                0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
                0x11, 0x57,
            ],
            // p - 1, p, p + 1.
            number(0xec, 0xff, 0x7f),
            number(0xed, 0xff, 0x7f),
            number(0xee, 0xff, 0x7f),
        ]
    };
    for role in BOTH {
        for share in &low_order {
            let mut peer = choosing(role, "curve25519-sha256");
            send_share(&mut peer, share);
            peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
        }
        for len in [0, 31, 33, 64] {
            let mut peer = choosing(role, "curve25519-sha256");
            send_share(&mut peer, &vec![9; len]);
            peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
        }
    }
}

#[test]
fn rfc5656_4_points_off_the_curve_compressed_or_infinite_are_refused() {
    for role in BOTH {
        for (method, len) in
            [("ecdh-sha2-nistp256", 32), ("ecdh-sha2-nistp384", 48), ("ecdh-sha2-nistp521", 66)]
        {
            let off_curve = [&[4][..], &vec![1; 2 * len]].concat();
            let not_reduced = [&[4][..], &vec![0xff; 2 * len]].concat();
            let compressed = [&[2][..], &vec![1; len]].concat();
            for share in [off_curve, not_reduced, compressed, vec![0], vec![], vec![4], vec![4; 2 * len]] {
                let mut peer = choosing(role, method);
                send_share(&mut peer, &share);
                peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
            }
        }
    }
}

#[test]
fn hybrids_refuse_shares_of_a_wrong_length_and_low_order() {
    for role in BOTH {
        for (method, to_server, to_client) in
            [("mlkem768x25519-sha256", 1184, 1088), ("sntrup761x25519-sha512", 1158, 1039)]
        {
            let len = if role == Role::Server { to_server } else { to_client };
            // All zero, so the curve's half is of low order whatever the other half is.
            for share in [vec![0; len + 32], vec![0; len + 31], vec![0; len + 33], vec![], vec![1; 32]] {
                let mut peer = choosing(role, method);
                send_share(&mut peer, &share);
                peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
            }
        }
    }
}

#[test]
fn rfc4253_8_numbers_outside_of_the_group_are_refused() {
    for role in BOTH {
        for (method, len) in [("diffie-hellman-group14-sha256", 256), ("diffie-hellman-group16-sha512", 512)]
        {
            // A number over p - 2 in every group of this length: p ends in 64 ones.
            let mut shares = vec![
                vec![],
                vec![1],
                [&[0][..], &modulus_like(len, 0xff)].concat(),
                [&[1][..], &vec![0; len]].concat(),
                vec![0x7f; len + 1],
            ];
            // Not minimal, negative.
            shares.extend([vec![0], vec![0, 2], vec![0x80], vec![0xff; len]]);
            for share in shares {
                let mut peer = choosing(role, method);
                assert!(peer.is_number_share(method));
                send_share(&mut peer, &share);
                peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
            }
        }
    }
}

#[test]
fn rfc4253_8_the_ends_of_group_14_are_exact() {
    let p = group_14();
    for (minus, good) in [(0_u8, false), (1, false), (2, true)] {
        let mut share = vec![0];
        share.extend(&p);
        // p ends in eight bytes of ones.
        *share.last_mut().unwrap() -= minus;
        let mut peer = choosing(Role::Server, "diffie-hellman-group14-sha256");
        send_share(&mut peer, &share);
        if good {
            peer.assert_alive();
            assert_eq!(peer.count(31), 1);
        } else {
            peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
        }
    }
    let mut peer = choosing(Role::Server, "diffie-hellman-group14-sha256");
    send_share(&mut peer, &[2]);
    assert_eq!(peer.count(31), 1);
}

/// RFC 3526 §3.
fn group_14() -> Vec<u8> {
    const P: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
        EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
        EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F\
        83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
        E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510\
        15728E5A8AACAA68FFFFFFFFFFFFFFFF";
    tests::vectors::bytes(&serde_json::Value::from(P))
}

#[test]
fn trailing_bytes_behind_a_share_are_refused() {
    let mut peer = choosing(Role::Server, "curve25519-sha256");
    peer.send(&[&message(30, &[Field::Bytes(&[9; 32])])[..], b"x"].concat());
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::Trailing), PROTOCOL_ERROR);

    let mut peer = choosing(Role::Client, "curve25519-sha256");
    let mut reply = peer.reply(|_| {});
    reply.push(0);
    peer.send(&reply);
    peer.assert_refused(PeerMisbehaved::Malformed(WireError::Trailing), PROTOCOL_ERROR);
    assert!(peer.host_key_seen.is_none());
}

fn assert_reply_refused(spoil: impl FnOnce(&mut tests::raw_peer::Reply), rule: PeerMisbehaved) {
    let mut peer = choosing(Role::Client, "curve25519-sha256");
    let reply = peer.reply(spoil);
    peer.send(&reply);
    peer.assert_refused(rule, KEY_EXCHANGE_FAILED);
    assert!(
        peer.host_key_seen.is_none() && peer.count(21) == 0,
        "nothing is made of a key that is not proved"
    );
}

#[test]
fn rfc4253_8_the_host_key_must_have_signed_this_very_exchange() {
    assert_reply_refused(|reply| reply.signature[3] ^= 1, PeerMisbehaved::BadHostSignature);
    assert_reply_refused(|reply| reply.signature.truncate(63), PeerMisbehaved::BadHostSignature);
    assert_reply_refused(|reply| reply.signature.push(0), PeerMisbehaved::BadHostSignature);
    assert_reply_refused(|reply| reply.signature = vec![0; 64], PeerMisbehaved::BadHostSignature);
    // Another valid share: the signature is over another hash.
    assert_reply_refused(
        |reply| {
            let method = default_provider().key_exchange("curve25519-sha256").unwrap();
            reply.share = method.start(default_provider().random).unwrap().share().to_vec();
        },
        PeerMisbehaved::BadHostSignature,
    );
    // Somebody else's key.
    assert_reply_refused(
        |reply| reply.host_key = some_key(KeyKind::Ed25519).public_key().to_blob(),
        PeerMisbehaved::BadHostSignature,
    );
}

#[test]
fn rfc4253_8_the_signature_carries_the_algorithm_that_was_chosen() {
    for name in ["ssh-rsa", "rsa-sha2-512", "ecdsa-sha2-nistp256", "", "SSH-ED25519"] {
        assert_reply_refused(|reply| reply.algorithm = name.into(), PeerMisbehaved::BadHostSignature);
    }
}

#[test]
fn a_host_key_of_another_kind_than_was_chosen_is_refused() {
    let key = some_key(KeyKind::Ecdsa(ssh_core::keys::Curve::P256)).public_key().to_blob();
    assert_reply_refused(|reply| reply.host_key = key, PeerMisbehaved::BadHostSignature);
}

#[test]
fn a_host_key_that_is_none_is_refused() {
    for blob in [&b""[..], b"\0\0\0\x0bssh-ed25519\0\0\0\x05short", b"\xff\xff\xff\xff"] {
        let mut peer = choosing(Role::Client, "curve25519-sha256");
        let reply = peer.reply(|reply| reply.host_key = blob.to_vec());
        peer.send(&reply);
        assert!(
            matches!(peer.error(), Some(ssh_core::Error::PeerMisbehaved(PeerMisbehaved::BadHostKey(_)))),
            "{:?}",
            peer.error()
        );
        assert_eq!(peer.disconnect(), Some(KEY_EXCHANGE_FAILED));
    }
}

fn some_key(kind: KeyKind) -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(kind, 0).unwrap(), provider).unwrap()
}

#[test]
fn rfc4253_9_the_host_key_stays_the_same_in_later_exchanges() {
    let mut peer = RawPeer::against(Role::Client);
    peer.log_in();
    peer.rekey();
    peer.assert_alive();
    peer.host_key = Arc::new(some_key(KeyKind::Ed25519));
    peer.send_kexinit(&Offer::without_strict());
    peer.send_reply();
    peer.assert_refused(PeerMisbehaved::HostKeyChanged, KEY_EXCHANGE_FAILED);
}

#[test]
fn rfc4253_9_keys_are_exchanged_again_and_again_at_either_ones_wish() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.log_in();
        let id = peer.open_channel(5, 1000, 1000);
        let session_id = peer.session_id.clone();
        for round in 0..6_u8 {
            if round % 2 == 0 {
                peer.rekey();
            } else {
                peer.engine.rekey(peer.now).unwrap();
                peer.pull();
                assert_eq!(peer.count(20), usize::from(round) + 1);
                peer.rekey();
            }
            peer.assert_alive();
            peer.send(&data(id, &[round]));
            assert_eq!(peer.session_id, session_id);
        }
        // KEXINITs after the first carry no markers and no EXT_INFO follows.
        assert_eq!(peer.count(20), 6);
        let kexinit = peer.take(20).unwrap();
        let text = String::from_utf8_lossy(&kexinit);
        assert!(!text.contains("kex-strict") && !text.contains("ext-info"), "{text}");
        assert_eq!(peer.count(7), 0);
        let mut buffer = [0; 16];
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(matches!(peer.engine.poll_read(id, &cx, &mut buffer), std::task::Poll::Ready(Ok(6))));
        assert_eq!(buffer[..6], [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn dev_tunnels_go_keeps_sending_channel_messages_between_kexinit_and_new_keys() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.log_in();
        let id = peer.open_channel(5, 1000, 1000);
        peer.send_kexinit(&Offer::without_strict());
        peer.send(&data(id, b"late"));
        match role {
            Role::Server => peer.send_share(),
            Role::Client => peer.send_reply(),
        }
        peer.send(&data(id, b"r"));
        peer.send(&open("session", 6, 1000, 1000));
        assert_eq!(peer.offered.len(), 1);
        peer.send_new_keys();
        peer.assert_alive();
        let mut buffer = [0; 16];
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(matches!(peer.engine.poll_read(id, &cx, &mut buffer), std::task::Poll::Ready(Ok(5))));
    }
}

#[test]
fn rfc4253_7_1_services_and_authentication_are_refused_during_an_exchange() {
    for role in BOTH {
        for number in [5, 6, 7, 50, 51, 52, 53, 60, 61] {
            let mut peer = RawPeer::against(role);
            peer.log_in();
            peer.send_kexinit(&Offer::without_strict());
            let payload = match number {
                5 => message(5, &[Field::Str("ssh-connection")]),
                7 => message(7, &[Field::U32(0)]),
                50 => tests::raw_peer::password("ada", "secret"),
                _ => message(number, &[Field::U32(0)]),
            };
            peer.send(&payload);
            peer.assert_refused(PeerMisbehaved::UnexpectedMessage(number), PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_7_1_we_send_nothing_else_between_kexinit_and_new_keys() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.log_in();
        let id = peer.open_channel(5, 1000, 1000);
        peer.received.clear();
        peer.send_kexinit(&Offer::without_strict());
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        let slices = [std::io::IoSlice::new(b"data")];
        assert!(peer.engine.poll_write(id, &cx, &slices).is_pending());
        peer.engine.send_eof(id).unwrap();
        peer.engine.global_request("x", true, b"", peer.now).unwrap();
        peer.send(&message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]));
        peer.pull();
        let numbers: Vec<u8> = peer.received.iter().map(|payload| payload[0]).collect();
        assert!(numbers.iter().all(|number| (20..=49).contains(number)), "{numbers:?}");
        peer.exchange_keys();
        peer.assert_alive();
        let numbers: Vec<u8> = peer.received.iter().map(|payload| payload[0]).filter(|n| *n >= 80).collect();
        assert_eq!(numbers, [96, 80, 82]);
    }
}
