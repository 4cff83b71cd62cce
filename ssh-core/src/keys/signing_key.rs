use std::fmt;

use super::{PrivateKey, PublicKey};
use crate::crypto::{CryptoError, CryptoProvider, SignatureAlgorithm, Signer};

/// A private key with what signs for it: a server's host key, or a user's key.
pub struct SigningKey {
    public: PublicKey,
    signer: Box<dyn Signer>,
}

impl SigningKey {
    /// Makes a private key ready to sign.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is not valid.
    pub fn new(key: &PrivateKey, provider: &CryptoProvider) -> Result<Self, CryptoError> {
        Ok(Self { public: key.public_key(), signer: provider.signatures.signer(key)? })
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
