//! OpenSSH PROTOCOL §1.9 and CVE-2023-48795.

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::{PeerIncompatible, PeerMisbehaved};
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, Offer, RawPeer, message};

const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const MAC_ERROR: u32 = 5;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn ignore() -> Vec<u8> {
    message(2, &[Field::Bytes(b"")])
}

fn debug() -> Vec<u8> {
    message(4, &[Field::Bool(false), Field::Bytes(b""), Field::Bytes(b"")])
}

fn unimplemented() -> Vec<u8> {
    message(3, &[Field::U32(0)])
}

#[test]
fn strict_kexinit_is_the_first_packet() {
    for role in BOTH {
        for early in [ignore(), debug(), unimplemented()] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.send(&early);
            peer.assert_alive();
            peer.send_kexinit(&Offer::sound(peer.role()));
            peer.assert_refused(PeerMisbehaved::StrictKex, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn strict_nothing_but_the_exchange_may_come_before_new_keys() {
    for role in BOTH {
        for early in [ignore(), debug(), unimplemented()] {
            for behind_share in [false, true] {
                let mut peer = RawPeer::against(role);
                peer.send_version();
                peer.send_kexinit(&Offer::sound(peer.role()));
                if behind_share {
                    match role {
                        Role::Server => peer.send_share(),
                        Role::Client => peer.send_reply(),
                    }
                }
                peer.assert_alive();
                peer.send(&early);
                peer.assert_refused(PeerMisbehaved::StrictKex, PROTOCOL_ERROR);
            }
        }
    }
}

#[test]
fn without_strict_these_are_borne() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.send_version();
        peer.send(&ignore());
        peer.send_kexinit(&Offer::without_strict());
        peer.send(&debug());
        peer.exchange_keys();
        peer.assert_alive();
        assert!(!peer.engine.is_strict_kex());
        peer.authenticate();
    }
}

#[test]
fn strict_numbers_start_again_with_each_key() {
    // AES-GCM takes no number, so this needs a cipher that does.
    for role in BOTH {
        for (cipher, mac) in [
            ("chacha20-poly1305@openssh.com", "hmac-sha2-256"),
            ("aes256-ctr", "hmac-sha2-256-etm@openssh.com"),
        ] {
            let mut peer = RawPeer::against(role);
            let mut offer = Offer::sound(peer.role());
            (offer.cipher, offer.mac) = (cipher.into(), mac.into());
            peer.connect_offering(&offer);
            assert!(peer.engine.is_strict_kex());
            peer.authenticate();
            for _ in 0..2 {
                let again = Offer { kex: "curve25519-sha256".into(), ..offer.clone() };
                peer.send_kexinit(&again);
                peer.exchange_keys();
                peer.send(&ignore());
                peer.assert_alive();
            }
        }
    }
}

#[test]
fn without_strict_numbers_run_on() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        let mut offer = Offer::without_strict();
        (offer.cipher, offer.mac) = ("aes256-ctr".into(), "hmac-sha2-256-etm@openssh.com".into());
        peer.connect_offering(&offer);
        peer.authenticate();
        peer.send_kexinit(&offer);
        peer.exchange_keys();
        peer.send(&ignore());
        peer.assert_alive();
    }
}

#[test]
fn what_terrapin_breaks_is_refused_without_strict() {
    let algorithms = || {
        Algorithms::default()
            .with_ciphers("chacha20-poly1305@openssh.com,aes256-cbc,aes256-ctr")
            .and_then(|algorithms| algorithms.with_macs("hmac-sha2-256-etm@openssh.com,hmac-sha2-256"))
            .unwrap()
    };
    for role in BOTH {
        for (cipher, mac, sound) in [
            ("chacha20-poly1305@openssh.com", "hmac-sha2-256", false),
            ("aes256-cbc", "hmac-sha2-256-etm@openssh.com", false),
            ("aes256-ctr", "hmac-sha2-256-etm@openssh.com", true),
        ] {
            let mut peer = RawPeer::with(role, algorithms(), Limits::default());
            let mut offer = Offer::without_strict();
            (offer.cipher, offer.mac) = (cipher.into(), mac.into());
            peer.send_version();
            peer.send_kexinit(&offer);
            if sound {
                peer.assert_alive();
                continue;
            }
            match peer.error() {
                Some(Error::PeerIncompatible(PeerIncompatible::NeedsStrictKex(found))) => {
                    assert_eq!(*found, cipher);
                }
                other => panic!("{cipher}: {other:?}"),
            }
            assert_eq!(peer.disconnect(), Some(KEY_EXCHANGE_FAILED));
        }
    }
}

/// The attack itself, on one direction: something is slipped in before NEWKEYS, and the first sealed packet is cut
/// out so that the numbers are right again.
#[test]
fn terrapin_a_packet_cut_out_behind_new_keys_is_noticed() {
    for role in BOTH {
        // With strict key exchange already what is slipped in is noticed; here an attacker only cuts.
        let mut peer = RawPeer::against(role);
        let mut offer = Offer::sound(peer.role());
        offer.cipher = "chacha20-poly1305@openssh.com".into();
        peer.connect_offering(&offer);
        let cut_out = peer.seal(&message(7, &[Field::U32(0)]));
        assert!(!cut_out.is_empty());
        let next = peer.seal(&ignore());
        peer.send_bytes(&next);
        // A wrong key stream gives a wrong length, most likely out of bounds. If not, the rest is waited for.
        if peer.error().is_none() {
            peer.send_bytes(&vec![0; 300 * 1024]);
        }
        let found = peer.error();
        assert!(
            matches!(
                found,
                Some(Error::PeerMisbehaved(
                    PeerMisbehaved::BadMac | PeerMisbehaved::PacketLength(_) | PeerMisbehaved::Misaligned
                ))
            ),
            "{found:?}"
        );

        let mut peer = RawPeer::against(role);
        peer.connect();
        let _cut_out = peer.seal(&message(7, &[Field::U32(0)]));
        let next = peer.seal(&ignore());
        peer.send_bytes(&next);
        peer.assert_refused(PeerMisbehaved::BadMac, MAC_ERROR);
    }
}
