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

/// Against an engine that was told to offer this cipher: a server's defaults have ChaCha20 for few clients.
fn with_cipher(role: Role, cipher: &str) -> RawPeer {
    RawPeer::with(role, Algorithms::default().with_ciphers(cipher).unwrap(), Limits::default())
}

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
            let mut peer = with_cipher(role, cipher);
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

/// With a MAC over the plain text each packet answers whether a guess at its padding was right. Only peers that have nothing
/// else get it.
#[test]
fn cbc_with_a_plain_mac_is_for_dev_tunnels_peers_and_those_who_insist() {
    let lists = || {
        let algorithms = Algorithms::default().with_ciphers("aes256-cbc").unwrap();
        algorithms.with_macs("hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha2-512").unwrap()
    };
    let sdk = "SSH-2.0-Microsoft.DevTunnels.Ssh_3.12";
    for role in BOTH {
        for (version, insists, strict, mac, expected) in [
            ("SSH-2.0-OpenSSH_9.2", false, false, "hmac-sha2-256", false),
            ("SSH-2.0-OpenSSH_9.2", false, true, "hmac-sha2-256", false),
            ("SSH-2.0-OpenSSH_9.2", false, true, "hmac-sha2-256-etm@openssh.com", true),
            ("SSH-2.0-OpenSSH_9.2", true, false, "hmac-sha2-512", true),
            (sdk, false, false, "hmac-sha2-512", true),
            (sdk, false, false, "hmac-sha2-256-etm@openssh.com", false),
        ] {
            let algorithms = if insists { lists().danger_with_cbc_and_plain_macs() } else { lists() };
            let mut peer = RawPeer::with(role, algorithms, Limits::default()).with_version(version);
            let offer = if strict { Offer::sound(peer.role()) } else { Offer::without_strict() };
            peer.send_version();
            peer.send_kexinit(&Offer { cipher: "aes256-cbc".into(), mac: mac.into(), ..offer });
            assert_eq!(peer.error().is_none(), expected, "{version} {mac}: {:?}", peer.error());
            let reason = peer.disconnect();
            assert_eq!(reason, (!expected).then_some(KEY_EXCHANGE_FAILED), "{version} {mac}");
        }
    }
}

/// What OpenSSH before 9.6 prefers, where nobody has brought strict key exchange to it.
const OLD_CIPHERS: &str = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,\
                           aes128-gcm@openssh.com,aes256-gcm@openssh.com";
const OLD_MACS: &str = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,\
                        hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha2-256,hmac-sha2-512";

#[test]
fn an_older_client_that_would_have_chosen_chacha20_gets_a_sound_cipher() {
    for version in ["SSH-2.0-OpenSSH_for_Windows_8.6", "SSH-2.0-Raw_1.0"] {
        let mut peer = RawPeer::against(Role::Server).with_version(version);
        let old = Offer { cipher: OLD_CIPHERS.into(), mac: OLD_MACS.into(), ..Offer::without_strict() };
        peer.connect_offering(&old);
        let negotiated = *peer.engine.negotiated().unwrap();
        for direction in [negotiated.client_to_server, negotiated.server_to_client] {
            assert_eq!(direction.cipher.name(), "aes256-ctr");
            assert_eq!(direction.mac_in_use().unwrap().name(), "hmac-sha2-256-etm@openssh.com");
        }
        peer.authenticate();
    }
}

/// Dropbear has neither GCM nor a MAC over what is sealed: without ChaCha20 nothing would be left.
#[test]
fn dropbear_gets_chacha20_if_it_is_strict() {
    let ciphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr";
    for version in ["SSH-2.0-dropbear_2024.86", "SSH-2.0-dropbear"] {
        for strict in [true, false] {
            let mut peer = RawPeer::against(Role::Server).with_version(version);
            let offer = if strict { Offer::sound(Role::Client) } else { Offer::without_strict() };
            let offer = Offer { cipher: ciphers.into(), mac: "hmac-sha1,hmac-sha2-256".into(), ..offer };
            if strict {
                peer.connect_offering(&offer);
                peer.authenticate();
            } else {
                peer.send_version();
                peer.send_kexinit(&offer);
                assert_eq!(peer.disconnect(), Some(KEY_EXCHANGE_FAILED));
            }
        }
    }
}

/// The attack itself, on one direction: something is slipped in before NEWKEYS, and the first sealed packet is cut
/// out so that the numbers are right again.
#[test]
fn terrapin_a_packet_cut_out_behind_new_keys_is_noticed() {
    for role in BOTH {
        // With strict key exchange already what is slipped in is noticed; here an attacker only cuts.
        let chacha = "chacha20-poly1305@openssh.com";
        let mut peer = with_cipher(role, chacha);
        let mut offer = Offer::sound(peer.role());
        offer.cipher = chacha.into();
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
