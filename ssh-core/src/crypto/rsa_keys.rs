//! RSA by the `rsa` crate: the whole of it for the pure Rust backend, and the sizes that AWS-LC refuses for that one.

use std::fmt;

use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use super::seeded::seeded;
use super::{CryptoError, SecureRandom, SignatureAlgorithm, Signer};
use crate::keys::{PrivateKey, PublicKey};
use crate::protocol::wire::trim_leading_zeros;

/// Sizes that are generated, in bits.
pub(super) const GENERATED_BITS: std::ops::RangeInclusive<u32> = 3072..=16384;
/// The largest modulus that is accepted, in bits.
const MAX_BITS: usize = 16384;

/// Refuses keys that [`PublicKey::rsa`] would not have made: the variant's fields are open to everybody.
pub(super) fn check_limits(e: &[u8], n: &[u8]) -> Result<(), CryptoError> {
    PublicKey::rsa(e, n).map(drop).map_err(|_| CryptoError::BadKey)
}

/// Verifies a signature of exactly the modulus' length (RFC 8332 §3) by PKCS#1 v1.5.
pub(super) fn verify(
    algorithm: SignatureAlgorithm,
    e: &[u8],
    n: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    check_limits(e, n)?;
    if signature.len() != trim_leading_zeros(n).len() {
        return Err(CryptoError::Unauthentic);
    }
    let (scheme, digest) = scheme(algorithm, message)?;
    // Unchecked for the crate's own limits, which are narrower than `check_limits`.
    let key =
        RsaPublicKey::new_unchecked(BoxedUint::from_be_slice_vartime(n), BoxedUint::from_be_slice_vartime(e));
    key.verify(scheme, &digest, signature).map_err(|_| CryptoError::Unauthentic)
}

/// A key ready to sign, with blinding.
pub(super) struct RsaSigner {
    key: RsaPrivateKey,
    random: &'static dyn SecureRandom,
}

impl RsaSigner {
    /// From a [`PrivateKey::Rsa`], whose numbers must fit each other.
    pub(super) fn new(key: &PrivateKey, random: &'static dyn SecureRandom) -> Result<Self, CryptoError> {
        let PrivateKey::Rsa { e, n, d, p, q, iqmp } = key else { return Err(CryptoError::BadKey) };
        check_limits(e, n)?;
        let n_bits = u32::try_from(n.len().saturating_mul(8)).map_err(|_| CryptoError::BadKey)?;
        let number = |bytes: &[u8]| BoxedUint::from_be_slice(bytes, n_bits).map_err(|_| CryptoError::BadKey);
        let key = RsaPrivateKey::from_components(
            number(n)?,
            BoxedUint::from_be_slice_vartime(e),
            number(d)?,
            vec![number(p)?, number(q)?],
        )
        .map_err(|_| CryptoError::BadKey)?;
        let coefficient = Zeroizing::new(key.crt_coefficient().ok_or(CryptoError::BadKey)?);
        if *coefficient != *Zeroizing::new(number(iqmp)?) {
            return Err(CryptoError::BadKey);
        }
        Ok(Self { key, random })
    }
}

impl Signer for RsaSigner {
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let (scheme, digest) = scheme(algorithm, message)?;
        let mut random = seeded(self.random)?;
        self.key.sign_with_rng(&mut random, scheme, &digest).map_err(|_| CryptoError::Backend)
    }
}

impl fmt::Debug for RsaSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaSigner[..]")
    }
}

/// A fresh key with e = 65537.
pub(super) fn generate(bits: u32, random: &dyn SecureRandom) -> Result<PrivateKey, CryptoError> {
    if !GENERATED_BITS.contains(&bits) {
        return Err(CryptoError::BadKey);
    }
    let bits = usize::try_from(bits).unwrap_or(MAX_BITS);
    let key = RsaPrivateKey::new(&mut seeded(random)?, bits).map_err(|_| CryptoError::Backend)?;
    let [p, q] = key.primes() else { return Err(CryptoError::Backend) };
    let iqmp = Zeroizing::new(key.crt_coefficient().ok_or(CryptoError::Backend)?);
    Ok(PrivateKey::Rsa {
        e: key.e().to_be_bytes_trimmed_vartime(),
        n: key.n().to_be_bytes_trimmed_vartime(),
        d: secret(key.d()),
        p: secret(p),
        q: secret(q),
        iqmp: secret(&iqmp),
    })
}

fn secret(number: &BoxedUint) -> Zeroizing<Box<[u8]>> {
    let bytes = Zeroizing::new(number.to_be_bytes());
    Zeroizing::new(trim_leading_zeros(&bytes).into())
}

fn scheme(algorithm: SignatureAlgorithm, message: &[u8]) -> Result<(Pkcs1v15Sign, Vec<u8>), CryptoError> {
    match algorithm {
        SignatureAlgorithm::RsaSha256 => {
            Ok((Pkcs1v15Sign::new::<Sha256>(), Sha256::digest(message).to_vec()))
        }
        SignatureAlgorithm::RsaSha512 => {
            Ok((Pkcs1v15Sign::new::<Sha512>(), Sha512::digest(message).to_vec()))
        }
        _ => Err(CryptoError::BadKey),
    }
}
