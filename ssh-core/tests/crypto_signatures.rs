//! Keys and signatures that must be refused, by each backend.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crypto_support;

use crypto_support::{hex, providers};
use ssh_core::crypto::{CryptoError, SignatureAlgorithm};
use ssh_core::keys::{Curve, KeyKind, PrivateKey, PublicKey};
use ssh_core::protocol::wire::Write as _;

// ---- Ed25519 -----------------------------------------------------------------------------------------

/// All encodings of points whose order divides 8, from "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko), §4.
const LOW_ORDER: [&str; 14] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

#[test]
fn ed25519_keys_of_low_order_sign_nothing() {
    for provider in providers() {
        for low in LOW_ORDER {
            let point: [u8; 32] = hex(low).try_into().unwrap();
            for r in LOW_ORDER {
                // S = 0 with R of low order satisfies the equation for one message in eight or for all.
                let signature = [hex(r), vec![0; 32]].concat();
                for message in [b"0", b"1", b"2", b"3"] {
                    let key = PublicKey::Ed25519(point);
                    let outcome =
                        provider.signatures.verify(SignatureAlgorithm::Ed25519, &key, message, &signature);
                    assert_eq!(outcome, Err(CryptoError::BadKey), "{} {low}", provider.name);
                }
            }
        }
    }
}

#[test]
fn ed25519_signatures_are_not_malleable() {
    const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    for provider in providers() {
        let key = provider.signatures.generate(KeyKind::Ed25519, 0).unwrap();
        let mut signature =
            provider.signatures.signer(&key).unwrap().sign(SignatureAlgorithm::Ed25519, b"message").unwrap();
        let verify = |signature: &[u8]| {
            provider.signatures.verify(SignatureAlgorithm::Ed25519, &key.public_key(), b"message", signature)
        };
        assert_eq!(verify(&signature), Ok(()));
        // S + L fits in 32 bytes and is the same scalar.
        let mut carry = 0;
        for (byte, order) in signature[32..].iter_mut().zip(hex(ORDER)) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(verify(&signature), Err(CryptoError::Unauthentic));
    }
}

// ---- ECDSA -------------------------------------------------------------------------------------------

