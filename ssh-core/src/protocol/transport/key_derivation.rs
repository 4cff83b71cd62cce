use zeroize::Zeroizing;

use crate::crypto::{CryptoProvider, HashAlgorithm, SharedSecret};

/// K and H of one key exchange, from which its keys are derived (RFC 4253 §7.2).
pub(crate) struct KeyMaterial<'a> {
    pub(crate) provider: &'static CryptoProvider,
    pub(crate) hash: HashAlgorithm,
    pub(crate) secret: &'a SharedSecret,
    pub(crate) exchange_hash: &'a [u8],
    pub(crate) session_id: &'a [u8],
}

impl KeyMaterial<'_> {
    /// `len` bytes for the use that `letter` (`A` to `F`) stands for.
    pub(crate) fn derive(&self, letter: u8, len: usize) -> Zeroizing<Vec<u8>> {
        let hashes = self.provider.hashes;
        let (k, h) = (self.secret.encoded(), self.exchange_hash);
        // All room at once, so that no copy is left behind by a growing buffer.
        let mut key = Zeroizing::new(Vec::with_capacity(len.saturating_add(MAX_DIGEST_LEN)));
        key.extend_from_slice(&hashes.digest(self.hash, &[k, h, &[letter], self.session_id]));
        while key.len() < len {
            let more = hashes.digest(self.hash, &[k, h, &key]);
            key.extend_from_slice(&more);
        }
        key.truncate(len);
        key
    }
}

const MAX_DIGEST_LEN: usize = 64;
