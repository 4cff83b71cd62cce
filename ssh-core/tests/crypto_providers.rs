//! Every backend against itself and against each other one, through the provider alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crypto_support;

use crypto_support::{hex, providers};
use ssh_core::crypto::{CipherKind, CryptoError, CryptoProvider, MacKey, Opener, Sealer, SignatureAlgorithm};
use ssh_core::keys::{Curve, KeyKind};

fn pairs() -> impl Iterator<Item = (&'static CryptoProvider, &'static CryptoProvider)> {
    providers().into_iter().flat_map(|a| providers().into_iter().map(move |b| (a, b)))
}

#[test]
fn every_backend_has_every_algorithm() {
    for provider in providers() {
        for name in [
            "mlkem768x25519-sha256",
            "sntrup761x25519-sha512",
            "sntrup761x25519-sha512@openssh.com",
            "curve25519-sha256",
            "curve25519-sha256@libssh.org",
            "ecdh-sha2-nistp256",
            "ecdh-sha2-nistp384",
            "ecdh-sha2-nistp521",
            "diffie-hellman-group14-sha256",
            "diffie-hellman-group16-sha512",
        ] {
            assert!(provider.key_exchange(name).is_some(), "{} {name}", provider.name);
        }
        for name in CIPHERS {
            assert!(provider.cipher(name).is_some(), "{} {name}", provider.name);
        }
        for name in MACS {
            assert!(provider.mac(name).is_some(), "{} {name}", provider.name);
        }
    }
}

#[test]
fn each_client_agrees_with_each_server() {
    for (client, server) in pairs() {
        for ours in client.key_exchanges {
            let theirs = server.key_exchange(ours.name()).unwrap();
            assert_eq!((ours.hash(), ours.share_encoding()), (theirs.hash(), theirs.share_encoding()));
            let active = ours.start(client.random).unwrap();
            let (share, server_secret) = theirs.respond(active.share(), server.random).unwrap();
            let client_secret = active.finish(&share).unwrap();
            assert_eq!(client_secret.encoded(), server_secret.encoded(), "{}", ours.name());
        }
    }
}

#[test]
fn bad_shares_are_refused_in_both_roles() {
    for provider in providers() {
        for method in provider.key_exchanges {
            let good = method.start(provider.random).unwrap().share().to_vec();
            let (answer, _) = method.respond(&good, provider.random).unwrap();
            for bad in spoilt(method.name(), &good) {
                let error = method.respond(&bad, provider.random).map(drop).unwrap_err();
                assert_eq!(error, CryptoError::BadShare, "{} {}", provider.name, method.name());
            }
            for bad in spoilt(method.name(), &answer) {
                let active = method.start(provider.random).unwrap();
                assert_eq!(
                    active.finish(&bad).map(drop).unwrap_err(),
                    CryptoError::BadShare,
                    "{}",
                    method.name()
                );
            }
        }
    }
}

/// Most points that are spoilt at random are off the curve, most coefficients are still reduced: whatever a share is, there is
/// one answer to it.
#[test]
fn all_backends_say_the_same_of_any_share() {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % u64::try_from(below).unwrap()).unwrap()
    };
    let all = providers();
    for method in all[0].key_exchanges {
        let name = method.name();
        // Of a number any change but a few is a good number, and costs milliseconds.
        let rounds = if name.starts_with("diffie") { 4 } else { 100 };
        let good = method.start(all[0].random).unwrap().share().to_vec();
        let mut verdicts = [0, 0];
        for _ in 0..rounds {
            let mut share = good.clone();
            for _ in 0..=roll(3) {
                let at = if roll(4) == 0 { roll(2) * (share.len() - 1) } else { roll(share.len()) };
                share[at] ^= 1 << roll(8);
            }
            match roll(20) {
                0 => share.truncate(roll(share.len())),
                1 => share.extend(vec![0; 1 + roll(3)]),
                _ => {}
            }
            let answers: Vec<_> = all
                .iter()
                .map(|provider| {
                    let method = provider.key_exchange(name).unwrap();
                    method.respond(&share, provider.random).map(drop)
                })
                .collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{name} {share:x?}: {answers:?}");
            verdicts[usize::from(answers[0].is_ok())] += 1;
        }
        println!("{name}: {} refused, {} taken", verdicts[0], verdicts[1]);
        assert!(rounds < 100 || verdicts[0] > 0, "{name}: nothing was refused");
    }
}

