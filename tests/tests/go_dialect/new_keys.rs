//! Go changes its own key only when it has the other side's NEWKEYS, and does not stop talking meanwhile.

use ssh_core::Error;
use ssh_core::config::Algorithms;
use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::Role;
use tests::raw_peer::{RawPeer, data, message, open, password};

use super::go_peer::{GoPeer, VERSION, later_offer, offer};

const BAD_MAC: u32 = 5;
const BOTH: [Role; 2] = [Role::Client, Role::Server];
/// Every form of protection that Go has: the length in the clear with and without a MAC of its own, and the length under
/// encryption, in a counter mode and in a chained one.
const PROTECTIONS: [(&str, &str); 4] = [
    ("aes256-gcm@openssh.com", "hmac-sha2-512-etm@openssh.com"),
    ("aes256-ctr", "hmac-sha2-256-etm@openssh.com"),
    ("aes256-ctr", "hmac-sha2-512"),
    ("aes256-cbc", "hmac-sha2-256"),
];

fn logged_in(role: Role, version: &str, (cipher, mac): (&str, &str)) -> RawPeer {
    let algorithms =
        Algorithms::default().with_ciphers(cipher).and_then(|these| these.with_macs(mac)).unwrap();
    let algorithms = algorithms.danger_with_cbc_and_plain_macs();
    let mut peer = GoPeer::with(role, algorithms).raw.with_version(version);
    peer.connect_offering(&offer(peer.role(), cipher, mac));
    peer.authenticate();
    peer
}

/// Up to and with the peer's NEWKEYS, behind which the old key is still in use.
fn up_to_new_keys(peer: &mut RawPeer, (cipher, mac): (&str, &str), mut between: impl FnMut(&mut RawPeer)) {
    peer.send_kexinit(&later_offer(peer.role(), cipher, mac));
    between(peer);
    match peer.role() {
        Role::Client => peer.send_share(),
        Role::Server => peer.send_reply(),
    }
    between(peer);
    let new_keys = peer.seal(&[21]);
    peer.send_bytes(&new_keys);
}

#[test]
fn data_goes_on_under_the_old_key_until_our_new_keys_have_come() {
    for (role, protection) in BOTH.into_iter().flat_map(|role| PROTECTIONS.map(|with| (role, with))) {
        let mut peer = logged_in(role, VERSION, protection);
        let id = peer.open_channel(0, 1 << 20, 1 << 15);
        let mut expected = Vec::new();
        for round in 0..3_u8 {
            let mut say = |peer: &mut RawPeer, len: usize| {
                let piece = vec![round; len];
                peer.send(&data(id, &piece));
                expected.extend(piece);
            };
            up_to_new_keys(&mut peer, protection, |peer| say(peer, 10));
            // Nothing, little, and much of it.
            for _ in 0..round {
                say(&mut peer, 30_000);
                say(&mut peer, 1);
            }
            peer.use_new_keys();
            say(&mut peer, 20);
            say(&mut peer, 3000);
            peer.assert_alive();
        }
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut received: Vec<u8> = Vec::new();
        let mut buffer = [0; 8192];
        while let std::task::Poll::Ready(Ok(len @ 1..)) = peer.engine.poll_read(id, &cx, &mut buffer) {
            received.extend(&buffer[..len]);
        }
        assert!(received == expected, "{role:?} {protection:?}");
        // Our own NEWKEYS stands between the keys of the other way, as the RFC has it.
        peer.settle();
        peer.engine.global_request("x", true, b"", peer.now).unwrap();
        peer.pull();
        assert_eq!(peer.count(80), 1);
    }
}

/// The stream may be torn anywhere, so also within a packet that turns out to be under the new key.
#[test]
fn a_packet_at_the_change_of_keys_may_come_in_pieces() {
    for (role, protection) in BOTH.into_iter().flat_map(|role| PROTECTIONS.map(|with| (role, with))) {
        let mut peer = logged_in(role, VERSION, protection);
        let id = peer.open_channel(0, 1 << 20, 1 << 15);
        up_to_new_keys(&mut peer, protection, |_| {});
        let late = peer.seal(&data(id, b"old "));
        peer.use_new_keys();
        let first = peer.seal(&data(id, b"new"));
        for byte in [late, first].concat() {
            peer.send_bytes(&[byte]);
        }
        peer.assert_alive();
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut buffer = [0; 16];
        assert!(matches!(peer.engine.poll_read(id, &cx, &mut buffer), std::task::Poll::Ready(Ok(7))));
        assert_eq!(buffer[..7], *b"old new");
    }
}

