//! Key exchange methods that are one elliptic curve agreement: RFC 5656 §4 and RFC 8731.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    ActiveKeyExchange, CryptoError, HashAlgorithm, KeyExchange, SecureRandom, ShareEncoding, SharedSecret,
};

/// A curve with a backend's arithmetic.
pub(super) trait Agreement: Send + Sync + fmt::Debug {
    /// Length of a private key in bytes.
    fn private_len(&self) -> usize;
    /// What the first byte of random bytes is masked with so that most are a private key.
    fn private_mask(&self) -> u8 {
        0xff
    }
    /// A private key from its bytes.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if it is out of range.
    fn key(&self, private: &[u8]) -> Result<Box<dyn AgreementKey>, CryptoError>;

    /// A fresh key, by rejection.
    fn generate(&self, random: &dyn SecureRandom) -> Result<Box<dyn AgreementKey>, CryptoError> {
        let mut private = Zeroizing::new(vec![0; self.private_len()]);
        for _ in 0..MAX_DRAWS {
            random.fill(&mut private)?;
            if let Some(first) = private.first_mut() {
                *first &= self.private_mask();
            }
            if let Ok(key) = self.key(&private) {
                return Ok(key);
            }
        }
        Err(CryptoError::Backend)
    }
}

/// The worst curve here, P-256, refuses one draw in 2³²; more refusals than this mean that randomness is broken.
const MAX_DRAWS: usize = 16;

/// An ephemeral private key.
pub(super) trait AgreementKey: Send + Sync + fmt::Debug {
    /// Its public share.
    fn share(&self) -> &[u8];
    /// The secret, at the curve's field length.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] if the share is malformed, off the curve or of low order.
    fn agree(&self, peer_share: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError>;
}

/// A key exchange method over one curve. The secret is hashed as the number that its bytes are, big endian, for
/// X25519 too (RFC 8731 §3.1).
#[derive(Debug)]
pub(super) struct CurveExchange {
    pub(super) name: &'static str,
    pub(super) hash: HashAlgorithm,
    pub(super) agreement: &'static dyn Agreement,
}

impl KeyExchange for CurveExchange {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hash(&self) -> HashAlgorithm {
        self.hash
    }

    fn share_encoding(&self) -> ShareEncoding {
        ShareEncoding::String
    }

    fn start(&self, random: &dyn SecureRandom) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        Ok(Box::new(ActiveCurve { key: self.agreement.generate(random)? }))
    }

    fn respond(
        &self,
        client_share: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
        let key = self.agreement.generate(random)?;
        let secret = key.agree(client_share)?;
        Ok((key.share().to_vec(), SharedSecret::from_number(&secret)))
    }
}

#[derive(Debug)]
struct ActiveCurve {
    key: Box<dyn AgreementKey>,
}

impl ActiveKeyExchange for ActiveCurve {
    fn share(&self) -> &[u8] {
        self.key.share()
    }

    fn finish(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, CryptoError> {
        Ok(SharedSecret::from_number(&self.key.agree(server_share)?))
    }
}

/// Refuses the all-zero output that a low order share gives (RFC 8731 §3), without a branch on the secret.
pub(super) fn refuse_all_zero(secret: &[u8]) -> Result<(), CryptoError> {
    use subtle::ConstantTimeEq as _;
    let any = secret.iter().fold(0, |any, byte| any | byte);
    if bool::from(any.ct_eq(&0)) { Err(CryptoError::BadShare) } else { Ok(()) }
}
