//! RFC 4253 §7.1.

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::{PeerIncompatible, PeerMisbehaved};
use ssh_core::protocol::Role;
use ssh_core::protocol::wire::WireError;
use tests::raw_peer::{Field, Offer, RawPeer, message};

const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn offered(role: Role, change: impl FnOnce(&mut Offer)) -> RawPeer {
    let mut peer = RawPeer::against(role);
    let mut offer = Offer::sound(peer.role());
    change(&mut offer);
    peer.send_version();
    peer.send_kexinit(&offer);
    peer
}

#[track_caller]
fn assert_nothing_common(peer: &RawPeer, slot: &str, theirs: &str) {
    let Some(Error::PeerIncompatible(PeerIncompatible::NoCommonAlgorithm(why))) = peer.error() else {
        panic!("{slot}: {:?}", peer.error())
    };
    assert!(why.slot.starts_with(slot), "{} is not {slot}", why.slot);
    let (found, ours) = match peer.role() {
        Role::Client => (&why.client, &why.server),
        Role::Server => (&why.server, &why.client),
    };
    assert_eq!(found, theirs);
    assert!(!ours.is_empty());
    assert_eq!(peer.disconnect(), Some(KEY_EXCHANGE_FAILED));
}

#[test]
fn rfc4253_7_1_nothing_common_names_the_slot_and_both_lists() {
    type Change = fn(&mut Offer, &str);
    let slots: [(&str, Change, &[&str]); 4] = [
        (
            "key exchange method",
            |offer, list| offer.kex = list.into(),
            &["", "none", "diffie-hellman-group1-sha1", "diffie-hellman-group-exchange-sha256", "ext-info-c"],
        ),
        (
            "host key algorithm",
            |offer, list| offer.host_key = list.into(),
            &["", "none", "ssh-dss", "ssh-rsa", "null"],
        ),
        (
            "cipher",
            |offer, list| offer.cipher = list.into(),
            &["", "none", "3des-cbc", "arcfour", "aes256-cbc", "blowfish-cbc"],
        ),
        ("compression", |offer, list| offer.compression = list.into(), &["", "zlib", "zlib@openssh.com"]),
    ];
    for role in BOTH {
        for (slot, change, lists) in slots {
            for list in lists {
                let peer = offered(role, |offer| change(offer, list));
                assert_nothing_common(&peer, slot, list);
            }
        }
    }
}

#[test]
fn rfc4253_7_1_a_mac_is_only_needed_where_it_is_used() {
    for role in BOTH {
        for weak in ["hmac-md5", "none", "hmac-sha1", ""] {
            let peer = offered(role, |offer| {
                offer.cipher = "aes256-ctr".into();
                offer.mac = weak.into();
            });
            assert_nothing_common(&peer, "MAC", weak);
        }
        offered(role, |offer| offer.mac = "umac-64@openssh.com".into()).assert_alive();
    }
}

#[test]
fn rfc4253_7_1_lists_are_bounded_and_well_formed() {
    let many = vec!["a"; 129].join(",");
    for role in BOTH {
        for list in ["x".repeat(8193).as_str(), &many, ",a", "a,,b", "a b", "a\0", "ä"] {
            let peer = offered(role, |offer| offer.kex = list.into());
            peer.assert_refused(PeerMisbehaved::Malformed(WireError::BadNameList), PROTOCOL_ERROR);
        }
        offered(role, |offer| offer.kex.push_str(&",a".repeat(100))).assert_alive();
    }
}

#[test]
fn rfc4253_7_1_a_cut_or_overlong_kexinit_is_refused() {
    for role in BOTH {
        let whole = Offer::sound(role).encode();
        for cut in [1, 16, 17, 20, 40, whole.len() - 4, whole.len() - 1] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.send(&whole[..cut]);
            peer.assert_refused(PeerMisbehaved::Malformed(WireError::Truncated), PROTOCOL_ERROR);
        }
        let mut peer = RawPeer::against(role);
        peer.send_version();
        peer.send(&[&whole[..], b"x"].concat());
        peer.assert_refused(PeerMisbehaved::Malformed(WireError::Trailing), PROTOCOL_ERROR);
    }
}

