//! Randomness that can be repeated.

use std::sync::Mutex;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use ssh_core::crypto::{CryptoError, CryptoProvider, SecureRandom};

/// A generator that gives the same numbers for the same seed.
#[derive(Debug)]
pub struct Dice(ChaCha20Rng);

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// A number under `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::try_from(self.0.next_u32()).unwrap_or(0);
        number.checked_rem(bound).unwrap_or(0)
    }

    /// A number from `from` to `to`, both included.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// A copy of `provider` that takes its randomness from `seed`. It is leaked, as providers are `'static`.
#[must_use]
pub fn seeded_provider(provider: &CryptoProvider, seed: u64) -> &'static CryptoProvider {
    let random = Box::leak(Box::new(SeededRandom(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))));
    Box::leak(Box::new(CryptoProvider { random, ..*provider }))
}

#[derive(Debug)]
struct SeededRandom(Mutex<ChaCha20Rng>);

impl SecureRandom for SeededRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        self.0.lock().map_err(|_| CryptoError::Backend)?.fill_bytes(out);
        Ok(())
    }
}
