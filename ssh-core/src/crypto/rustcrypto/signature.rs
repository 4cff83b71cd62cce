//! Host and user key signatures.

use std::fmt;
use std::marker::PhantomData;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use p256::ecdsa::signature::{self, SignatureEncoding};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use zeroize::Zeroizing;

use super::random::SystemRandom;
use crate::crypto::rsa_keys::{self, RsaSigner};
use crate::crypto::{CryptoError, SecureRandom, SignatureAlgorithm, Signatures, Signer, ecdsa_blob};
use crate::keys::{Curve, KeyKind, PrivateKey, PublicKey};

/// Ed25519 by ed25519-dalek, ECDSA by the p256, p384 and p521 crates, RSA by rsa.
#[derive(Debug)]
pub(super) struct RustCryptoSignatures;

impl Signatures for RustCryptoSignatures {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if !key.kind().algorithms().contains(&algorithm) {
            return Err(CryptoError::BadKey);
        }
        match key {
            PublicKey::Ed25519(key) => verify_ed25519(key, message, signature),
            PublicKey::Ecdsa { curve, point } => {
                check_point_form(*curve, point)?;
                let fixed = ecdsa_blob::to_fixed(*curve, signature)?;
                let verify = match curve {
                    Curve::P256 => verify_ecdsa::<p256::ecdsa::VerifyingKey, p256::ecdsa::Signature>,
                    Curve::P384 => verify_ecdsa::<p384::ecdsa::VerifyingKey, p384::ecdsa::Signature>,
                    Curve::P521 => verify_ecdsa::<p521::ecdsa::VerifyingKey, p521::ecdsa::Signature>,
                };
                verify(point, message, &fixed)
            }
            PublicKey::Rsa { e, n } => rsa_keys::verify(algorithm, e, n, message, signature),
        }
    }

    fn signer(&self, key: &PrivateKey) -> Result<Box<dyn Signer>, CryptoError> {
        match key {
            PrivateKey::Ed25519 { seed, public } => {
                let key = SigningKey::from_bytes(seed);
                if key.verifying_key().as_bytes() != public {
                    return Err(CryptoError::BadKey);
                }
                Ok(Box::new(Ed25519Signer(key)))
            }
            PrivateKey::Ecdsa { curve, d, point } => {
                if d.len() != curve.field_len() || *point != ecdsa_point(*curve, d)? {
                    return Err(CryptoError::BadKey);
                }
                Ok(match curve {
                    Curve::P256 => EcdsaSigner::<p256::ecdsa::SigningKey, p256::ecdsa::Signature>::boxed(
                        d,
                        SignatureAlgorithm::EcdsaP256,
                    )?,
                    Curve::P384 => EcdsaSigner::<p384::ecdsa::SigningKey, p384::ecdsa::Signature>::boxed(
                        d,
                        SignatureAlgorithm::EcdsaP384,
                    )?,
                    Curve::P521 => EcdsaSigner::<p521::ecdsa::SigningKey, p521::ecdsa::Signature>::boxed(
                        d,
                        SignatureAlgorithm::EcdsaP521,
                    )?,
                })
            }
            PrivateKey::Rsa { .. } => Ok(Box::new(RsaSigner::new(key, &SystemRandom)?)),
        }
    }

    fn generate(&self, kind: KeyKind, rsa_bits: u32) -> Result<PrivateKey, CryptoError> {
        match kind {
            KeyKind::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                SystemRandom.fill(&mut *seed)?;
                let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
                Ok(PrivateKey::Ed25519 { seed, public })
            }
            KeyKind::Ecdsa(curve) => generate_ecdsa(curve),
            KeyKind::Rsa => rsa_keys::generate(rsa_bits, &SystemRandom),
        }
    }
}

// ---- Ed25519 -----------------------------------------------------------------------------------------

fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| CryptoError::BadKey)?;
    if key.is_weak() {
        return Err(CryptoError::BadKey);
    }
    let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| CryptoError::Unauthentic)?;
    key.verify_strict(message, &signature).map_err(|_| CryptoError::Unauthentic)
}

