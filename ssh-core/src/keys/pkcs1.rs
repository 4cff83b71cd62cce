//! PKCS#1 RSA keys (RFC 8017 appendix A.1).

use ::pkcs1::der::Decode as _;
use ::pkcs1::der::asn1::UintRef;
use ::pkcs1::{RsaPrivateKey, RsaPublicKey};
use zeroize::Zeroizing;

use super::asn1::to_der;
use super::rsa_numbers::{CrtExponents, RsaNumbers, crt_exponents};
use super::{Half, KeyFormat, KeyFormatError, PrivateKey, PublicKey};

/// Parses the DER of an `RSAPrivateKey` with two primes. The exponents of the Chinese remainder theorem follow from
/// the rest and are not believed.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    let key = RsaPrivateKey::<UintRef<'_>>::from_der(der).map_err(|_| BROKEN)?;
    if key.other_prime_infos.is_some() {
        return Err(KeyFormatError::UnsupportedType("RSA with more than two primes".into()));
    }
    PrivateKey::rsa(&RsaNumbers {
        e: key.public_exponent.as_bytes(),
        n: key.modulus.as_bytes(),
        d: key.private_exponent.as_bytes(),
        p: key.prime1.as_bytes(),
        q: key.prime2.as_bytes(),
        iqmp: key.coefficient.as_bytes(),
    })
}

/// The DER of an `RSAPrivateKey`.
pub(super) fn encode(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let PrivateKey::Rsa { e, n, d, p, q, iqmp } = key else {
        return Err(cannot_hold(Half::Private, &key.public_key()));
    };
    let CrtExponents { dp, dq } = crt_exponents(d, p, q)?;
    let value = RsaPrivateKey {
        modulus: uint(n)?,
        public_exponent: uint(e)?,
        private_exponent: uint(d)?,
        prime1: uint(p)?,
        prime2: uint(q)?,
        exponent1: uint(&dp)?,
        exponent2: uint(&dq)?,
        coefficient: uint(iqmp)?,
        other_prime_infos: None,
    };
    to_der(&value, "PKCS#1")
}

/// Parses the DER of an `RSAPublicKey`.
pub(super) fn parse_public(der: &[u8]) -> Result<PublicKey, KeyFormatError> {
    let key = RsaPublicKey::<UintRef<'_>>::from_der(der).map_err(|_| BROKEN)?;
    Ok(PublicKey::rsa(key.public_exponent.as_bytes(), key.modulus.as_bytes())?)
}

/// The DER of an `RSAPublicKey`.
pub(super) fn encode_public(key: &PublicKey) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let PublicKey::Rsa { e, n } = key else { return Err(cannot_hold(Half::Public, key)) };
    to_der(&RsaPublicKey { modulus: uint(n)?, public_exponent: uint(e)? }, "PKCS#1")
}

fn uint(number: &[u8]) -> Result<UintRef<'_>, KeyFormatError> {
    UintRef::new(number).map_err(|_| BROKEN)
}

fn cannot_hold(half: Half, key: &PublicKey) -> KeyFormatError {
    KeyFormatError::CannotHold { format: KeyFormat::Pkcs1, half, kind: key.kind() }
}

const BROKEN: KeyFormatError = KeyFormatError::Asn1("PKCS#1");
