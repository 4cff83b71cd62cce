//! SEC1 elliptic curve private keys (RFC 5915).

use ::sec1::der::Decode as _;
use ::sec1::{EcParameters, EcPrivateKey};
use zeroize::Zeroizing;

use super::asn1::{curve, oid, to_der};
use super::{Curve, Half, KeyFormat, KeyFormatError, PrivateKey, public_half};

/// Parses the DER of an `ECPrivateKey` that names its curve.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    parse_on(der, None)
}

/// Parses the DER of an `ECPrivateKey`, whose curve may be named outside, inside, or both.
pub(super) fn parse_on(der: &[u8], outside: Option<Curve>) -> Result<PrivateKey, KeyFormatError> {
    let key = EcPrivateKey::from_der(der).map_err(|_| BROKEN)?;
    let inside = match key.parameters {
        Some(EcParameters::NamedCurve(oid)) => Some(curve(oid)?),
        None => None,
    };
    let curve = match (outside, inside) {
        (Some(outside), Some(inside)) if outside != inside => return Err(KeyFormatError::Mismatch),
        (Some(curve), _) | (None, Some(curve)) => curve,
        (None, None) => return Err(BROKEN),
    };
    match key.public_key {
        Some(point) => PrivateKey::ecdsa(curve, key.private_key, point),
        None => {
            let d = PrivateKey::scalar(curve, key.private_key)?;
            let point = public_half::ecdsa(curve, &d)?;
            PrivateKey::ecdsa(curve, &d, &point)
        }
    }
}

/// The DER of an `ECPrivateKey` with its public half, which Dev Tunnels' readers need. The curve is left out where
/// the structure around it says it, as in PKCS#8.
pub(super) fn encode(key: &PrivateKey, with_curve: bool) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let PrivateKey::Ecdsa { curve, d, point } = key else {
        let kind = key.public_key().kind();
        return Err(KeyFormatError::CannotHold { format: KeyFormat::Sec1, half: Half::Private, kind });
    };
    let parameters = with_curve.then(|| EcParameters::NamedCurve(oid(*curve)));
    to_der(&EcPrivateKey { private_key: d, parameters, public_key: Some(point) }, "SEC1")
}

const BROKEN: KeyFormatError = KeyFormatError::Asn1("SEC1");
