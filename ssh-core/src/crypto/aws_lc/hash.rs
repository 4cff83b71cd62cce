use aws_lc_rs::digest::{Context, SHA256, SHA384, SHA512};
use zeroize::Zeroizing;

use crate::crypto::{HashAlgorithm, Hashes};

/// SHA-2.
#[derive(Debug)]
pub(super) struct Sha2;

impl Hashes for Sha2 {
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut hash = Context::new(match algorithm {
            HashAlgorithm::Sha256 => &SHA256,
            HashAlgorithm::Sha384 => &SHA384,
            HashAlgorithm::Sha512 => &SHA512,
        });
        for part in parts {
            hash.update(part);
        }
        Zeroizing::new(hash.finish().as_ref().to_vec())
    }
}
