use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::crypto::{HashAlgorithm, Hashes};

/// SHA-2.
#[derive(Debug)]
pub(super) struct Sha2;

impl Hashes for Sha2 {
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match algorithm {
            HashAlgorithm::Sha256 => digest::<Sha256>(parts),
            HashAlgorithm::Sha384 => digest::<Sha384>(parts),
            HashAlgorithm::Sha512 => digest::<Sha512>(parts),
        }
    }
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().to_vec())
}
