use chacha20::ChaCha20Rng;
use rand_core::SeedableRng as _;
use zeroize::Zeroizing;

use super::{CryptoError, SecureRandom};

/// A generator for libraries that want one which cannot fail: the system's randomness is asked once, here, where
/// its failure can still be reported. It leaves nothing behind in memory.
pub(super) fn seeded(random: &dyn SecureRandom) -> Result<ChaCha20Rng, CryptoError> {
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