/// Shares that are wrong for sure.
fn spoilt(name: &str, good: &[u8]) -> Vec<Vec<u8>> {
    let mut bad = vec![Vec::new(), vec![4], good[..good.len() - 1].to_vec(), [good, &[0]].concat()];
    if name.starts_with("diffie") {
        // A shorter number is a good share, so these are wrong by value.
        let len = if name.contains("group14") { 256 } else { 512 };
        bad = vec![Vec::new(), vec![0], vec![1], vec![0xff; len], vec![1; len + 1], vec![1; 4096]];
    } else if name.starts_with("ecdh") {
        // Off the curve, compressed, hybrid, at infinity.
        let mut off = good.to_vec();
        *off.last_mut().unwrap() ^= 1;
        let field = good.len() / 2;
        let compressed = [&[2], &good[1..=field]].concat();
        let hybrid = [&[6], &good[1..]].concat();
        let zero = [&[4][..], &vec![0; 2 * field]].concat();
        let big = [&[4][..], &vec![0xff; 2 * field]].concat();
        bad.extend([off, compressed, hybrid, zero, big, vec![0]]);
    } else {
        // Points of low order: 0, 1, p - 1, p, p + 1 and the two of order 8, behind whatever KEM there is.
        for low in LOW_ORDER_POINTS {
            let mut share = good.to_vec();
            let at = share.len() - 32;
            share[at..].copy_from_slice(&hex(low));
            bad.push(share);
        }
    }
    if name.starts_with("mlkem") && good.len() == 1184 + 32 {
        // A coefficient that is not reduced modulo q.
        let mut share = good.to_vec();
        share[..2].fill(0xff);
        bad.push(share);
    }
    bad
}

/// RFC 7748 §6.1 and <https://cr.yp.to/ecdh.html#validate>.
const LOW_ORDER_POINTS: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

// ---- Packets -----------------------------------------------------------------------------------------

const CIPHERS: [&str; 9] = [
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
];
const MACS: [&str; 4] =
    ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512", "hmac-sha2-256"];

/// Every cipher with every MAC that it takes.
fn protections() -> Vec<(&'static str, Option<&'static str>)> {
    let with_mac = |cipher| MACS.iter().map(move |mac| (cipher, Some(*mac)));
    let aead = CIPHERS.iter().take(3).map(|cipher| (*cipher, None));
    aead.chain(CIPHERS.iter().skip(3).flat_map(|cipher| with_mac(*cipher))).collect()
}

