//! Hybrid key exchange: a post-quantum KEM and X25519 side by side, hashed together.

use std::fmt;

use zeroize::Zeroizing;

use super::agreement::{Agreement, AgreementKey};
use super::{
    ActiveKeyExchange, CryptoError, HashAlgorithm, Hashes, KeyExchange, SecureRandom, ShareEncoding,
    SharedSecret,
};

/// A key encapsulation mechanism with a backend's arithmetic.
pub(super) trait Kem: Send + Sync + fmt::Debug {
    /// Length of an encapsulation key in bytes.
    fn public_len(&self) -> usize;
    /// Length of a ciphertext in bytes.
    fn ciphertext_len(&self) -> usize;
    /// A fresh key.
    fn generate(&self, random: &dyn SecureRandom) -> Result<Box<dyn KemKey>, CryptoError>;
    /// A ciphertext for the holder of `public`, and the secret in it.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] if the key is not valid.
    fn encapsulate(&self, public: &[u8], random: &dyn SecureRandom) -> Result<Encapsulated, CryptoError>;
}

/// A ciphertext and the secret in it.
pub(super) type Encapsulated = (Vec<u8>, Zeroizing<Vec<u8>>);

/// An ephemeral decapsulation key.
pub(super) trait KemKey: Send + Sync + fmt::Debug {
    /// Its encapsulation key.
    fn public(&self) -> &[u8];
    /// The secret in `ciphertext`.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] if the length is wrong.
    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
}

/// `mlkem768x25519-sha256` and `sntrup761x25519-sha512`: shares are the KEM's and X25519's, one after the other, and
/// K is the string of the hash of both secrets in the same order.
#[derive(Debug)]
pub(super) struct Hybrid {
    pub(super) name: &'static str,
    pub(super) hash: HashAlgorithm,
    pub(super) kem: &'static dyn Kem,
    pub(super) x25519: &'static dyn Agreement,
    pub(super) hashes: &'static dyn Hashes,
}

impl KeyExchange for &'static Hybrid {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    fn share_encoding(&self) -> ShareEncoding {
        ShareEncoding::String
    }

    fn is_post_quantum(&self) -> bool {
        true
    }

    fn start(&self, random: &dyn SecureRandom) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let kem = self.kem.generate(random)?;
        let x25519 = self.x25519.generate(random)?;
        let share = [kem.public(), x25519.share()].concat();
        Ok(Box::new(ActiveHybrid { method: self, kem, x25519, share }))
    }

    fn respond(
        &self,
        client_share: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
        let (public, x25519_share) = split(client_share, self.kem.public_len())?;
        let (mut share, kem_secret) = self.kem.encapsulate(public, random)?;
        let x25519 = self.x25519.generate(random)?;
        let x25519_secret = x25519.agree(x25519_share)?;
        share.extend_from_slice(x25519.share());
        Ok((share, self.combine(&kem_secret, &x25519_secret)))
    }
}

impl Hybrid {
    fn combine(&self, kem_secret: &[u8], x25519_secret: &[u8]) -> SharedSecret {
        SharedSecret::from_string(&self.hashes.digest(self.hash, &[kem_secret, x25519_secret]))
    }
}

struct ActiveHybrid {
    method: &'static Hybrid,
    kem: Box<dyn KemKey>,
    x25519: Box<dyn AgreementKey>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for ActiveHybrid {
    fn share(&self) -> &[u8] {
        &self.share
    }

    fn finish(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, CryptoError> {
        let (ciphertext, x25519_share) = split(server_share, self.method.kem.ciphertext_len())?;
        let x25519_secret = self.x25519.agree(x25519_share)?;
        let kem_secret = self.kem.decapsulate(ciphertext)?;
        Ok(self.method.combine(&kem_secret, &x25519_secret))
    }
}

impl fmt::Debug for ActiveHybrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [..]", self.method.name)
    }
}

/// The KEM's part of a share and the 32 bytes behind it.
fn split(share: &[u8], kem_len: usize) -> Result<(&[u8], &[u8]), CryptoError> {
    share.split_at_checked(kem_len).filter(|(_, x25519)| x25519.len() == 32).ok_or(CryptoError::BadShare)
}
