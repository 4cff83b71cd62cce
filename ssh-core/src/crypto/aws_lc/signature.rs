//! Host and user key signatures.

use std::fmt;

use aws_lc_rs::encoding::{AsBigEndian as _, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom as Library;
use aws_lc_rs::rsa::KeyPairComponents;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING, ED25519,
    EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::random::SystemRandom;
use crate::crypto::rsa_keys::{self, RsaSigner};
use crate::crypto::{
    CryptoError, SecureRandom as _, SignatureAlgorithm, Signatures, Signer, ecdsa_blob, ed25519_order,
};
use crate::keys::{CrtExponents, Curve, KeyKind, PrivateKey, PublicKey, crt_exponents};

/// The largest modulus that the library takes, in bytes.
const MAX_MODULUS_LEN: usize = 1024;
/// The longest exponent that it takes for sure, in bytes. It allows 33 bits.
const MAX_EXPONENT_LEN: usize = 4;

/// AWS-LC's signatures.
#[derive(Debug)]
pub(super) struct AwsLcSignatures;

impl Signatures for AwsLcSignatures {
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
            PublicKey::Ecdsa { curve, point } => verify_ecdsa(*curve, point, message, signature),
            PublicKey::Rsa { e, n } => verify_rsa(algorithm, e, n, message, signature),
        }
    }

    fn signer(&self, key: &PrivateKey) -> Result<Box<dyn Signer>, CryptoError> {
        match key {
            PrivateKey::Ed25519 { seed, public } => Ok(Box::new(Ed25519Signer(
                Ed25519KeyPair::from_seed_and_public_key(&**seed, public).map_err(|_| CryptoError::BadKey)?,
            ))),
            PrivateKey::Ecdsa { curve, d, point } => {
                check_point_form(*curve, point)?;
                if d.len() != curve.field_len() {
                    return Err(CryptoError::BadKey);
                }
                let (algorithm, signing, _) = ecdsa_algorithms(*curve);
                let key = EcdsaKeyPair::from_private_key_and_public_key(signing, d, point)
                    .map_err(|_| CryptoError::BadKey)?;
                Ok(Box::new(EcdsaSigner { key, algorithm }))
            }
            PrivateKey::Rsa { n, .. } if n.len() > MAX_MODULUS_LEN => {
                Ok(Box::new(RsaSigner::new(key, &SystemRandom)?))
            }
            PrivateKey::Rsa { e, n, d, p, q, iqmp } => {
                rsa_keys::check_limits(e, n)?;
                let CrtExponents { dp, dq } = crt_exponents(d, p, q).map_err(|_| CryptoError::BadKey)?;
                let components = KeyPairComponents {
                    public_key: RsaPublicKeyComponents { n: &**n, e: &**e },
                    d: &***d,
                    p: &***p,
                    q: &***q,
                    dP: &**dp,
                    dQ: &**dq,
                    qInv: &***iqmp,
                };
                let key =
                    signature::RsaKeyPair::from_components(&components).map_err(|_| CryptoError::BadKey)?;
                Ok(Box::new(AwsRsaSigner(key)))
            }
        }
    }

    fn generate(&self, kind: KeyKind, rsa_bits: u32) -> Result<PrivateKey, CryptoError> {
        match kind {
            KeyKind::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                SystemRandom.fill(&mut *seed)?;
                let key = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| CryptoError::Backend)?;
                let public = key.public_key().as_ref().try_into().map_err(|_| CryptoError::Backend)?;
                Ok(PrivateKey::Ed25519 { seed, public })
            }
            KeyKind::Ecdsa(curve) => generate_ecdsa(curve),
            KeyKind::Rsa => rsa_keys::generate(rsa_bits, &SystemRandom),
        }
    }
}

// ---- Ed25519 -----------------------------------------------------------------------------------------

fn verify_ed25519(key: &[u8; 32], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    // The library checks S < L but takes keys and commitments of low order.
    if ed25519_order::is_low(key) {
        return Err(CryptoError::BadKey);
    }
    if signature.first_chunk().is_none_or(ed25519_order::is_low) {
        return Err(CryptoError::Unauthentic);
    }
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).map_err(|_| CryptoError::Unauthentic)
}