const CURVES: [(Curve, SignatureAlgorithm, &str); 3] = [
    (
        Curve::P256,
        SignatureAlgorithm::EcdsaP256,
        "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    ),
    (
        Curve::P384,
        SignatureAlgorithm::EcdsaP384,
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
    (
        Curve::P521,
        SignatureAlgorithm::EcdsaP521,
        "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    ),
];

fn blob(r: &[u8], s: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    blob.put_mpint(r);
    blob.put_mpint(s);
    blob
}

#[test]
fn ecdsa_numbers_must_be_from_1_to_n_minus_1_and_minimal() {
    for provider in providers() {
        for (curve, algorithm, order) in CURVES {
            let key = provider.signatures.generate(KeyKind::Ecdsa(curve), 0).unwrap().public_key();
            let order = hex(order);
            let too_long = vec![1; curve.field_len() + 1];
            for bad in [&[][..], &order, &vec![0xff; curve.field_len()], &too_long] {
                for blob in [blob(bad, &[1]), blob(&[1], bad), blob(bad, bad)] {
                    let outcome = provider.signatures.verify(algorithm, &key, b"m", &blob);
                    assert_eq!(outcome, Err(CryptoError::Unauthentic));
                }
            }
            // Negative, not minimal, trailing.
            for bad in [
                &[0, 0, 0, 1, 0x80, 0, 0, 0, 1, 1][..],
                &[0, 0, 0, 2, 0, 1, 0, 0, 0, 1, 1],
                &[0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0],
            ] {
                let outcome = provider.signatures.verify(algorithm, &key, b"m", bad);
                assert_eq!(outcome, Err(CryptoError::Unauthentic));
            }
        }
    }
}

#[test]
fn ecdsa_keys_off_the_curve_are_refused() {
    for provider in providers() {
        for (curve, algorithm, _) in CURVES {
            let PrivateKey::Ecdsa { d, point, .. } =
                provider.signatures.generate(KeyKind::Ecdsa(curve), 0).unwrap()
            else {
                panic!("not an ECDSA key")
            };
            let mut off = point.clone();
            *off.last_mut().unwrap() ^= 1;
            let compressed = [&[2], &point[1..=curve.field_len()]].concat().into_boxed_slice();
            for bad in [off, compressed, Box::from([0]), Box::from([]), vec![4; 2000].into()] {
                let key = PublicKey::Ecdsa { curve, point: bad.clone() };
                let outcome = provider.signatures.verify(algorithm, &key, b"m", &blob(&[1], &[1]));
                assert_eq!(outcome, Err(CryptoError::BadKey));
                let private = PrivateKey::Ecdsa { curve, d: d.clone(), point: bad };
                assert_eq!(provider.signatures.signer(&private).map(drop), Err(CryptoError::BadKey));
            }
        }
    }
}

#[test]
fn private_keys_whose_halves_do_not_belong_together_are_refused() {
    for provider in providers() {
        let PrivateKey::Ed25519 { seed, mut public } =
            provider.signatures.generate(KeyKind::Ed25519, 0).unwrap()
        else {
            panic!("not an Ed25519 key")
        };
        public[3] ^= 1;
        let bad = PrivateKey::Ed25519 { seed, public };
        assert_eq!(provider.signatures.signer(&bad).map(drop), Err(CryptoError::BadKey));

        for (curve, _, order) in CURVES {
            let [a, b] = [(); 2].map(|()| provider.signatures.generate(KeyKind::Ecdsa(curve), 0).unwrap());
            let (PrivateKey::Ecdsa { d, .. }, PrivateKey::Ecdsa { point, .. }) = (a, b) else {
                panic!("not ECDSA keys")
            };
            let zero = vec![0; curve.field_len()].into_boxed_slice();
            let short = d[1..].into();
            for bad in [d.to_vec().into_boxed_slice(), zero, hex(order).into(), short] {
                let bad = PrivateKey::Ecdsa { curve, d: bad.into(), point: point.clone() };
                assert_eq!(provider.signatures.signer(&bad).map(drop), Err(CryptoError::BadKey));
            }
        }
    }
}

// ---- RSA ---------------------------------------------------------------------------------------------

#[test]
fn rsa_keys_out_of_limits_are_refused_even_when_made_by_hand() {
    let modulus = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] = 0xff >> (bits.div_ceil(8) * 8 - bits);
        n.into_boxed_slice()
    };
    let even = {
        let mut n = modulus(2048);
        n[255] = 0xfe;
        n
    };
    let f4 = || Box::<[u8]>::from([1, 0, 1]);
    for provider in providers() {
        for (e, n) in [
            (f4(), modulus(1024)),
            (f4(), modulus(2047)),
            (f4(), modulus(16385)),
            (f4(), modulus(65536)),
            (f4(), Box::from([])),
            (f4(), even.clone()),
            (Box::from([1]), modulus(2048)),
            (Box::from([]), modulus(2048)),
            (Box::from([2]), modulus(2048)),
            (Box::from([1, 0, 0, 0, 0, 0, 0, 0, 1]), modulus(2048)),
        ] {
            let signature = vec![1; n.len()];
            let key = PublicKey::Rsa { e, n };
            for algorithm in [SignatureAlgorithm::RsaSha256, SignatureAlgorithm::RsaSha512] {
                let outcome = provider.signatures.verify(algorithm, &key, b"m", &signature);
                assert_eq!(outcome, Err(CryptoError::BadKey), "{}", provider.name);
            }
        }
        for (e, bits) in [(f4(), 2048), (Box::from([3]), 16384), (Box::from([0xff; 8]), 4096)] {
            let n = modulus(bits);
            let signature = vec![1; n.len()];
            let key = PublicKey::Rsa { e, n };
            let outcome = provider.signatures.verify(SignatureAlgorithm::RsaSha512, &key, b"m", &signature);
            assert_eq!(outcome, Err(CryptoError::Unauthentic), "{}", provider.name);
        }
    }
}

#[test]
fn rsa_private_keys_with_a_wrong_number_are_refused() {
    for provider in providers() {
        let make = || provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
        let PrivateKey::Rsa { e, n, d, p, q, iqmp } = make() else { panic!("not an RSA key") };
        for spoilt in 0..6 {
            let mut numbers = [e.to_vec(), n.to_vec(), d.to_vec(), p.to_vec(), q.to_vec(), iqmp.to_vec()];
            *numbers[spoilt].last_mut().unwrap() ^= 4;
            let [e, n, d, p, q, iqmp] = numbers.map(Vec::into_boxed_slice);
            let bad = PrivateKey::Rsa { e, n, d: d.into(), p: p.into(), q: q.into(), iqmp: iqmp.into() };
            assert_eq!(provider.signatures.signer(&bad).map(drop), Err(CryptoError::BadKey), "{spoilt}");
        }
    }
}
