use std::fmt;
use std::str::FromStr;

use super::{KeyFormatError, KeyKind};

/// A format that key files are written in.
///
/// Which half and which kind of key a format can hold is told by [`holds`](Self::holds); all of them are read, in
/// whatever format they come ([`KeyPair::parse`](super::KeyPair::parse),
/// [`PublicLine::decode`](super::PublicLine::decode)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFormat {
    /// `openssh-key-v1` for private keys, `type base64 comment` on one line for public ones.
    OpenSsh,
    /// PKCS#8 (RFC 5958) for private keys, SubjectPublicKeyInfo (RFC 5280 §4.1) for public ones, in PEM.
    Pkcs8,
    /// PKCS#1 (RFC 8017 appendix A.1) in PEM: RSA alone.
    Pkcs1,
    /// SEC1 (RFC 5915) in PEM: private ECDSA keys alone.
    Sec1,
    /// RFC 4716: public keys alone.
    Rfc4716,
    /// The form of ssh.com's SSH2: private RSA keys; its public keys are RFC 4716.
    Ssh2,
    /// A JSON Web Key (RFC 7517, RFC 8037) whose curves have their registered names: `P-256`, `Ed25519`.
    Jwk,
    /// A JSON Web Key whose curves have their SSH names, `nistp256`, which is what Dev Tunnels' TypeScript library
    /// reads.
    JwkNist,
}

/// The half of a key pair that a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// The private key, and the public one with it.
    Private,
    /// The public key alone.
    Public,
}

impl KeyFormat {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::OpenSsh,
        Self::Pkcs8,
        Self::Pkcs1,
        Self::Sec1,
        Self::Rfc4716,
        Self::Ssh2,
        Self::Jwk,
        Self::JwkNist,
    ];

    /// The name that [`FromStr`] reads.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenSsh => "openssh",
            Self::Pkcs8 => "pkcs8",
            Self::Pkcs1 => "pkcs1",
            Self::Sec1 => "sec1",
            Self::Rfc4716 => "rfc4716",
            Self::Ssh2 => "ssh2",
            Self::Jwk => "jwk",
            Self::JwkNist => "jwk-nist",
        }
    }

    /// Whether a file of this format can hold that half of a key of that kind.
    #[must_use]
    pub const fn holds(self, half: Half, kind: KeyKind) -> bool {
        match (self, half) {
            (Self::OpenSsh | Self::Pkcs8 | Self::Jwk | Self::JwkNist, _) => true,
            (Self::Pkcs1, _) | (Self::Ssh2, Half::Private) => matches!(kind, KeyKind::Rsa),
            (Self::Sec1, Half::Private) => matches!(kind, KeyKind::Ecdsa(_)),
            (Self::Sec1, Half::Public) | (Self::Rfc4716, Half::Private) => false,
            (Self::Rfc4716 | Self::Ssh2, Half::Public) => true,
        }
    }

    /// Whether private keys are written encrypted. The others have no encryption, or one so weak that it is only read.
    #[must_use]
    pub const fn encrypts(self) -> bool {
        matches!(self, Self::OpenSsh | Self::Pkcs8)
    }

    /// Refuses what cannot be written in this format.
    pub(super) fn check(
        self,
        half: Half,
        kind: KeyKind,
        passphrase: Option<&[u8]>,
    ) -> Result<(), KeyFormatError> {
        if !self.holds(half, kind) {
            return Err(KeyFormatError::CannotHold { format: self, half, kind });
        }
        match passphrase {
            Some(_) if !self.encrypts() => Err(KeyFormatError::CannotEncrypt(self)),
            Some([]) => Err(KeyFormatError::EmptyPassphrase),
            _ => Ok(()),
        }
    }
}

impl Half {
    /// `private` or `public`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such key format; use openssh, pkcs8, pkcs1, sec1, rfc4716, ssh2, jwk or jwk-nist")]
pub struct UnknownFormatName;

impl FromStr for KeyFormat {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, UnknownFormatName> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or(UnknownFormatName)
    }
}
