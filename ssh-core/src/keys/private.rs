use std::fmt;

use zeroize::Zeroizing;

use super::{Curve, PublicKey};

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
