//! PKCS#8 private keys (RFC 5958, RFC 8410) and SubjectPublicKeyInfo (RFC 5280 §4.1), without their encryption.

use ::pkcs8::PrivateKeyInfoRef;
use ::pkcs8::der::Decode as _;
use ::pkcs8::der::asn1::{AnyRef, BitStringRef, OctetStringRef};
use ::pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use zeroize::Zeroizing;

use super::asn1::{EC, ED25519, RSA, curve, oid, to_der};
use super::error::shown;
use super::{KeyFormatError, PrivateKey, PublicKey, pkcs1, public_half, sec1};

/// Parses the DER of a `OneAsymmetricKey`.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| BROKEN)?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => pkcs1::parse(key),
        EC => sec1::parse_on(key, Some(curve(info.algorithm.parameters_oid().map_err(|_| BROKEN)?)?)),
        ED25519 => {
            // An OCTET STRING in an OCTET STRING (RFC 8410 §7).
            let seed = <&OctetStringRef>::from_der(key).map_err(|_| BROKEN)?.as_bytes();
            let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| BROKEN)?);
            let public = match info.public_key {
                Some(public) => public.as_bytes().and_then(|bytes| bytes.try_into().ok()).ok_or(BROKEN)?,
                None => public_half::ed25519(&seed)?,
            };
            Ok(PrivateKey::Ed25519 { seed, public })
        }
        other => Err(unsupported(other)),
    }
}

/// The DER of a `OneAsymmetricKey` of version 1. EC keys carry their public half inside; Ed25519 ones go without,
/// because few readers know version 2, where it would stand.
pub(super) fn encode(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let inner = match key {
        PrivateKey::Ed25519 { seed, .. } => {
            to_der(&OctetStringRef::new(&**seed).map_err(|_| BROKEN)?, "PKCS#8")?
        }
        PrivateKey::Ecdsa { .. } => sec1::encode(key, false)?,
        PrivateKey::Rsa { .. } => pkcs1::encode(key)?,
    };
    let private_key = OctetStringRef::new(&inner).map_err(|_| BROKEN)?;
    with_algorithm(&key.public_key(), |algorithm| {
        to_der(&PrivateKeyInfoRef::new(algorithm, private_key), "PKCS#8")
    })
}

/// Parses the DER of a `SubjectPublicKeyInfo`.
pub(super) fn parse_public(der: &[u8]) -> Result<PublicKey, KeyFormatError> {
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| BROKEN_PUBLIC)?;
    let key = info.subject_public_key.as_bytes().ok_or(BROKEN_PUBLIC)?;
    match info.algorithm.oid {
        RSA => pkcs1::parse_public(key),
        EC => {
            let oid = info.algorithm.parameters_oid().map_err(|_| BROKEN_PUBLIC)?;
            Ok(PublicKey::ecdsa(curve(oid)?, key)?)
        }
        ED25519 => Ok(PublicKey::Ed25519(key.try_into().map_err(|_| BROKEN_PUBLIC)?)),
        other => Err(unsupported(other)),
    }
}

/// The DER of a `SubjectPublicKeyInfo`.
pub(super) fn encode_public(key: &PublicKey) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let rsa;
    let bits: &[u8] = match key {
        PublicKey::Ed25519(public) => public,
        PublicKey::Ecdsa { point, .. } => point,
        PublicKey::Rsa { .. } => {
            rsa = pkcs1::encode_public(key)?;
            &rsa
        }
    };
    let subject_public_key = BitStringRef::from_bytes(bits).map_err(|_| BROKEN_PUBLIC)?;
    with_algorithm(key, |algorithm| {
        to_der(&SubjectPublicKeyInfoRef { algorithm, subject_public_key }, "SubjectPublicKeyInfo")
    })
}

/// The algorithm identifier borrows from what is made here.
fn with_algorithm<T>(key: &PublicKey, run: impl FnOnce(AlgorithmIdentifierRef<'_>) -> T) -> T {
    match key {
        PublicKey::Ed25519(_) => run(AlgorithmIdentifierRef { oid: ED25519, parameters: None }),
        PublicKey::Rsa { .. } => run(AlgorithmIdentifierRef { oid: RSA, parameters: Some(AnyRef::NULL) }),
        PublicKey::Ecdsa { curve, .. } => {
            let curve = oid(*curve);
            run(AlgorithmIdentifierRef { oid: EC, parameters: Some(AnyRef::from(&curve)) })
        }
    }
}

fn unsupported(algorithm: impl std::fmt::Display) -> KeyFormatError {
    KeyFormatError::UnsupportedType(shown(algorithm.to_string().as_bytes()))
}

const BROKEN: KeyFormatError = KeyFormatError::Asn1("PKCS#8");
const BROKEN_PUBLIC: KeyFormatError = KeyFormatError::Asn1("SubjectPublicKeyInfo");
