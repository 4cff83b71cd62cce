//! SEC1 elliptic curve private keys (RFC 5915): reading.

use ::sec1::der::Decode as _;
use ::sec1::der::oid::ObjectIdentifier;
use ::sec1::{EcParameters, EcPrivateKey};

use super::error::shown;
use super::{Curve, KeyFormatError, PrivateKey};

/// Parses the DER of an `ECPrivateKey` that names its curve.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    parse_on(der, None)
}

/// Parses the DER of an `ECPrivateKey`, whose curve may be named outside, inside, or both.
pub(super) fn parse_on(der: &[u8], outside: Option<Curve>) -> Result<PrivateKey, KeyFormatError> {
    let key = EcPrivateKey::from_der(der).map_err(|_| KeyFormatError::Asn1("SEC1"))?;
    let inside = match key.parameters {
        Some(EcParameters::NamedCurve(oid)) => Some(curve(oid)?),
        None => None,
    };
    let curve = match (outside, inside) {
        (Some(outside), Some(inside)) if outside != inside => return Err(KeyFormatError::Mismatch),
        (Some(curve), _) | (None, Some(curve)) => curve,
        (None, None) => return Err(KeyFormatError::Asn1("SEC1")),
    };
    let point = key.public_key.ok_or(KeyFormatError::NoPublicHalf)?;
    PrivateKey::ecdsa(curve, key.private_key, point)
}

/// The curve with this object identifier (RFC 5480 §2.1.1.1).
pub(super) fn curve(oid: ObjectIdentifier) -> Result<Curve, KeyFormatError> {
    match oid {
        P256 => Ok(Curve::P256),
        P384 => Ok(Curve::P384),
        P521 => Ok(Curve::P521),
        other => Err(KeyFormatError::UnsupportedType(shown(format!("elliptic curve {other}").as_bytes()))),
    }
}

const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
