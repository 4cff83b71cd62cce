//! HMAC (RFC 2104).

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key, Tag};

use crate::crypto::hmac::put_tag;
use crate::crypto::{CryptoError, HashAlgorithm, KeyedMac};

pub(super) fn new(hash: HashAlgorithm, key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError> {
    let algorithm = match hash {
        HashAlgorithm::Sha256 => HMAC_SHA256,
        HashAlgorithm::Sha384 => HMAC_SHA384,
        HashAlgorithm::Sha512 => HMAC_SHA512,
    };
    Ok(Box::new(Keyed(Key::new(algorithm, key))))
}

struct Keyed(Key);

impl Keyed {
    fn over(&self, parts: &[&[u8]]) -> Tag {
        let mut mac = Context::with_key(&self.0);
        for part in parts {
            mac.update(part);
        }
        mac.sign()
    }
}

impl KeyedMac for Keyed {
    fn sign(&mut self, parts: &[&[u8]], tag: &mut [u8]) {
        put_tag(tag, self.over(parts).as_ref());
    }

    fn verify(&mut self, parts: &[&[u8]], tag: &[u8]) -> Result<(), CryptoError> {
        verify_slices_are_equal(self.over(parts).as_ref(), tag).map_err(|_| CryptoError::Unauthentic)
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hmac[..]")
    }
}
