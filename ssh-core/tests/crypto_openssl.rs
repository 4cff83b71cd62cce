//! Packets and signatures of OpenSSL, where there are no published vectors: GCM with a packet's four bytes of associated
//! data, OpenSSH's ChaCha20-Poly1305, and RSA beyond 8192 bits.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crypto_support;

use crypto_support::providers;
use serde_json::Value;
use ssh_core::crypto::{CryptoError, SignatureAlgorithm};
use ssh_core::keys::PublicKey;

fn vectors(name: &str) -> Vec<Value> {
    let mut file: Value = serde_json::from_str(include_str!("vectors/openssl.json")).unwrap();
    let vectors = file[name].take().as_array().unwrap().clone();
    assert!(!vectors.is_empty());
    vectors
}

fn hex(value: &Value) -> Vec<u8> {
    crypto_support::hex(value.as_str().unwrap())
}

#[test]
fn packets_are_sealed_and_opened_as_openssl_does() {
    for provider in providers() {
        for vector in vectors("packets") {
            let cipher = provider.cipher(vector["cipher"].as_str().unwrap()).unwrap();
            let (key, iv) = (hex(&vector["key"]), hex(&vector["iv"]));
            let mut sealer = cipher.sealer(&key, &iv, None).unwrap();
            let mut opener = cipher.opener(&key, &iv, None).unwrap();
            for packet in vector["packets"].as_array().unwrap() {
                let sequence = u32::try_from(packet["seq"].as_u64().unwrap()).unwrap();
                let (plain, wire) = (hex(&packet["plain"]), hex(&packet["wire"]));
                let mut buffer = plain.clone();
                buffer.resize(wire.len(), 0);
                sealer.seal(sequence, &mut buffer).unwrap();
                assert_eq!(buffer, wire, "{} {}", provider.name, cipher.name());
                let length = opener.open_length(sequence, &mut buffer[..4]);
                assert_eq!(length.to_be_bytes(), plain[..4]);
                assert_eq!(buffer, wire, "the length stays as it was for the tag");
                opener.open(sequence, &mut buffer).unwrap();
                assert_eq!(buffer[4..plain.len()], plain[4..]);
            }
        }
    }
}

#[test]
fn signatures_of_long_rsa_keys_verify() {
    for provider in providers() {
        for vector in vectors("rsa") {
            let algorithm = SignatureAlgorithm::from_name(vector["algorithm"].as_str().unwrap()).unwrap();
            let key = PublicKey::rsa(&hex(&vector["e"]), &hex(&vector["n"])).unwrap();
            let (message, mut signature) = (hex(&vector["message"]), hex(&vector["signature"]));
            assert_eq!(provider.signatures.verify(algorithm, &key, &message, &signature), Ok(()));
            signature[100] ^= 1;
            let outcome = provider.signatures.verify(algorithm, &key, &message, &signature);
            assert_eq!(outcome, Err(CryptoError::Unauthentic));
        }
    }
}
