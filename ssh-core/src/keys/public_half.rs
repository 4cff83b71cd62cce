//! Public halves that a file leaves out. OpenSSL leaves them out of Ed25519 keys, and `ssh-keygen` cannot read such a
//! file to convert it. So where the arithmetic is there, it is used.

use super::{Curve, KeyFormatError};

/// The public half of an Ed25519 seed.
pub(super) fn ed25519(seed: &[u8; 32]) -> Result<[u8; 32], KeyFormatError> {
    backend::ed25519(seed).ok_or(KeyFormatError::NoPublicHalf)
}

/// The public point of a scalar of exactly the field's length.
pub(super) fn ecdsa(curve: Curve, d: &[u8]) -> Result<Box<[u8]>, KeyFormatError> {
    backend::ecdsa(curve, d).ok_or(KeyFormatError::NoPublicHalf)
}

#[cfg(feature = "rustcrypto")]
mod backend {
    use p256::elliptic_curve::sec1::ToSec1Point as _;

    use crate::keys::Curve;

    pub(super) fn ed25519(seed: &[u8; 32]) -> Option<[u8; 32]> {
        Some(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key().to_bytes())
    }

    pub(super) fn ecdsa(curve: Curve, d: &[u8]) -> Option<Box<[u8]>> {
        Some(match curve {
            Curve::P256 => {
                p256::SecretKey::from_slice(d).ok()?.public_key().to_sec1_point(false).as_bytes().into()
            }
            Curve::P384 => {
                p384::SecretKey::from_slice(d).ok()?.public_key().to_sec1_point(false).as_bytes().into()
            }
            Curve::P521 => {
                p521::SecretKey::from_slice(d).ok()?.public_key().to_sec1_point(false).as_bytes().into()
            }
        })
    }
}

#[cfg(all(feature = "aws-lc", not(feature = "rustcrypto")))]
mod backend {
    use aws_lc_rs::agreement::{self, PrivateKey};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use crate::keys::Curve;

    pub(super) fn ed25519(seed: &[u8; 32]) -> Option<[u8; 32]> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok()?.public_key().as_ref().try_into().ok()
    }

    pub(super) fn ecdsa(curve: Curve, d: &[u8]) -> Option<Box<[u8]>> {
        let algorithm = match curve {
            Curve::P256 => &agreement::ECDH_P256,
            Curve::P384 => &agreement::ECDH_P384,
            Curve::P521 => &agreement::ECDH_P521,
        };
        let key = PrivateKey::from_private_key(algorithm, d).ok()?;
        Some(key.compute_public_key().ok()?.as_ref().into())
    }
}

#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
mod backend {
    use crate::keys::Curve;

    pub(super) fn ed25519(_: &[u8; 32]) -> Option<[u8; 32]> {
        None
    }

    pub(super) fn ecdsa(_: Curve, _: &[u8]) -> Option<Box<[u8]>> {
        None
    }
}
