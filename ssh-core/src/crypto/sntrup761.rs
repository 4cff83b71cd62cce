//! Streamlined NTRU Prime with p = 761, for backends whose library has none.

use std::fmt;

use sntrup::sntrup761::{self, Ciphertext, DecapsulationKey, EncapsulationKey};
use zeroize::Zeroizing;

use super::hybrid::{Encapsulated, Kem, KemKey};
use super::seeded::seeded;
use super::{CryptoError, SecureRandom};

/// sntrup761 as in `sntrup761x25519-sha512`.
#[derive(Debug)]
pub(super) struct Sntrup761;

impl Kem for Sntrup761 {
    fn public_len(&self) -> usize {
        sntrup761::PUBLIC_KEY_SIZE
    }

    fn ciphertext_len(&self) -> usize {
        sntrup761::CIPHERTEXT_SIZE
    }

    fn generate(&self, random: &dyn SecureRandom) -> Result<Box<dyn KemKey>, CryptoError> {
        let (public, private) = sntrup761::generate_key(&mut seeded(random)?);
        Ok(Box::new(Sntrup761Key { public, private }))
    }

    fn encapsulate(&self, public: &[u8], random: &dyn SecureRandom) -> Result<Encapsulated, CryptoError> {
        let public = EncapsulationKey::try_from(public).map_err(|_| CryptoError::BadShare)?;
        let (ciphertext, secret) = public.encapsulate(&mut seeded(random)?);
        Ok((ciphertext.as_ref().to_vec(), Zeroizing::new(secret.as_ref().to_vec())))
    }
}

struct Sntrup761Key {
    public: EncapsulationKey,
    private: DecapsulationKey,
}

impl KemKey for Sntrup761Key {
    fn public(&self) -> &[u8] {
        self.public.as_ref()
    }

    fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let ciphertext = Ciphertext::try_from(ciphertext).map_err(|_| CryptoError::BadShare)?;
        Ok(Zeroizing::new(self.private.decapsulate(&ciphertext).as_ref().to_vec()))
    }
}

impl fmt::Debug for Sntrup761Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sntrup761Key[..]")
    }
}
