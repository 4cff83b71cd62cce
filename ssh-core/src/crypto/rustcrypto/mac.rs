//! HMAC with SHA-2 (RFC 6668) and OpenSSH's encrypt-then-MAC forms of it.

use std::fmt;

use hmac::{Hmac, KeyInit as _};
use sha2::{Sha256, Sha512};

use crate::crypto::{CryptoError, KeyedMac, Mac};

pub(super) const ALL: &[&dyn Mac] = &[
    &HmacSha2 { name: "hmac-sha2-512-etm@openssh.com", len: 64, etm: true },
    &HmacSha2 { name: "hmac-sha2-256-etm@openssh.com", len: 32, etm: true },
    &HmacSha2 { name: "hmac-sha2-512", len: 64, etm: false },
    &HmacSha2 { name: "hmac-sha2-256", len: 32, etm: false },
];

/// A row: key and tag have the hash's length.
#[derive(Debug)]
struct HmacSha2 {
    name: &'static str,
    len: usize,
    etm: bool,
}

impl Mac for HmacSha2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn key_len(&self) -> usize {
        self.len
    }

    fn tag_len(&self) -> usize {
        self.len
    }

    fn is_etm(&self) -> bool {
        self.etm
    }

    fn with_key(&self, key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError> {
        if key.len() != self.len {
            return Err(CryptoError::BadKey);
        }
        Ok(match self.len {
            32 => Box::new(Keyed(Hmac::<Sha256>::new_from_slice(key).map_err(|_| CryptoError::BadKey)?)),
            _ => Box::new(Keyed(Hmac::<Sha512>::new_from_slice(key).map_err(|_| CryptoError::BadKey)?)),
        })
    }
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
        let bytes = self.over(parts).finalize().into_bytes();
        debug_assert_eq!(tag.len(), bytes.len());
        for (to, from) in tag.iter_mut().zip(&bytes) {
            *to = *from;
        }
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