#[test]
fn only_go_is_borne_so_and_only_until_it_has_changed() {
    for (role, protection) in BOTH.into_iter().flat_map(|role| PROTECTIONS.map(|with| (role, with))) {
        for version in ["SSH-2.0-dev-tunnels-ssh_3.12.42", "SSH-2.0-Raw_1.0"] {
            let mut peer = logged_in(role, version, protection);
            let id = peer.open_channel(0, 1 << 20, 1 << 15);
            up_to_new_keys(&mut peer, protection, |_| {});
            peer.send(&data(id, &[0; 3000]));
            let refused = matches!(
                peer.error(),
                Some(Error::PeerMisbehaved(
                    PeerMisbehaved::BadMac | PeerMisbehaved::PacketLength(_) | PeerMisbehaved::Misaligned
                ))
            );
            assert!(refused, "{role:?} {version} {protection:?} {:?}", peer.error());
        }
    }
    // The length is in the clear here, so it is the tag that does not fit.
    let protection = PROTECTIONS[0];
    for role in BOTH {
        let mut peer = logged_in(role, VERSION, protection);
        let id = peer.open_channel(0, 1 << 20, 1 << 15);
        up_to_new_keys(&mut peer, protection, |_| {});
        let late = peer.seal(&data(id, b"late"));
        peer.use_new_keys();
        peer.send(&data(id, b"new"));
        peer.assert_alive();
        peer.send_bytes(&late);
        peer.assert_refused(PeerMisbehaved::BadMac, BAD_MAC);

        // What is under neither key is forged.
        let mut peer = logged_in(role, VERSION, protection);
        let id = peer.open_channel(0, 1 << 20, 1 << 15);
        up_to_new_keys(&mut peer, protection, |_| {});
        let mut forged = peer.seal(&data(id, b"late"));
        *forged.last_mut().unwrap() ^= 1;
        peer.send_bytes(&forged);
        peer.assert_refused(PeerMisbehaved::BadMac, BAD_MAC);
    }
}

/// Before the first keys there is no key whose packets could be late.
#[test]
fn nothing_in_the_clear_comes_behind_the_first_new_keys() {
    for role in BOTH {
        let mut peer = GoPeer::against(role).raw;
        peer.send_version();
        let first = offer(peer.role(), "aes256-gcm@openssh.com", "hmac-sha2-256");
        peer.send_kexinit(&first);
        match peer.role() {
            Role::Client => peer.send_share(),
            Role::Server => peer.send_reply(),
        }
        let new_keys = peer.seal(&[21]);
        peer.send_bytes(&new_keys);
        peer.assert_alive();
        peer.send(&message(2, &[]));
        assert!(peer.error().is_some(), "{role:?}");
    }
}

/// With a small threshold Go begins an exchange in the middle of its login.
#[test]
fn a_login_goes_on_through_an_exchange() {
    let protection = PROTECTIONS[0];
    let mut peer = GoPeer::against(Role::Server).raw;
    peer.connect_offering(&offer(Role::Client, protection.0, protection.1));
    peer.send_kexinit(&later_offer(peer.role(), protection.0, protection.1));
    peer.send(&message(5, &[tests::raw_peer::Field::Str("ssh-userauth")]));
    peer.send_share();
    peer.send(&password("ada", "secret"));
    peer.send_new_keys();
    assert_eq!((peer.authenticated, peer.count(6), peer.count(52)), (1, 1, 1), "{:?}", peer.error());

    let mut peer = GoPeer::against(Role::Client).raw;
    peer.connect_offering(&offer(Role::Server, protection.0, protection.1));
    peer.send_kexinit(&later_offer(peer.role(), protection.0, protection.1));
    peer.send(&message(6, &[tests::raw_peer::Field::Str("ssh-userauth")]));
    peer.send_reply();
    peer.send(&[52]);
    peer.send_new_keys();
    peer.send(&open("session", 0, 9, 9));
    assert_eq!((peer.authenticated, peer.offered.len()), (1, 1), "{:?}", peer.error());
}
