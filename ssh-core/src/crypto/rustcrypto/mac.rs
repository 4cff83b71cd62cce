//! HMAC (RFC 2104).

use std::fmt;

use hmac::{Hmac, KeyInit};
use sha2::{Sha256, Sha384, Sha512};

use crate::crypto::hmac::put_tag;
use crate::crypto::{CryptoError, HashAlgorithm, KeyedMac};

pub(super) fn new(hash: HashAlgorithm, key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError> {
    match hash {
        HashAlgorithm::Sha256 => keyed::<Hmac<Sha256>>(key),
        HashAlgorithm::Sha384 => keyed::<Hmac<Sha384>>(key),
        HashAlgorithm::Sha512 => keyed::<Hmac<Sha512>>(key),
    }
}

fn keyed<M>(key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError>
where
    M: hmac::Mac + KeyInit + Clone + Send + Sync + 'static,
{
    Ok(Box::new(Keyed(<M as KeyInit>::new_from_slice(key).map_err(|_| CryptoError::BadKey)?)))
}

/// The state after the key; each MAC starts from a copy of it.
struct Keyed<M>(M);

impl<M: hmac::Mac + Clone> Keyed<M> {
    fn over(&self, parts: &[&[u8]]) -> M {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

impl<M: hmac::Mac + Clone + Send + Sync> KeyedMac for Keyed<M> {
    fn sign(&mut self, parts: &[&[u8]], tag: &mut [u8]) {
        put_tag(tag, &self.over(parts).finalize().into_bytes());
    }

    fn verify(&mut self, parts: &[&[u8]], tag: &[u8]) -> Result<(), CryptoError> {
        self.over(parts).verify_slice(tag).map_err(|_| CryptoError::Unauthentic)
    }
}

impl<M> fmt::Debug for Keyed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hmac[..]")
    }
}