struct Ed25519Signer(SigningKey);

impl Signer for Ed25519Signer {
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if algorithm != SignatureAlgorithm::Ed25519 {
            return Err(CryptoError::BadKey);
        }
        Ok(self.0.try_sign(message).map_err(|_| CryptoError::Backend)?.to_vec())
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Signer[..]")
    }
}

// ---- ECDSA -------------------------------------------------------------------------------------------

fn check_point_form(curve: Curve, point: &[u8]) -> Result<(), CryptoError> {
    PublicKey::ecdsa(curve, point).map(drop).map_err(|_| CryptoError::BadKey)
}

fn verify_ecdsa<K, S>(point: &[u8], message: &[u8], fixed: &[u8]) -> Result<(), CryptoError>
where
    K: for<'a> TryFrom<&'a [u8]> + signature::Verifier<S>,
    S: for<'a> TryFrom<&'a [u8]>,
{
    let key = K::try_from(point).map_err(|_| CryptoError::BadKey)?;
    let signature = S::try_from(fixed).map_err(|_| CryptoError::Unauthentic)?;
    key.verify(message, &signature).map_err(|_| CryptoError::Unauthentic)
}

/// Signs with the nonces of RFC 6979.
struct EcdsaSigner<K, S> {
    key: K,
    algorithm: SignatureAlgorithm,
    signature: PhantomData<fn() -> S>,
}

impl<K, S> EcdsaSigner<K, S>
where
    K: for<'a> TryFrom<&'a [u8]> + signature::Signer<S> + Send + Sync + 'static,
    S: SignatureEncoding + 'static,
{
    fn boxed(d: &[u8], algorithm: SignatureAlgorithm) -> Result<Box<dyn Signer>, CryptoError> {
        let key = K::try_from(d).map_err(|_| CryptoError::BadKey)?;
        Ok(Box::new(Self { key, algorithm, signature: PhantomData }))
    }
}

impl<K, S> Signer for EcdsaSigner<K, S>
where
    K: signature::Signer<S> + Send + Sync,
    S: SignatureEncoding,
{
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if algorithm != self.algorithm {
            return Err(CryptoError::BadKey);
        }
        let signature = self.key.try_sign(message).map_err(|_| CryptoError::Backend)?;
        Ok(ecdsa_blob::from_fixed(signature.to_bytes().as_ref()))
    }
}

impl<K, S> fmt::Debug for EcdsaSigner<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaSigner({} [..])", self.algorithm.name())
    }
}

/// The public point of a scalar, uncompressed.
fn ecdsa_point(curve: Curve, d: &[u8]) -> Result<Box<[u8]>, CryptoError> {
    let bad = |_| CryptoError::BadKey;
    Ok(match curve {
        Curve::P256 => {
            p256::SecretKey::from_slice(d).map_err(bad)?.public_key().to_sec1_point(false).as_bytes().into()
        }
        Curve::P384 => {
            p384::SecretKey::from_slice(d).map_err(bad)?.public_key().to_sec1_point(false).as_bytes().into()
        }
        Curve::P521 => {
            p521::SecretKey::from_slice(d).map_err(bad)?.public_key().to_sec1_point(false).as_bytes().into()
        }
    })
}

fn generate_ecdsa(curve: Curve) -> Result<PrivateKey, CryptoError> {
    let mut d = Zeroizing::new(vec![0; curve.field_len()].into_boxed_slice());
    // By rejection; the worst curve, P-256, refuses one draw in 2³².
    for _ in 0..16 {
        SystemRandom.fill(&mut d)?;
        if let (Curve::P521, Some(first)) = (curve, d.first_mut()) {
            *first &= 1;
        }
        if let Ok(point) = ecdsa_point(curve, &d) {
            return Ok(PrivateKey::Ecdsa { curve, d, point });
        }
    }
    Err(CryptoError::Backend)
}
