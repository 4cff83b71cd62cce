//! What the numbers of an RSA private key must be to each other (RFC 8017 §3.2).

use crypto_bigint::{BoxedUint, CheckedSub as _, ConcatenatingMul as _, NonZero};
use zeroize::Zeroizing;

use super::{KeyError, KeyFormatError, PrivateKey, PublicKey};
use crate::protocol::wire::trim_leading_zeros;

/// The numbers of an RSA private key, big endian.
pub(super) struct RsaNumbers<'a> {
    pub(super) e: &'a [u8],
    pub(super) n: &'a [u8],
    pub(super) d: &'a [u8],
    pub(super) p: &'a [u8],
    pub(super) q: &'a [u8],
    pub(super) iqmp: &'a [u8],
}

/// The exponents of the Chinese remainder theorem, which an SSH key does not carry.
pub(crate) struct CrtExponents {
    /// d mod (p - 1).
    pub(crate) dp: Zeroizing<Box<[u8]>>,
    /// d mod (q - 1).
    pub(crate) dq: Zeroizing<Box<[u8]>>,
}

impl PrivateKey {
    /// An RSA key whose numbers belong together: n = p q, e inverts d, and the coefficient inverts q. That p and q are
    /// primes is for the crypto backend to say.
    pub(super) fn rsa(numbers: &RsaNumbers<'_>) -> Result<Self, KeyFormatError> {
        let PublicKey::Rsa { e, n } = PublicKey::rsa(numbers.e, numbers.n)? else {
            return Err(KeyError::Mismatch.into());
        };
        let [d, p, q, iqmp] = [numbers.d, numbers.p, numbers.q, numbers.iqmp].map(trim_leading_zeros);
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        let product_len = p.len().saturating_add(q.len());
        // A product is as long as its factors together, or a byte shorter. Asked before any arithmetic, so that its
        // cost has a bound.
        let sizes_fit = (n.len()..=n.len().saturating_add(1)).contains(&product_len)
            && d.len() <= n.len()
            && iqmp.len() <= p.len()
            && !iqmp.is_empty();
        if !sizes_fit || ![d, p, q].into_iter().all(odd) {
            return Err(KeyFormatError::Mismatch);
        }
        if !belong_together(&RsaNumbers { e: &e, n: &n, d, p, q, iqmp }).unwrap_or(false) {
            return Err(KeyFormatError::Mismatch);
        }
        let secret = |number: &[u8]| Zeroizing::new(Box::<[u8]>::from(number));
        Ok(Self::Rsa { e, n, d: secret(d), p: secret(p), q: secret(q), iqmp: secret(iqmp) })
    }
}

/// The exponents for a key's primes, which must be odd.
pub(crate) fn crt_exponents(d: &[u8], p: &[u8], q: &[u8]) -> Result<CrtExponents, KeyFormatError> {
    let exponent = |prime: &[u8]| {
        let order = less_one(&number(prime)).ok_or(KeyFormatError::Mismatch)?;
        Ok::<_, KeyFormatError>(bytes(&remainder(&number(d), order)))
    };
    Ok(CrtExponents { dp: exponent(p)?, dq: exponent(q)? })
}

fn belong_together(numbers: &RsaNumbers<'_>) -> Option<bool> {
    let [e, n, d, p, q, iqmp] =
        [numbers.e, numbers.n, numbers.d, numbers.p, numbers.q, numbers.iqmp].map(number);
    let one = |value: &BoxedUint| bytes(value).as_ref() == [1].as_slice();
    let product = Zeroizing::new(p.concatenating_mul(&*q));
    if trim_leading_zeros(&product.to_be_bytes()) != trim_leading_zeros(&n.to_be_bytes()) {
        return Some(false);
    }
    for prime in [&p, &q] {
        let exponent = remainder(&d, less_one(prime)?);
        let product = Zeroizing::new(exponent.concatenating_mul(&*e));
        if !one(&remainder(&product, less_one(prime)?)) {
            return Some(false);
        }
    }
    let product = Zeroizing::new(iqmp.concatenating_mul(&*q));
    Some(one(&remainder(&product, NonZero::new(BoxedUint::clone(&p)).into_option()?)))
}

fn number(bytes: &[u8]) -> Zeroizing<BoxedUint> {
    Zeroizing::new(BoxedUint::from_be_slice_vartime(bytes))
}

fn less_one(prime: &BoxedUint) -> Option<NonZero<BoxedUint>> {
    prime.checked_sub(&BoxedUint::one()).into_option().and_then(|order| NonZero::new(order).into_option())
}

/// Takes the modulus by value and wipes it, and the quotient too.
fn remainder(value: &BoxedUint, modulus: NonZero<BoxedUint>) -> Zeroizing<BoxedUint> {
    let (quotient, remainder) = value.div_rem(&modulus);
    drop((Zeroizing::new(quotient), Zeroizing::new(modulus.get())));
    Zeroizing::new(remainder)
}

/// Big endian without leading zeros.
fn bytes(number: &BoxedUint) -> Zeroizing<Box<[u8]>> {
    let bytes = Zeroizing::new(number.to_be_bytes());
    Zeroizing::new(trim_leading_zeros(&bytes).into())
}
