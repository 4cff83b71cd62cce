use super::{Certificate, PublicKey};

/// What a server showed, having proved that it holds the key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostKey {
    /// The key. With a certificate, the key that is certified.
    pub key: PublicKey,
    /// The certificate that the key came in. It is well-formed and about `key`, and nothing more of it has been checked:
    /// neither its authority nor the authority's signature, its names, its dates, or that it is for hosts at all.
    /// [`KnownHosts::check_host_key`](super::KnownHosts::check_host_key) and
    /// [`CertificateAuthorities::check`](super::CertificateAuthorities::check) do.
    pub certificate: Option<Box<Certificate>>,
}

impl HostKey {
    /// A key as it is.
    #[must_use]
    pub fn plain(key: PublicKey) -> Self {
        Self { key, certificate: None }
    }

    /// A key in a certificate.
    #[must_use]
    pub fn certified(certificate: Certificate) -> Self {
        Self { key: certificate.key().clone(), certificate: Some(Box::new(certificate)) }
    }
}
