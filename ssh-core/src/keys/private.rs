use std::fmt;

use zeroize::Zeroizing;

use super::{Curve, KeyError, KeyFormatError, PublicKey};
use crate::protocol::wire::trim_leading_zeros;

/// A private key's numbers. They are zeroised when dropped and never printed.
#[non_exhaustive]
pub enum PrivateKey {
    /// The 32 byte seed of RFC 8032.
    Ed25519 {
        /// The seed.
        seed: Zeroizing<[u8; 32]>,
        /// Its public half.
        public: [u8; 32],
    },
    /// A scalar of exactly the curve's field length, big endian.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// The scalar.
        d: Zeroizing<Box<[u8]>>,
        /// Its public point, `04 ‖ x ‖ y`.
        point: Box<[u8]>,
    },
    /// Big-endian numbers without leading zeros.
    Rsa {
        /// Public exponent.
        e: Box<[u8]>,
        /// Modulus.
        n: Box<[u8]>,
        /// Private exponent.
        d: Zeroizing<Box<[u8]>>,
        /// First prime.
        p: Zeroizing<Box<[u8]>>,
        /// Second prime.
        q: Zeroizing<Box<[u8]>>,
        /// q⁻¹ mod p.
        iqmp: Zeroizing<Box<[u8]>>,
    },
}

impl PrivateKey {
    /// An ECDSA key from a scalar of at most the field's length and its point. Whether they belong together is for
    /// the crypto backend to say.
    pub(super) fn ecdsa(curve: Curve, d: &[u8], point: &[u8]) -> Result<Self, KeyFormatError> {
        PublicKey::ecdsa(curve, point)?;
        Ok(Self::Ecdsa { curve, d: Self::scalar(curve, d)?, point: point.into() })
    }

    /// A scalar brought to the field's length: some writers leave leading zeros out, others put a sign byte in front.
    pub(super) fn scalar(curve: Curve, d: &[u8]) -> Result<Zeroizing<Box<[u8]>>, KeyFormatError> {
        let d = trim_leading_zeros(d);
        let zeros = curve.field_len().checked_sub(d.len()).ok_or(KeyError::Mismatch)?;
        if d.is_empty() {
            return Err(KeyError::Mismatch.into());
        }
        let mut padded = Zeroizing::new(vec![0; curve.field_len()].into_boxed_slice());
        if let Some(room) = padded.get_mut(zeros..) {
            room.copy_from_slice(d);
        }
        Ok(padded)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match self {
            Self::Ed25519 { public, .. } => PublicKey::Ed25519(*public),
            Self::Ecdsa { curve, point, .. } => PublicKey::Ecdsa { curve: *curve, point: point.clone() },
            Self::Rsa { e, n, .. } => PublicKey::Rsa { e: e.clone(), n: n.clone() },
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({} [..])", self.public_key().kind().name())
    }
}
