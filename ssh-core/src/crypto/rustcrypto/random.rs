use crate::crypto::{CryptoError, SecureRandom};

/// The operating system's randomness.
#[derive(Debug)]
pub(super) struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        getrandom::fill(out).map_err(|_| CryptoError::Backend)
    }
}
