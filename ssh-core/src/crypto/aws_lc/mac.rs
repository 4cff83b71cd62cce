//! HMAC with SHA-2 (RFC 6668) and OpenSSH's encrypt-then-MAC forms of it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{Context, HMAC_SHA256, HMAC_SHA512, Key, Tag};

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
        let algorithm = if self.len == 32 { HMAC_SHA256 } else { HMAC_SHA512 };
        Ok(Box::new(Keyed(Key::new(algorithm, key))))
    }
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
        let made = self.over(parts);
        debug_assert_eq!(tag.len(), made.as_ref().len());
        for (to, from) in tag.iter_mut().zip(made.as_ref()) {
            *to = *from;
        }
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