#[test]
fn rfc4253_7_1_the_bytes_of_a_kexinit() {
    for role in BOTH {
        let said = || {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.take(20).unwrap()
        };
        let (one, other) = (said(), said());
        assert_eq!(one[0], 20);
        // The cookie is new each time, the rest stays.
        assert_ne!(one[1..17], other[1..17]);
        assert_eq!(one[17..], other[17..]);
        let mut rest = &one[17..];
        let mut lists = Vec::new();
        for _ in 0..10 {
            let (length, behind) = rest.split_first_chunk().unwrap();
            let (list, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
            lists.push(std::str::from_utf8(list).unwrap());
            rest = behind;
        }
        // No guess, and the reserved number.
        assert_eq!(rest, [0; 5]);
        for (at, name) in [(0, "curve25519-sha256"), (1, "ssh-ed25519"), (2, "aes256-gcm@openssh.com")] {
            assert!(lists[at].split(',').any(|listed| listed == name), "{at}: {}", lists[at]);
        }
        for at in [2, 4, 6] {
            assert!(!lists[at].is_empty());
            assert_eq!(lists[at], lists[at + 1], "the same both ways");
        }
        assert_eq!(lists[8..], ["", ""], "no languages");
    }
}

#[test]
fn rfc4253_7_1_the_reserved_number_may_be_anything() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        let mut payload = Offer::sound(peer.role()).encode();
        let at = payload.len() - 4;
        payload[at..].copy_from_slice(&[0xff; 4]);
        peer.send_version();
        peer.send(&payload);
        peer.assert_alive();
    }
}

