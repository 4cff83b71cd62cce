use crate::crypto::{CryptoError, SecureRandom};

/// AWS-LC's generator, which the operating system's randomness reseeds.
#[derive(Debug)]
pub(super) struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        aws_lc_rs::rand::fill(out).map_err(|_| CryptoError::Backend)
    }
}
