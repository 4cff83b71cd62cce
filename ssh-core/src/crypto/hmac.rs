//! HMAC with SHA-2 (RFC 6668) and OpenSSH's encrypt-then-MAC forms of it.

use std::fmt;

use super::{CryptoError, HashAlgorithm, KeyedMac, Mac};

/// A row: key and tag have the hash's length.
pub(super) struct HmacSha2 {
    name: &'static str,
    hash: HashAlgorithm,
    etm: bool,
    new: NewHmac,
}

/// Keys the MAC with as many bytes as the hash has.
pub(super) type NewHmac = fn(HashAlgorithm, &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError>;

impl HmacSha2 {
    /// Over the plaintext.
    pub(super) const fn plain(name: &'static str, hash: HashAlgorithm, new: NewHmac) -> Self {
        Self { name, hash, etm: false, new }
    }

    /// Over the ciphertext.
    pub(super) const fn etm(name: &'static str, hash: HashAlgorithm, new: NewHmac) -> Self {
        Self { name, hash, etm: true, new }
    }
}

impl Mac for HmacSha2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn key_len(&self) -> usize {
        self.hash.output_len()
    }

    fn tag_len(&self) -> usize {
        self.hash.output_len()
    }

    fn is_etm(&self) -> bool {
        self.etm
    }

    fn with_key(&self, key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError> {
        if key.len() != self.hash.output_len() {
            return Err(CryptoError::BadKey);
        }
        (self.new)(self.hash, key)
    }
}

impl fmt::Debug for HmacSha2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Writes a whole MAC to `tag`, whose length is the MAC's.
pub(super) fn put_tag(tag: &mut [u8], made: &[u8]) {
    debug_assert_eq!(tag.len(), made.len());
    for (to, from) in tag.iter_mut().zip(made) {
        *to = *from;
    }
}
