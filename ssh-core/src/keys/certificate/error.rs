use crate::crypto::CryptoError;
use crate::keys::KeyError;
use crate::protocol::wire::WireError;

/// Why bytes are no certificate, or why one cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Over [`MAX_CERTIFICATE_LEN`](super::MAX_CERTIFICATE_LEN).
    #[error("the certificate is over {} bytes", super::MAX_CERTIFICATE_LEN)]
    TooLong,
    /// The encoding is broken.
    #[error("the certificate is malformed: {0}")]
    Wire(#[from] WireError),
    /// The type string names no certificate that Adit knows.
    #[error("the certificate is of a type that is not supported")]
    UnknownType,
    /// Neither for users nor for hosts.
    #[error("the certificate is for neither users nor hosts (type {0})")]
    UnknownKind(u32),
    /// More principals or options than a certificate may have.
    #[error("the certificate has too many principals or options")]
    TooMany,
    /// An option comes twice.
    #[error("an option of the certificate comes twice")]
    RepeatedOption,
    /// The certified key is refused.
    #[error("the certified key is refused: {0}")]
    Key(#[from] KeyError),
    /// The authority's key is refused.
    #[error("the key of the certificate's authority is refused: {0}")]
    Authority(KeyError),
    /// The authority's key is a certificate itself.
    #[error("the certificate is signed by a certificate; only a plain key may sign one")]
    AuthorityIsCertificate,
    /// There was no randomness, or the authority's key did not sign.
    #[error("the certificate cannot be signed: {0}")]
    Signing(CryptoError),
}

/// Why a well-formed certificate does not count. It is for logs, not for the peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateRefusal {
    /// No trusted authority has this key.
    #[error("its authority is not trusted")]
    UnknownAuthority,
    /// A user's certificate where a host's is needed, or the other way round.
    #[error("it is for the wrong kind: hosts and users are not the same")]
    WrongKind,
    /// It names nobody. OpenSSH's clients take a host certificate without names for every host; Adit does not.
    #[error("it names no principals, so it is valid for nobody")]
    NoPrincipals,
    /// It names others.
    #[error("it is not valid for this name")]
    WrongPrincipal,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// The peer does not come from an address that it allows, or nobody knows from where.
    #[error("it is not valid for the peer's address")]
    WrongAddress,
    /// A critical option that is not known, or not for this kind.
    #[error("its critical option `{0}` is not known")]
    UnknownCriticalOption(Box<str>),
    /// A critical option whose value makes no sense.
    #[error("its critical option `{0}` is malformed")]
    BadCriticalOption(Box<str>),
    /// The authority signed with an algorithm that is refused.
    #[error("it is signed with `{}`, which is not accepted", crate::error::escape_text(.0.as_bytes()))]
    WeakSignature(Box<str>),
    /// The authority's signature is wrong.
    #[error("its signature is wrong")]
    BadSignature(#[source] CryptoError),
}
