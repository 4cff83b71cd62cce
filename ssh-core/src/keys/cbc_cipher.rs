//! Block ciphers in CBC mode, as old and foreign key files use them.

use aes::cipher::array::Array;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt as _, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use des::TdesEde3;

/// A block cipher that runs in CBC mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CbcCipher {
    Aes128,
    Aes192,
    Aes256,
    /// Read, never written.
    TripleDes,
}

impl CbcCipher {
    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    /// Bytes of a block, and of the IV.
    pub(super) const fn block_len(self) -> usize {
        match self {
            Self::TripleDes => 8,
            _ => 16,
        }
    }

    /// Decrypts `data` where it lies. `None` if a length does not fit.
    pub(super) fn decrypt(self, key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128 => decrypt::<cbc::Decryptor<Aes128>>(key, iv, data),
            Self::Aes192 => decrypt::<cbc::Decryptor<Aes192>>(key, iv, data),
            Self::Aes256 => decrypt::<cbc::Decryptor<Aes256>>(key, iv, data),
            Self::TripleDes => decrypt::<cbc::Decryptor<TdesEde3>>(key, iv, data),
        }
    }
}

/// Encrypts `data` where it lies with AES-256. `None` if a length does not fit.
pub(super) fn encrypt_aes256(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    let mut mode = cbc::Encryptor::<Aes256>::new_from_slices(key, iv).ok()?;
    match Array::slice_as_chunks_mut(data) {
        (blocks, []) => mode.encrypt_blocks(blocks),
        _ => return None,
    }
    Some(())
}

/// Adds the padding of RFC 5652 §6.3: as many bytes as are missing to a whole block, and a block if none is.
pub(super) fn pad(data: &mut Vec<u8>, block: u8) {
    let beyond = data.len().checked_rem(usize::from(block)).unwrap_or(0);
    let beyond = u8::try_from(beyond).unwrap_or(0);
    let count = block.saturating_sub(beyond);
    data.extend(std::iter::repeat_n(count, usize::from(count)));
}

/// Takes the padding off. `None` if it is none.
pub(super) fn unpadded(data: &[u8], block: usize) -> Option<&[u8]> {
    let count = *data.last()?;
    let len = data.len().checked_sub(usize::from(count))?;
    let (content, padding) = data.split_at_checked(len)?;
    let fits = (1..=block).contains(&usize::from(count)) && padding.iter().all(|byte| *byte == count);
    fits.then_some(content)
}

fn decrypt<M: KeyIvInit + BlockModeDecrypt>(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    let mut mode = M::new_from_slices(key, iv).ok()?;
    match Array::slice_as_chunks_mut(data) {
        (blocks, []) => mode.decrypt_blocks(blocks),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_added_and_taken_off() {
        for len in 0..40_usize {
            let content = vec![7; len];
            let mut data = content.clone();
            pad(&mut data, 16);
            assert!(data.len() > len && data.len().is_multiple_of(16));
            assert_eq!(unpadded(&data, 16), Some(&content[..]));
        }
        for bad in [&[][..], &[0], &[1, 0], &[3, 2], &[17; 17], &[5, 5]] {
            assert_eq!(unpadded(bad, 16), None, "{bad:?}");
        }
    }

    /// NIST SP 800-38A F.2.5 (AES-256), first two blocks.
    #[test]
    fn aes_is_as_published() {
        let key: Vec<u8> = hex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
        let iv = hex("000102030405060708090a0b0c0d0e0f");
        let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
        let sealed = hex("f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d");
        let mut data = plain.clone();
        encrypt_aes256(&key, &iv, &mut data).unwrap();
        assert_eq!(data, sealed);
        CbcCipher::Aes256.decrypt(&key, &iv, &mut data).unwrap();
        assert_eq!(data, plain);
        assert!(CbcCipher::Aes256.decrypt(&key, &iv, &mut data[1..]).is_none());
        assert!(CbcCipher::Aes128.decrypt(&key, &iv, &mut data).is_none());
        assert!(CbcCipher::TripleDes.decrypt(&key[..24], &iv, &mut data).is_none());
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }
}
