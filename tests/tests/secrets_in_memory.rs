//! Private keys are wiped before their memory is given back: in what is read, written, signed with and dropped.
//!
//! One test, because the allocator is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ssh_core::crypto::{CryptoProvider, aws_lc, rustcrypto};
use ssh_core::keys::openssh::{self, Encryption, OpenSshCipher};
use ssh_core::keys::{
    Curve, Half, KeyFormat, KeyFormatError, KeyKind, KeyPair, Overwrite, PrivateKey, SigningKey,
};
use watched_alloc::{Found, PIECE, Watched, harvest, plant};

#[global_allocator]
static WATCHED: Watched = Watched;

const KINDS: [KeyKind; 5] = [
    KeyKind::Ed25519,
    KeyKind::Ecdsa(Curve::P256),
    KeyKind::Ecdsa(Curve::P384),
    KeyKind::Ecdsa(Curve::P521),
    KeyKind::Rsa,
];
const PASSPHRASE: &[u8] = b"correct horse battery staple";

#[test]
fn secrets_are_wiped() {
    the_allocator_finds_what_is_left();
    let folder = tempfile::tempdir().unwrap();
    for kind in KINDS {
        let pair = KeyPair::generate(&aws_lc::PROVIDER, kind, 3072).unwrap();
        let secrets = secrets(&pair);
        for format in KeyFormat::ALL.into_iter().filter(|format| format.holds(Half::Private, kind)) {
            let text = pair.encode(format, None).unwrap();
            let what = format!("{} {format}", kind.name());
            watch(&format!("writing {what}"), &secrets, || drop(pair.encode(format, None).unwrap()));
            watch(&format!("reading {what}"), &secrets, || {
                drop(KeyPair::parse(text.as_bytes(), None).unwrap());
            });
            watch(&format!("reading a damaged {what}"), &secrets, || {
                for end in [text.trim_end().len() - 1, text.len() / 2] {
                    drop(KeyPair::parse(&text.as_bytes()[..end], None).unwrap_err());
                }
            });
            let path = folder.path().join(format!("{}-{format}", kind.name()));
            watch(&format!("files of {what}"), &secrets, || {
                pair.write_file_as(&path, format, None, Overwrite::Refuse).unwrap();
                drop(KeyPair::read_file(&path, None).unwrap());
                pair.replace_file(&path, format, None).unwrap();
            });
            if !format.encrypts() {
                continue;
            }
            let mut secrets = secrets.clone();
            secrets.push(PASSPHRASE.to_vec());
            let sealed = pair.encode(format, Some(PASSPHRASE)).unwrap();
            watch(&format!("encrypting {what}"), &secrets, || {
                drop(pair.encode(format, Some(PASSPHRASE)).unwrap());
            });
            watch(&format!("decrypting {what}"), &secrets, || {
                drop(KeyPair::parse(sealed.as_bytes(), Some(PASSPHRASE)).unwrap());
                assert_eq!(
                    KeyPair::parse(sealed.as_bytes(), Some(b"wrong")).unwrap_err(),
                    KeyFormatError::WrongPassphrase
                );
            });
        }
        watch(&format!("{} under GCM", kind.name()), &secrets, || {
            let cipher = OpenSshCipher::Aes256Gcm;
            let encryption = Encryption { passphrase: PASSPHRASE, cipher, rounds: 1 };
            let sealed = openssh::write_with(&pair.private, "", Some(encryption)).unwrap();
            drop(KeyPair::parse(sealed.as_bytes(), Some(PASSPHRASE)).unwrap());
        });
        for (name, provider) in [("aws-lc", &aws_lc::PROVIDER), ("rustcrypto", &rustcrypto::PROVIDER)] {
            let what = format!("signing with {} and {name}", kind.name());
            if (kind, name) == (KeyKind::Rsa, "rustcrypto") {
                // The `rsa` crate multiplies and resizes primes without wiping what is in between.
                assert!(
                    !leavings(&secrets, || sign(&pair, provider)).is_empty(),
                    "{what} is clean now: test it"
                );
                println!("{what}: leaves secrets, as is known");
            } else {
                watch(&what, &secrets, || sign(&pair, provider));
            }
        }
    }
}

/// A test that finds nothing proves nothing, unless it can find something.
fn the_allocator_finds_what_is_left() {
    let secret = *b"a secret that is left in memory";
    plant(&secret[3..]);
    drop(secret.to_vec());
    let mut grown = Vec::with_capacity(secret.len());
    grown.extend(secret);
    grown.reserve(1000);
    grown.fill(0);
    assert_eq!(harvest().len(), 2);
}

fn sign(pair: &KeyPair, provider: &'static CryptoProvider) {
    let key = SigningKey::new(&pair.private, provider).unwrap();
    for algorithm in pair.public_key().kind().algorithms() {
        key.sign(*algorithm, b"hello").unwrap();
    }
}

/// Pieces of every number, in both orders of bytes, and as text in every alignment.
fn secrets(pair: &KeyPair) -> Vec<Vec<u8>> {
    let numbers: Vec<&[u8]> = match &pair.private {
        PrivateKey::Ed25519 { seed, .. } => vec![&**seed],
        PrivateKey::Ecdsa { d, .. } => vec![d],
        PrivateKey::Rsa { d, p, q, iqmp, .. } => vec![d, p, q, iqmp],
        _ => unreachable!(),
    };
    let mut pieces = Vec::new();
    for number in numbers {
        let middle = number.len() / 2;
        for at in [4, middle] {
            let piece = &number[at..at + PIECE];
            pieces.push(piece.to_vec());
            pieces.push(piece.iter().rev().copied().collect());
        }
        for skip in 0..3 {
            // Nine bytes are twelve characters; those of both alphabets.
            for engine in [&STANDARD, &URL_SAFE_NO_PAD] {
                pieces.push(engine.encode(&number[middle + skip..middle + skip + 9]).into_bytes());
            }
        }
    }
    pieces
}

/// What it leaves in memory.
fn leavings(secrets: &[Vec<u8>], run: impl FnOnce()) -> Vec<Found> {
    for secret in secrets {
        plant(secret);
    }
    run();
    harvest()
}

/// Runs it and fails if it leaves a secret in memory.
fn watch(what: &str, secrets: &[Vec<u8>], run: impl FnOnce()) {
    let found = leavings(secrets, run);
    if let Some(first) = found.first() {
        let ours: Vec<&str> = first.backtrace.lines().take(60).collect();
        panic!(
            "{what}: {} blocks were given back with a secret in them, the first of {} bytes with piece {}:\n{}",
            found.len(),
            first.size,
            first.piece,
            ours.join("\n")
        );
    }
    println!("{what}: nothing is left");
}