#[test]
fn rfc4253_7_1_a_second_kexinit_in_an_exchange_is_refused() {
    for role in BOTH {
        for offer in [Offer::sound(RawPeer::against(role).role()), Offer::without_strict()] {
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.send_kexinit(&offer);
            peer.assert_alive();
            peer.send_kexinit(&offer);
            peer.assert_refused(PeerMisbehaved::UnexpectedMessage(20), PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_7_1_markers_are_never_chosen() {
    for role in BOTH {
        let marker = if role == Role::Client { "ext-info-s" } else { "ext-info-c" };
        let mut peer = RawPeer::against(role);
        let mut offer = Offer::sound(peer.role());
        offer.kex = format!("curve25519-sha256,{marker},{}", &offer.kex["curve25519-sha256,".len()..]);
        peer.connect_offering(&offer);
        assert_eq!(peer.engine.negotiated().unwrap().kex.name(), "curve25519-sha256");
        assert!(peer.count(7) == 1, "EXT_INFO was asked for");
    }
}

#[test]
fn rfc8308_2_1_without_the_marker_no_ext_info_is_sent() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        peer.connect();
        assert_eq!(peer.count(7), 0);
    }
}

#[test]
fn rfc8308_2_4_with_the_marker_ext_info_is_sent_once() {
    for role in BOTH {
        let mut peer = RawPeer::against(role);
        let marker = if role == Role::Client { "ext-info-s" } else { "ext-info-c" };
        let mut offer = Offer::sound(peer.role());
        offer.kex.push_str(&format!(",{marker}"));
        peer.connect_offering(&offer);
        assert_eq!(peer.count(7), 1);
        peer.authenticate();
        peer.rekey();
        peer.assert_alive();
        assert_eq!(peer.count(7), 0, "it is said again with new keys");
    }
}

#[test]
fn rfc4253_7_1_only_the_exchange_may_come_before_new_keys() {
    for role in BOTH {
        for strict in [true, false] {
            for number in [5, 6, 7].into_iter().chain(50..=61).chain(80..=100).chain([0, 127, 128, 255]) {
                for after_kexinit in [true, false] {
                    let mut peer = RawPeer::against(role);
                    peer.send_version();
                    if after_kexinit {
                        let sound = Offer::sound(peer.role());
                        peer.send_kexinit(&if strict { sound } else { Offer::without_strict() });
                    }
                    peer.send(&[number, 0, 0, 0, 0]);
                    peer.assert_refused(PeerMisbehaved::UnexpectedMessage(number), PROTOCOL_ERROR);
                }
            }
        }
    }
}

#[test]
fn rfc4253_7_1_messages_of_the_exchange_out_of_turn_are_refused() {
    for role in BOTH {
        for number in 21..=49 {
            let expected = PeerMisbehaved::UnexpectedMessage(number);
            let mut peer = RawPeer::against(role);
            peer.send_version();
            peer.send(&[number, 0, 0, 0, 0]);
            peer.assert_refused(expected, PROTOCOL_ERROR);

            // After KEXINIT a server waits for 30 and a client for 31.
            if (number, role) != (30, Role::Server) && (number, role) != (31, Role::Client) {
                let mut peer = offered(role, |_| {});
                peer.send(&[number, 0, 0, 0, 0]);
                peer.assert_refused(expected, PROTOCOL_ERROR);
            }

            // After the login nobody waits for anything but KEXINIT.
            let mut peer = RawPeer::against(role);
            peer.log_in();
            peer.send(&[number, 0, 0, 0, 0]);
            peer.assert_refused(expected, PROTOCOL_ERROR);
        }
    }
}

#[test]
fn rfc4253_7_a_right_guess_is_used() {
    let algorithms = Algorithms::default().with_kex("curve25519-sha256").unwrap();
    let mut peer = RawPeer::with(Role::Server, algorithms, Limits::default());
    let mut offer = Offer::sound(Role::Client);
    offer.guess = true;
    peer.connect_offering(&offer);
    assert_eq!(peer.count(31), 1);
}

#[test]
fn rfc4253_7_a_wrong_guess_is_dropped_once() {
    // The server prefers another method, and another host key algorithm in the second case.
    for (kex, host_key) in [
        ("ecdh-sha2-nistp256,curve25519-sha256", "ssh-ed25519"),
        ("curve25519-sha256", "rsa-sha2-512,ssh-ed25519"),
    ] {
        let algorithms = Algorithms::default().with_kex("curve25519-sha256").unwrap();
        let mut peer = RawPeer::with(Role::Server, algorithms, Limits::default());
        let mut offer = Offer::sound(Role::Client);
        offer.guess = true;
        offer.host_key = host_key.into();
        if kex.starts_with("ecdh") {
            offer.kex = format!("{kex},kex-strict-c-v00@openssh.com");
        }
        peer.send_version();
        peer.send_kexinit(&offer);
        peer.send(&message(30, &[Field::Bytes(b"a share of the method that was guessed")]));
        peer.assert_alive();
        assert_eq!(peer.count(31), 0);
        // The next one counts.
        peer.send(&message(30, &[Field::Bytes(b"nonsense")]));
        peer.assert_refused(PeerMisbehaved::BadKexShare, KEY_EXCHANGE_FAILED);
    }
}

#[test]
fn dev_tunnels_peers_judge_a_guess_by_the_method_alone() {
    let algorithms = Algorithms::default().with_kex("curve25519-sha256").unwrap();
    let peer = RawPeer::with(Role::Server, algorithms, Limits::default());
    let mut peer = peer.with_version("SSH-2.0-dev-tunnels-ssh_3.12.42");
    let mut offer = Offer::without_strict();
    offer.guess = true;
    offer.host_key = "rsa-sha2-512,ssh-ed25519".into();
    peer.connect_offering(&offer);
    assert_eq!(peer.count(31), 1);
}

#[test]
fn without_any_security_the_first_list_must_say_none_and_once() {
    let insecure = Algorithms::insecure_without_any_security;
    for role in BOTH {
        let mut peer = RawPeer::with(role, insecure(), Limits::default());
        peer.send_version();
        peer.send_kexinit(&Offer::sound(peer.role()));
        assert_nothing_common(&peer, "key exchange method", &Offer::sound(peer.role()).kex);

        // Hosts and clients of Dev Tunnels offer `none` to relays in the first list alone; the others then say nothing.
        let mut peer = RawPeer::with(role, insecure(), Limits::default());
        peer.send_version();
        peer.send_kexinit(&Offer { kex: "none,ext-info-c".into(), ..Offer::sound(peer.role()) });
        assert_eq!(peer.authenticated, 1);

        let none = || "none".to_owned();
        let all_none = Offer {
            kex: none(),
            host_key: none(),
            cipher: none(),
            mac: none(),
            compression: none(),
            guess: false,
        };
        let mut peer = RawPeer::with(role, insecure(), Limits::default());
        peer.send_version();
        peer.send_kexinit(&all_none);
        assert_eq!(peer.authenticated, 1);
        // Otherwise each would be one more event for the application, and one more KEXINIT.
        peer.send_kexinit(&all_none);
        peer.assert_refused(PeerMisbehaved::UnexpectedMessage(20), PROTOCOL_ERROR);
        assert_eq!((peer.authenticated, peer.count(20)), (1, 1));

        // And a sound peer never takes `none`.
        let mut peer = RawPeer::against(role);
        peer.send_version();
        peer.send_kexinit(&all_none);
        assert_nothing_common(&peer, "key exchange method", "none");
    }
}
