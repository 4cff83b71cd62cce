use std::fmt;

use crate::crypto::SignatureAlgorithm;
use crate::protocol::wire::{Reader, WireError, Write as _, trim_leading_zeros};

/// A NIST curve of RFC 5656.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// nistp256.
    P256,
    /// nistp384.
    P384,
    /// nistp521.
    P521,
}

impl Curve {
    /// Its name inside key blobs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    /// Length of a coordinate and of a private key in bytes.
    #[must_use]
    pub const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }
}

/// What a key is, whatever it signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ecdsa-sha2-nistp*`.
    Ecdsa(Curve),
    /// `ssh-rsa`.
    Rsa,
}

impl KeyKind {
    /// The type string of its key blob.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::Ecdsa(Curve::P256) => "ecdsa-sha2-nistp256",
            Self::Ecdsa(Curve::P384) => "ecdsa-sha2-nistp384",
            Self::Ecdsa(Curve::P521) => "ecdsa-sha2-nistp521",
            Self::Rsa => "ssh-rsa",
        }
    }

    /// The type string of a certificate of such a key (PROTOCOL.certkeys).
    #[must_use]
    pub const fn certificate_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            Self::Ecdsa(Curve::P256) => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::Ecdsa(Curve::P384) => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::Ecdsa(Curve::P521) => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            Self::Rsa => "ssh-rsa-cert-v01@openssh.com",
        }
    }

    /// The algorithms that it signs with, the best first.
    #[must_use]
    pub const fn algorithms(self) -> &'static [SignatureAlgorithm] {
        match self {
            Self::Ed25519 => &[SignatureAlgorithm::Ed25519],
            Self::Ecdsa(Curve::P256) => &[SignatureAlgorithm::EcdsaP256],
            Self::Ecdsa(Curve::P384) => &[SignatureAlgorithm::EcdsaP384],
            Self::Ecdsa(Curve::P521) => &[SignatureAlgorithm::EcdsaP521],
            Self::Rsa => &[SignatureAlgorithm::RsaSha512, SignatureAlgorithm::RsaSha256],
        }
    }
}

