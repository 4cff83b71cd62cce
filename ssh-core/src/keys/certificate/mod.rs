//! OpenSSH certificates (OpenSSH's PROTOCOL.certkeys).

mod authorities;
mod builder;
mod error;
mod line;
mod option;
mod parse;
mod permissions;

use std::fmt;

pub use authorities::{CertificateAuthorities, CertificateUse};
pub use builder::CertificateBuilder;
pub use error::{CertificateError, CertificateRefusal};
pub use line::CertificateLine;
pub use option::CertificateOption;
pub use permissions::CertificatePermissions;

use super::PublicKey;
use crate::crypto::{CryptoProvider, SignatureAlgorithm};

/// A certificate may not be longer, in bytes. It can hold the largest keys and the most principals together.
pub const MAX_CERTIFICATE_LEN: usize = 64 * 1024;
/// A certificate may not name more principals; OpenSSH's limit.
const MAX_PRINCIPALS: usize = 256;
/// Nor have more critical options, nor more extensions. OpenSSH knows three of the one and six of the other.
const MAX_OPTIONS: usize = 64;
/// A key id, a principal or the name of an option may not be longer, in bytes.
const MAX_TEXT_LEN: usize = 1024;

/// A public key with what an authority says about it, signed by the authority (PROTOCOL.certkeys).
///
/// A parsed certificate is well-formed and no more: what it says counts only after
/// [`CertificateAuthorities::check`], which checks the signature too. It keeps the bytes it was parsed from, so that
/// [`to_blob`](Self::to_blob) gives back what was signed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    blob: Box<[u8]>,
    /// How much of the blob is signed: everything before the signature.
    signed_len: usize,
    key: PublicKey,
    serial: u64,
    kind: CertificateKind,
    key_id: Box<str>,
    principals: Box<[Box<str>]>,
    valid_after: u64,
    valid_before: u64,
    critical_options: Box<[CertificateOption]>,
    extensions: Box<[CertificateOption]>,
    authority: PublicKey,
    signature_algorithm: Box<str>,
    signature: Box<[u8]>,
}

/// Whom a certificate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificateKind {
    /// A user, whose login names are the principals (type 1).
    User,
    /// A host, whose names are the principals (type 2).
    Host,
}

impl Certificate {
    /// A certificate in the making.
    pub fn builder(kind: CertificateKind, key: PublicKey) -> CertificateBuilder {
        CertificateBuilder::new(kind, key)
    }

    /// The bytes that it was parsed from, exactly: type string, fields and signature.
    #[must_use]
    pub fn to_blob(&self) -> Vec<u8> {
        self.blob.to_vec()
    }

    /// As [`to_blob`](Self::to_blob), without a copy.
    #[must_use]
    pub fn as_blob(&self) -> &[u8] {
        &self.blob
    }

    /// The key that is certified.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The key of the authority that signed. Never a certificate's: there are no chains.
    #[must_use]
    pub fn authority(&self) -> &PublicKey {
        &self.authority
    }

    /// Whom it is about.
    #[must_use]
    pub fn kind(&self) -> CertificateKind {
        self.kind
    }

    /// The number that the authority gave it; 0 if it does not count.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The authority's text about it, for logs. It may hold any character: show it through
    /// [`escape_text`](crate::error::escape_text).
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The users or hosts that it is valid for. For hosts they may be patterns with `*` and `?`.
    #[must_use]
    pub fn principals(&self) -> &[Box<str>] {
        &self.principals
    }

    /// From when on it is valid, in seconds since 1970.
    #[must_use]
    pub fn valid_after(&self) -> u64 {
        self.valid_after
    }

    /// The first second at which it is not valid any more, since 1970; [`u64::MAX`] is never.
    #[must_use]
    pub fn valid_before(&self) -> u64 {
        self.valid_before
    }

    /// The options that must be understood, or the certificate is refused.
    #[must_use]
    pub fn critical_options(&self) -> &[CertificateOption] {
        &self.critical_options
    }

    /// The options that may be ignored.
    #[must_use]
    pub fn extensions(&self) -> &[CertificateOption] {
        &self.extensions
    }

    /// The algorithm of the authority's signature. `None` if it is one that is refused, such as SHA-1 (`ssh-rsa`) or
    /// one that is not of the authority's key.
    #[must_use]
    pub fn signature_algorithm(&self) -> Option<SignatureAlgorithm> {
        SignatureAlgorithm::from_name(&self.signature_algorithm)
            .filter(|algorithm| self.authority.kind().algorithms().contains(algorithm))
    }

    /// What the signature's algorithm is called, also if it is refused.
    #[must_use]
    pub fn signature_algorithm_name(&self) -> &str {
        &self.signature_algorithm
    }

    /// Checks that the authority's key signed it. Says nothing about whether the authority is trusted.
    ///
    /// # Errors
    /// [`CertificateRefusal::WeakSignature`] for an algorithm that is refused, [`CertificateRefusal::BadSignature`] if
    /// the signature is wrong.
    pub fn verify_signature(&self, provider: &CryptoProvider) -> Result<(), CertificateRefusal> {
        let algorithm = self
            .signature_algorithm()
            .ok_or_else(|| CertificateRefusal::WeakSignature(self.signature_algorithm.clone()))?;
        let signed = self.blob.get(..self.signed_len).unwrap_or_default();
        provider
            .signatures
            .verify(algorithm, &self.authority, signed, &self.signature)
            .map_err(CertificateRefusal::BadSignature)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("kind", &self.kind)
            .field("key", &self.key)
            .field("serial", &self.serial)
            .field("key_id", &crate::error::escape_text(self.key_id.as_bytes()))
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}
