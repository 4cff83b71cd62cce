//! AES in counter mode (RFC 4344 §4) and in CBC mode (RFC 4253 §6.3).
//!
//! The library takes an IV with each call, so the running state is kept here: the next counter, or the last block of
//! ciphertext.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};

use crate::crypto::packet::{self, BLOCK_LEN, StreamMode};
use crate::crypto::{Cipher, CipherKind, CryptoError, MacKey, Opener, Sealer};

pub(super) static AES256_CTR: AesStream = AesStream::ctr("aes256-ctr", 32);
pub(super) static AES192_CTR: AesStream = AesStream::ctr("aes192-ctr", 24);
pub(super) static AES128_CTR: AesStream = AesStream::ctr("aes128-ctr", 16);
pub(super) static AES256_CBC: AesStream = AesStream::cbc("aes256-cbc", 32);
pub(super) static AES192_CBC: AesStream = AesStream::cbc("aes192-cbc", 24);
pub(super) static AES128_CBC: AesStream = AesStream::cbc("aes128-cbc", 16);

/// A row: name, mode and key length in bytes.
#[derive(Debug)]
pub(super) struct AesStream {
    name: &'static str,
    kind: CipherKind,
    key_len: usize,
}

impl AesStream {
    const fn ctr(name: &'static str, key_len: usize) -> Self {
        Self { name, kind: CipherKind::Ctr, key_len }
    }

    const fn cbc(name: &'static str, key_len: usize) -> Self {
        Self { name, kind: CipherKind::Cbc, key_len }
    }

    fn unbound(&self, key: &[u8]) -> Result<UnboundCipherKey, CryptoError> {
        let algorithm = match self.key_len {
            16 => &AES_128,
            24 => &AES_192,
            _ => &AES_256,
        };
        UnboundCipherKey::new(algorithm, key).map_err(|_| CryptoError::BadKey)
    }

    fn stream(&self, key: &[u8], iv: &[u8], encrypts: bool) -> Result<Box<dyn StreamMode>, CryptoError> {
        let iv: [u8; BLOCK_LEN] = iv.try_into().map_err(|_| CryptoError::BadKey)?;
        let key = self.unbound(key)?;
        Ok(match (self.kind, encrypts) {
            (CipherKind::Ctr, _) => {
                let key = EncryptingKey::ctr(key).map_err(|_| CryptoError::BadKey)?;
                Box::new(Ctr { key, counter: u128::from_be_bytes(iv) })
            }
            (_, true) => {
                let key = EncryptingKey::cbc(key).map_err(|_| CryptoError::BadKey)?;
                Box::new(CbcEncrypt { key, last: iv })
            }
            (_, false) => {
                let key = DecryptingKey::cbc(key).map_err(|_| CryptoError::BadKey)?;
                Box::new(CbcDecrypt { key, last: iv })
            }
        })
    }
}

impl Cipher for AesStream {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> CipherKind {
        self.kind
    }

    fn key_len(&self) -> usize {
        self.key_len
    }

    fn iv_len(&self) -> usize {
        BLOCK_LEN
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn sealer(&self, key: &[u8], iv: &[u8], mac: Option<MacKey<'_>>) -> Result<Box<dyn Sealer>, CryptoError> {
        packet::sealer(self.stream(key, iv, true)?, mac)
    }

    fn opener(&self, key: &[u8], iv: &[u8], mac: Option<MacKey<'_>>) -> Result<Box<dyn Opener>, CryptoError> {
        packet::opener(self.stream(key, iv, false)?, mac)
    }
}

struct Ctr {
    key: EncryptingKey,
    counter: u128,
}

impl StreamMode for Ctr {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        let blocks = block_count(data)?;
        let iv = EncryptionContext::Iv128(self.counter.to_be_bytes().into());
        // RFC 4344 §4: the counter starts anywhere and wraps.
        self.counter = self.counter.wrapping_add(blocks);
        self.key.less_safe_encrypt(data, iv).map(drop).map_err(|_| CryptoError::Backend)
    }
}

struct CbcEncrypt {
    key: EncryptingKey,
    last: [u8; BLOCK_LEN],
}

impl StreamMode for CbcEncrypt {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        block_count(data)?;
        let iv = EncryptionContext::Iv128(self.last.into());
        self.key.less_safe_encrypt(data, iv).map_err(|_| CryptoError::Backend)?;
        self.last = data.last_chunk().copied().unwrap_or(self.last);
        Ok(())
    }
}

struct CbcDecrypt {
    key: DecryptingKey,
    last: [u8; BLOCK_LEN],
}

impl StreamMode for CbcDecrypt {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        block_count(data)?;
        let iv = DecryptionContext::Iv128(self.last.into());
        self.last = data.last_chunk().copied().unwrap_or(self.last);
        self.key.decrypt(data, iv).map(drop).map_err(|_| CryptoError::Backend)
    }
}

fn block_count(data: &[u8]) -> Result<u128, CryptoError> {
    if !data.len().is_multiple_of(BLOCK_LEN) {
        return Err(CryptoError::Backend);
    }
    u128::try_from(data.len() / BLOCK_LEN).map_err(|_| CryptoError::Backend)
}
