use std::fmt;
use std::sync::Arc;

use super::{Certificate, PrivateKey, PublicKey};
use crate::crypto::{CryptoError, CryptoProvider, SignatureAlgorithm, Signer};

/// A private key with what signs for it: a server's host key, or a user's key. It may carry a certificate. Clones share the
/// one copy of the private half.
#[derive(Clone)]
pub struct SigningKey {
    public: PublicKey,
    certificate: Option<Box<Certificate>>,
    /// Two steps away, since a box that becomes an `Arc` is copied, and what was in it is left in memory.
    signer: Arc<Box<dyn Signer>>,
}

/// A certificate for another key than the one it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is for another key")]
pub struct WrongCertificate;

impl SigningKey {
    /// Makes a private key ready to sign.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is not valid.
    pub fn new(key: &PrivateKey, provider: &CryptoProvider) -> Result<Self, CryptoError> {
        Ok(Self {
            public: key.public_key(),
            certificate: None,
            signer: Arc::new(provider.signatures.signer(key)?),
        })
    }

    /// The key with its certificate, which takes the place of another one. Whether anybody will accept it is not checked.
    ///
    /// # Errors
    /// If it certifies another key; the key is given back.
    pub fn with_certificate(mut self, certificate: Certificate) -> Result<Self, (Self, WrongCertificate)> {
        if *certificate.key() != self.public {
            return Err((self, WrongCertificate));
        }
        self.certificate = Some(Box::new(certificate));
        Ok(self)
    }

    /// The certificate that it carries.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_deref()
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Whether the key can sign with `algorithm`.
    #[must_use]
    pub fn signs_with(&self, algorithm: SignatureAlgorithm) -> bool {
        self.public.kind().algorithms().contains(&algorithm)
    }

    /// Signs; the inner blob of RFC 4253 §6.6.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the algorithm is not one of the key.
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.signer.sign(algorithm, message)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}