/// A public key, parsed and within limits. Whether its point is on its curve is for the crypto backend to say,
/// which refuses to verify with one that is not.
///
/// Two RSA keys are equal when their numbers are, whatever type string their blobs carried (RFC 8332 §3).
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublicKey {
    /// The 32 bytes of RFC 8032.
    Ed25519([u8; 32]),
    /// An uncompressed point, `04 ‖ x ‖ y`.
    Ecdsa {
        /// The curve.
        curve: Curve,
        /// The point.
        point: Box<[u8]>,
    },
    /// Big-endian numbers without leading zeros.
    Rsa {
        /// Public exponent.
        e: Box<[u8]>,
        /// Modulus.
        n: Box<[u8]>,
    },
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The encoding is broken.
    #[error("the key is malformed: {0}")]
    Wire(#[from] WireError),
    /// The type string names no key that Adit knows.
    #[error("the key is of a type that is not supported")]
    UnknownType,
    /// The type string, the curve and the content do not agree.
    #[error("the parts of the key do not fit each other")]
    Mismatch,
    /// RSA outside 2048 to 16384 bits, or an even, small or long exponent.
    #[error("the RSA key is out of limits (2048 to 16384 bits, odd exponent of 3 to 2^64)")]
    RsaLimits,
}

impl PublicKey {
    /// What kind of key it is.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Ed25519(_) => KeyKind::Ed25519,
            Self::Ecdsa { curve, .. } => KeyKind::Ecdsa(*curve),
            Self::Rsa { .. } => KeyKind::Rsa,
        }
    }

    /// Parses a key blob (RFC 4253 §6.6, RFC 5656 §3.1, RFC 8709 §4). RSA blobs may carry `ssh-rsa`,
    /// `rsa-sha2-256` or `rsa-sha2-512` as their type; Dev Tunnels peers write the latter two.
    ///
    /// # Errors
    /// [`KeyError`] says which rule is broken. Nothing is allocated beyond the length of `blob`.
    pub fn from_blob(blob: &[u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(blob);
        let kind = match reader.string_max(64)? {
            b"ssh-ed25519" => KeyKind::Ed25519,
            b"ssh-rsa" | b"rsa-sha2-256" | b"rsa-sha2-512" => KeyKind::Rsa,
            b"ecdsa-sha2-nistp256" => KeyKind::Ecdsa(Curve::P256),
            b"ecdsa-sha2-nistp384" => KeyKind::Ecdsa(Curve::P384),
            b"ecdsa-sha2-nistp521" => KeyKind::Ecdsa(Curve::P521),
            _ => return Err(KeyError::UnknownType),
        };
        let key = Self::read_fields(kind, &mut reader)?;
        reader.finish()?;
        Ok(key)
    }

    /// The fields behind the type string, which certificates have too.
    pub(super) fn read_fields(kind: KeyKind, reader: &mut Reader<'_>) -> Result<Self, KeyError> {
        match kind {
            KeyKind::Ed25519 => {
                let key = reader.string()?.try_into().map_err(|_| KeyError::Mismatch)?;
                Ok(Self::Ed25519(key))
            }
            KeyKind::Rsa => {
                let e = reader.mpint()?;
                let n = reader.mpint()?;
                Self::rsa(e, n)
            }
            KeyKind::Ecdsa(curve) => {
                if reader.string()? != curve.name().as_bytes() {
                    return Err(KeyError::Mismatch);
                }
                Self::ecdsa(curve, reader.string()?)
            }
        }
    }

    /// An ECDSA key from its uncompressed point.
    ///
    /// # Errors
    /// [`KeyError::Mismatch`] if the length or the first byte is wrong.
    pub fn ecdsa(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let len = curve.field_len().saturating_mul(2).saturating_add(1);
        if point.len() != len || point.first() != Some(&4) {
            return Err(KeyError::Mismatch);
        }
        Ok(Self::Ecdsa { curve, point: point.into() })
    }

    /// An RSA key from its numbers.
    ///
    /// # Errors
    /// [`KeyError::RsaLimits`].
    pub fn rsa(e: &[u8], n: &[u8]) -> Result<Self, KeyError> {
        let (e, n) = (trim_leading_zeros(e), trim_leading_zeros(n));
        let n_bits = bit_len(n);
        let e_odd_and_over_1 = e.last().is_some_and(|last| last % 2 == 1) && e != [1];
        let n_odd = n.last().is_some_and(|last| last % 2 == 1);
        if !(2048..=16384).contains(&n_bits) || !n_odd || e.len() > 8 || !e_odd_and_over_1 {
            return Err(KeyError::RsaLimits);
        }
        Ok(Self::Rsa { e: e.into(), n: n.into() })
    }

    /// The key blob, with the type string that everybody reads (`ssh-rsa` for RSA).
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.put_string(self.kind().name().as_bytes());
        self.write_fields(&mut out);
        out
    }

    /// See [`read_fields`](Self::read_fields).
    pub(super) fn write_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ed25519(key) => out.put_string(key),
            Self::Ecdsa { curve, point } => {
                out.put_string(curve.name().as_bytes());
                out.put_string(point);
            }
            Self::Rsa { e, n } => {
                out.put_mpint(e);
                out.put_mpint(n);
            }
        }
    }

    /// RSA modulus length in bits; the curve's size for the others.
    #[must_use]
    pub fn bits(&self) -> usize {
        match self {
            Self::Ed25519(_) | Self::Ecdsa { curve: Curve::P256, .. } => 256,
            Self::Ecdsa { curve: Curve::P384, .. } => 384,
            Self::Ecdsa { curve: Curve::P521, .. } => 521,
            Self::Rsa { n, .. } => bit_len(n),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.kind().name(), self.bits())
    }
}

pub(super) fn bit_len(magnitude: &[u8]) -> usize {
    let value = trim_leading_zeros(magnitude);
    let lead = value.first().map_or(0, |first| first.leading_zeros());
    value.len().saturating_mul(8).saturating_sub(usize::try_from(lead).unwrap_or(0))
}
