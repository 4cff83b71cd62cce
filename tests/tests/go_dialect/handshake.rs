//! The first exchange, and what is said behind it.

use std::sync::Arc;

use ssh_core::config::Algorithms;
use ssh_core::crypto::SignatureAlgorithm::{self, RsaSha256, RsaSha512};
use ssh_core::crypto::default_provider;
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, RawPeer, Reply, message, password};

use super::go_peer::{GoPeer, ext_info, offer, reconnect_ext_info};

const KEY_EXCHANGE_FAILED: u32 = 3;

/// Its packets in the clear are padded by the wrong quantity, its EXT_INFO has no values and any order, and nothing of it
/// waits for an answer.
#[test]
fn a_client_says_all_it_has_to_say_without_waiting() {
    let mut peer = GoPeer::against(Role::Server);
    peer.connect();
    peer.say(&ext_info(&["open-channel-request@microsoft.com", "server-sig-algs"]));
    peer.say(&message(5, &[Field::Str("ssh-userauth")]));
    peer.say(&password("ada", "secret"));
    let heard: Vec<u8> = peer.raw.received.iter().map(|payload| payload[0]).collect();
    assert_eq!(heard, [20, 31, 21, 7, 6, 52]);
    assert!(peer.raw.engine.server_sig_algs().is_none(), "an empty list is no list");
}

/// A server's EXT_INFO comes behind the client's NEWKEYS. A release of Go sent it beside whatever else it had to say, so it may
/// come behind that.
#[test]
fn a_servers_ext_info_comes_when_it_comes() {
    for late in [false, true] {
        let mut peer = GoPeer::with_reconnect(Role::Client);
        peer.connect();
        if !late {
            peer.say(&reconnect_ext_info());
        }
        peer.say(&message(6, &[Field::Str("ssh-userauth")]));
        if late {
            peer.say(&reconnect_ext_info());
        }
        peer.say_enable();
        peer.say(&[52]);
        assert_eq!(peer.raw.authenticated, 1, "{:?}", peer.raw.error());
        assert!(peer.raw.engine.is_reconnect_enabled(), "{late}");
    }
}

/// `EnableKeyExchangeGuess`: right or wrong by the method alone, whatever is first among the host key algorithms.
#[test]
fn a_guess_is_judged_by_the_method_alone() {
    let algorithms = |kex| Algorithms::default().with_kex(kex).unwrap();
    // We would choose another method, but the client's first is one that we have.
    let mut peer = GoPeer::with(Role::Server, algorithms("ecdh-sha2-nistp384,ecdh-sha2-nistp256"));
    let mut guessing = offer(Role::Client, "aes256-gcm@openssh.com", "hmac-sha2-512");
    guessing.guess = true;
    peer.raw.connect_offering(&guessing);
    assert_eq!(peer.raw.count(31), 1);

    // We do not have its first.
    let mut peer = GoPeer::with(Role::Server, algorithms("ecdh-sha2-nistp256"));
    guessing.kex = "ecdh-sha2-nistp384,ecdh-sha2-nistp256,ext-info-c".into();
    peer.raw.send_version();
    peer.raw.send_kexinit(&guessing);
    let share = [&[4][..], &[7; 96]].concat();
    peer.raw.send(&message(30, &[Field::Bytes(&share)]));
    peer.raw.assert_alive();
    assert_eq!(peer.raw.count(31), 0);
    peer.raw.chosen_kex = Some("ecdh-sha2-nistp256".into());
    peer.raw.exchange_keys();
    peer.raw.assert_alive();
    assert_eq!((peer.raw.count(31), peer.raw.count(7)), (1, 1));
}

/// A Go server with an RSA key that signs with the hash of its size and names the algorithm that was agreed on.
fn rsa_server(agreed: &str, signs: SignatureAlgorithm) -> GoPeer {
    let mut peer = GoPeer::against(Role::Client);
    be_rsa_server(&mut peer.raw, agreed, signs, |_| {});
    peer
}

fn be_rsa_server(
    peer: &mut RawPeer,
    agreed: &str,
    signs: SignatureAlgorithm,
    spoil: impl FnOnce(&mut Reply),
) {
    let provider = default_provider();
    let key = provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
    peer.host_key = Arc::new(SigningKey::new(&key, provider).unwrap());
    peer.host_algorithm = signs;
    peer.send_version();
    let mut offer = offer(Role::Server, "aes256-gcm@openssh.com", "hmac-sha2-512");
    offer.host_key = agreed.into();
    peer.send_kexinit(&offer);
    let reply = peer.reply(|reply| {
        reply.algorithm = agreed.into();
        spoil(reply);
    });
    peer.send(&reply);
}

#[test]
fn an_rsa_key_signs_with_the_hash_of_its_size_whatever_was_agreed_on() {
    for (agreed, signs) in
        [("rsa-sha2-512", RsaSha256), ("rsa-sha2-256", RsaSha512), ("rsa-sha2-512", RsaSha512)]
    {
        let mut peer = rsa_server(agreed, signs).raw;
        peer.send_new_keys();
        peer.assert_alive();
        assert!(peer.host_key_seen.is_some(), "{agreed} {signs:?}");
    }
}

#[test]
fn the_other_hash_is_taken_from_go_alone_and_makes_no_wrong_signature_right() {
    let others = RawPeer::against(Role::Client).with_version("SSH-2.0-OpenSSH_9.9");
    let only_512 = Algorithms::default().with_host_keys(vec![RsaSha512]);
    let go = [GoPeer::with(Role::Client, only_512), GoPeer::against(Role::Client)].map(|peer| peer.raw);
    let [not_configured, forged] = go;
    for (mut peer, is_forged) in [(others, false), (not_configured, false), (forged, true)] {
        be_rsa_server(&mut peer, "rsa-sha2-512", RsaSha256, |reply| {
            reply.signature[9] ^= u8::from(is_forged)
        });
        peer.assert_refused(PeerMisbehaved::BadHostSignature, KEY_EXCHANGE_FAILED);
        assert!(peer.host_key_seen.is_none());
    }
}
