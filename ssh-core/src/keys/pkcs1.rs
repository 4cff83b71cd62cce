//! PKCS#1 RSA private keys (RFC 8017 appendix A.1.2): reading.

use ::pkcs1::RsaPrivateKey;
use ::pkcs1::der::Decode as _;
use ::pkcs1::der::asn1::UintRef;

use super::openssh::RsaNumbers;
use super::{KeyFormatError, PrivateKey};

/// Parses the DER of an `RSAPrivateKey` with two primes.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    let key = RsaPrivateKey::<UintRef<'_>>::from_der(der).map_err(|_| KeyFormatError::Asn1("PKCS#1"))?;
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