struct Ed25519Signer(Ed25519KeyPair);

impl Signer for Ed25519Signer {
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if algorithm != SignatureAlgorithm::Ed25519 {
            return Err(CryptoError::BadKey);
        }
        Ok(self.0.try_sign(message).map_err(|_| CryptoError::Backend)?.as_ref().to_vec())
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Signer[..]")
    }
}

// ---- ECDSA -------------------------------------------------------------------------------------------

type EcdsaAlgorithms =
    (SignatureAlgorithm, &'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm);

fn ecdsa_algorithms(curve: Curve) -> EcdsaAlgorithms {
    match curve {
        Curve::P256 => {
            (SignatureAlgorithm::EcdsaP256, &ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)
        }
        Curve::P384 => {
            (SignatureAlgorithm::EcdsaP384, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)
        }
        Curve::P521 => {
            (SignatureAlgorithm::EcdsaP521, &ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED)
        }
    }
}

fn check_point_form(curve: Curve, point: &[u8]) -> Result<(), CryptoError> {
    PublicKey::ecdsa(curve, point).map(drop).map_err(|_| CryptoError::BadKey)
}

fn verify_ecdsa(curve: Curve, point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    check_point_form(curve, point)?;
    let (_, _, verification) = ecdsa_algorithms(curve);
    let key = signature::ParsedPublicKey::new(verification, point).map_err(|_| CryptoError::BadKey)?;
    let fixed = ecdsa_blob::to_fixed(curve, signature)?;
    key.verify_sig(message, &fixed).map_err(|_| CryptoError::Unauthentic)
}

/// Signs with nonces that are random and hedged with the key and the message.
struct EcdsaSigner {
    key: EcdsaKeyPair,
    algorithm: SignatureAlgorithm,
}

impl Signer for EcdsaSigner {
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        if algorithm != self.algorithm {
            return Err(CryptoError::BadKey);
        }
        let signature = self.key.sign(&Library::new(), message).map_err(|_| CryptoError::Backend)?;
        Ok(ecdsa_blob::from_fixed(signature.as_ref()))
    }
}

impl fmt::Debug for EcdsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EcdsaSigner({} [..])", self.algorithm.name())
    }
}

fn generate_ecdsa(curve: Curve) -> Result<PrivateKey, CryptoError> {
    let (_, signing, _) = ecdsa_algorithms(curve);
    let key = EcdsaKeyPair::generate(signing).map_err(|_| CryptoError::Backend)?;
    let scalar: EcPrivateKeyBin<'_> = key.private_key().as_be_bytes().map_err(|_| CryptoError::Backend)?;
    Ok(PrivateKey::Ecdsa {
        curve,
        d: Zeroizing::new(scalar.as_ref().into()),
        point: key.public_key().as_ref().into(),
    })
}

// ---- RSA ---------------------------------------------------------------------------------------------

fn verify_rsa(
    algorithm: SignatureAlgorithm,
    e: &[u8],
    n: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    rsa_keys::check_limits(e, n)?;
    if n.len() > MAX_MODULUS_LEN || e.len() > MAX_EXPONENT_LEN {
        return rsa_keys::verify(algorithm, e, n, message, signature);
    }
    let parameters = match algorithm {
        SignatureAlgorithm::RsaSha256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlgorithm::RsaSha512 => &RSA_PKCS1_2048_8192_SHA512,
        _ => return Err(CryptoError::BadKey),
    };
    RsaPublicKeyComponents { n, e }
        .verify(parameters, message, signature)
        .map_err(|_| CryptoError::Unauthentic)
}

/// The library blinds.
struct AwsRsaSigner(signature::RsaKeyPair);

impl Signer for AwsRsaSigner {
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let encoding = match algorithm {
            SignatureAlgorithm::RsaSha256 => &RSA_PKCS1_SHA256,
            SignatureAlgorithm::RsaSha512 => &RSA_PKCS1_SHA512,
            _ => return Err(CryptoError::BadKey),
        };
        let mut out = vec![0; self.0.public_modulus_len()];
        self.0.sign(encoding, &Library::new(), message, &mut out).map_err(|_| CryptoError::Backend)?;
        Ok(out)
    }
}

impl fmt::Debug for AwsRsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsRsaSigner[..]")
    }
}
