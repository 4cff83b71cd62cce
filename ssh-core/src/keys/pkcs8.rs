//! PKCS#8 private keys (RFC 5958, RFC 8410): reading unencrypted ones.

use ::pkcs8::PrivateKeyInfoRef;
use ::pkcs8::der::Decode as _;
use ::pkcs8::der::asn1::OctetStringRef;
use ::pkcs8::spki::ObjectIdentifier;
use zeroize::Zeroizing;

use super::error::shown;
use super::{KeyFormatError, PrivateKey, pkcs1, sec1};

/// Parses the DER of a `OneAsymmetricKey`.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| BROKEN)?;
    let key = info.private_key.as_bytes();
    match info.algorithm.oid {
        RSA => pkcs1::parse(key),
        EC => {
            let oid = info.algorithm.parameters_oid().map_err(|_| BROKEN)?;
            sec1::parse_on(key, Some(sec1::curve(oid)?))
        }
        ED25519 => {
            // An OCTET STRING in an OCTET STRING (RFC 8410 §7).
            let seed = <&OctetStringRef>::from_der(key).map_err(|_| BROKEN)?.as_bytes();
            let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| BROKEN)?);
            let public = match info.public_key {
                Some(public) => public.as_bytes().and_then(|bytes| bytes.try_into().ok()).ok_or(BROKEN)?,
                None => ed25519_public(&seed).ok_or(KeyFormatError::NoPublicHalf)?,
            };
            Ok(PrivateKey::Ed25519 { seed, public })
        }
        other => Err(KeyFormatError::UnsupportedType(shown(other.to_string().as_bytes()))),
    }
}

/// OpenSSL leaves the public half out, and `ssh-keygen` cannot read such a file to convert it. So where the arithmetic
/// is there, it is used.
#[cfg(feature = "rustcrypto")]
fn ed25519_public(seed: &[u8; 32]) -> Option<[u8; 32]> {
    Some(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes())
}

#[cfg(not(feature = "rustcrypto"))]
fn ed25519_public(_: &[u8; 32]) -> Option<[u8; 32]> {
    None
}

const BROKEN: KeyFormatError = KeyFormatError::Asn1("PKCS#8");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