fn mac_key(provider: &'static CryptoProvider, name: Option<&str>) -> Option<MacKey<'static>> {
    let mac = provider.mac(name?).unwrap();
    Some(MacKey { mac, key: &[7; 64][..mac.key_len()] })
}

fn sealer(provider: &'static CryptoProvider, (cipher, mac): (&str, Option<&str>)) -> Box<dyn Sealer> {
    let cipher = provider.cipher(cipher).unwrap();
    assert_eq!(cipher.kind() == CipherKind::Aead, mac.is_none());
    let (key, iv) = (vec![3; cipher.key_len()], vec![5; cipher.iv_len()]);
    cipher.sealer(&key, &iv, mac_key(provider, mac)).unwrap()
}

fn opener(provider: &'static CryptoProvider, (cipher, mac): (&str, Option<&str>)) -> Box<dyn Opener> {
    let cipher = provider.cipher(cipher).unwrap();
    let (key, iv) = (vec![3; cipher.key_len()], vec![5; cipher.iv_len()]);
    cipher.opener(&key, &iv, mac_key(provider, mac)).unwrap()
}

/// A frame of `blocks` blocks with room for the tag.
fn frame(sealer: &dyn Sealer, blocks: usize) -> Vec<u8> {
    let counted = blocks * sealer.framing().block_len;
    let length = if sealer.framing().length_is_separate { counted } else { counted - 4 };
    let mut packet = u32::try_from(length).unwrap().to_be_bytes().to_vec();
    packet.extend((0..length).map(|i| i as u8));
    packet.resize(4 + length + sealer.framing().tag_len, 0);
    packet
}

fn open(opener: &mut dyn Opener, sequence: u32, packet: &mut [u8]) -> Result<u32, CryptoError> {
    let head_len = opener.head_len();
    let length = opener.open_length(sequence, &mut packet[..head_len]);
    opener.open(sequence, packet)?;
    Ok(length)
}

#[test]
fn what_one_seals_each_other_opens() {
    for (from, to) in pairs() {
        for protection in protections() {
            let (mut sealer, mut opener) = (sealer(from, protection), opener(to, protection));
            assert_eq!(sealer.framing(), opener.framing());
            // The sequence wraps at 2³² without harm to any of them.
            for (step, blocks) in [1, 2, 3, 64, 2048, 1, 7].into_iter().enumerate() {
                let sequence = (u32::MAX - 2).wrapping_add(step as u32);
                let plain = frame(&*sealer, blocks);
                let mut packet = plain.clone();
                sealer.seal(sequence, &mut packet).unwrap();
                assert_ne!(packet[4..], plain[4..]);
                let length = open(&mut *opener, sequence, &mut packet).unwrap();
                assert_eq!(length as usize, plain.len() - 4 - sealer.framing().tag_len, "{protection:?}");
                let text = 4..plain.len() - sealer.framing().tag_len;
                assert_eq!(packet[text.clone()], plain[text], "{} {} {protection:?}", from.name, to.name);
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for provider in providers() {
        for protection in protections() {
            let mut sealer = sealer(provider, protection);
            let mut sealed = frame(&*sealer, 3);
            sealer.seal(9, &mut sealed).unwrap();
            for bit in 0..sealed.len() * 8 {
                let mut packet = sealed.clone();
                packet[bit / 8] ^= 1 << (bit % 8);
                let mut opener = opener(provider, protection);
                // The framing would ask for another length after a flip in it; the frame as it stands must fail too.
                assert_eq!(
                    open(&mut *opener, 9, &mut packet),
                    Err(CryptoError::Unauthentic),
                    "{protection:?} {bit}"
                );
            }
            let mut opener = opener(provider, protection);
            assert!(open(&mut *opener, 9, &mut sealed.clone()).is_ok());
        }
    }
}

#[test]
fn the_sequence_is_authenticated_where_there_is_no_counter() {
    for provider in providers() {
        for protection in protections().into_iter().filter(|(cipher, _)| !cipher.contains("gcm")) {
            let mut sealer = sealer(provider, protection);
            let mut sealed = frame(&*sealer, 3);
            sealer.seal(9, &mut sealed).unwrap();
            let mut opener = opener(provider, protection);
            assert_eq!(open(&mut *opener, 10, &mut sealed), Err(CryptoError::Unauthentic), "{protection:?}");
        }
    }
}

#[test]
fn short_and_ragged_packets_are_errors_and_no_panic() {
    for provider in providers() {
        for protection in protections() {
            for len in 0..200 {
                let mut opener = opener(provider, protection);
                let mut packet = vec![0; len];
                if len >= opener.head_len() {
                    let head_len = opener.head_len();
                    opener.open_length(0, &mut packet[..head_len]);
                }
                assert!(opener.open(0, &mut packet).is_err(), "{protection:?} {len}");
                let mut opener = self::opener(provider, protection);
                opener.open_length(0, &mut vec![0; len][..]);
                let mut sealer = sealer(provider, protection);
                let ragged = len < 4 + sealer.framing().tag_len;
                assert!(sealer.seal(0, &mut vec![0; len]).is_err() || !ragged, "{protection:?} {len}");
            }
        }
    }
}

#[test]
fn wrong_lengths_of_keys_and_a_missing_mac_are_refused() {
    for provider in providers() {
        for cipher in provider.ciphers {
            let mac = mac_key(provider, Some("hmac-sha2-256"));
            let (key, iv) = (vec![0; cipher.key_len()], vec![0; cipher.iv_len()]);
            assert!(cipher.sealer(&key, &iv, mac).is_ok());
            for (key, iv, mac) in [
                (&key[1..], &iv[..], mac),
                (&[&key[..], &[0]].concat()[..], &iv[..], mac),
                (&key[..], iv.get(1..).unwrap_or(&[0]), mac),
                (&key[..], &iv[..], mac.map(|mac| MacKey { key: &mac.key[1..], ..mac })),
                (&key[..], &iv[..], None),
            ] {
                let not_used = cipher.kind() == CipherKind::Aead && key.len() == cipher.key_len();
                let ok = not_used && (iv.len() == cipher.iv_len() || cipher.iv_len() == 0);
                assert_eq!(cipher.sealer(key, iv, mac).is_ok(), ok, "{}", cipher.name());
                assert_eq!(cipher.opener(key, iv, mac).is_ok(), ok, "{}", cipher.name());
            }
        }
    }
}

#[test]
fn a_gcm_counter_at_its_end_refuses_to_go_on() {
    for provider in providers() {
        for name in ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"] {
            let cipher = provider.cipher(name).unwrap();
            let key = vec![1; cipher.key_len()];
            let mut sealer = cipher.sealer(&key, &[0xff; 12], None).unwrap();
            let mut opener = cipher.opener(&key, &[0xff; 12], None).unwrap();
            let mut packet = frame(&*sealer, 1);
            sealer.seal(0, &mut packet).unwrap();
            open(&mut *opener, 0, &mut packet.clone()).unwrap();
            assert_eq!(sealer.seal(1, &mut packet.clone()), Err(CryptoError::Backend));
            assert_eq!(open(&mut *opener, 1, &mut packet), Err(CryptoError::Backend));
        }
    }
}

// ---- Signatures --------------------------------------------------------------------------------------

const KINDS: [KeyKind; 5] = [
    KeyKind::Ed25519,
    KeyKind::Ecdsa(Curve::P256),
    KeyKind::Ecdsa(Curve::P384),
    KeyKind::Ecdsa(Curve::P521),
    KeyKind::Rsa,
];

#[test]
fn what_one_signs_each_other_verifies() {
    for maker in providers() {
        for kind in KINDS {
            let key = maker.signatures.generate(kind, 3072).unwrap();
            assert_eq!(key.public_key().kind(), kind);
            for (from, to) in pairs() {
                let signer = from.signatures.signer(&key).unwrap();
                for algorithm in SignatureAlgorithm::ALL {
                    if !kind.algorithms().contains(&algorithm) {
                        assert_eq!(signer.sign(algorithm, b"x"), Err(CryptoError::BadKey));
                        let verdict = to.signatures.verify(algorithm, &key.public_key(), b"x", &[0; 64]);
                        assert_eq!(verdict, Err(CryptoError::BadKey));
                        continue;
                    }
                    let signature = signer.sign(algorithm, b"message").unwrap();
                    let verify = |message: &[u8], signature: &[u8]| {
                        to.signatures.verify(algorithm, &key.public_key(), message, signature)
                    };
                    assert_eq!(
                        verify(b"message", &signature),
                        Ok(()),
                        "{} {} {algorithm:?}",
                        from.name,
                        to.name
                    );
                    assert_eq!(verify(b"massage", &signature), Err(CryptoError::Unauthentic));
                    for at in 0..signature.len() {
                        let mut bad = signature.clone();
                        bad[at] ^= 1;
                        assert_eq!(
                            verify(b"message", &bad),
                            Err(CryptoError::Unauthentic),
                            "{algorithm:?} {at}"
                        );
                    }
                    for bad in [
                        &signature[1..],
                        &signature[..signature.len() - 1],
                        &[&signature[..], &[0]].concat(),
                        &[],
                    ] {
                        assert_eq!(verify(b"message", bad), Err(CryptoError::Unauthentic), "{algorithm:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_large_rsa_keys_are_generated() {
    for provider in providers() {
        for bits in [0, 1024, 2048, 3071, 16385, 65536] {
            assert_eq!(provider.signatures.generate(KeyKind::Rsa, bits).map(drop), Err(CryptoError::BadKey));
        }
    }
}
