//! AES in counter mode (RFC 4344 §4) and in CBC mode (RFC 4253 §6.3).

use aes::cipher::array::{Array, typenum::U16};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};

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

    fn stream(&self, key: &[u8], iv: &[u8], encrypts: bool) -> Result<Box<dyn StreamMode>, CryptoError> {
        if key.len() != self.key_len || iv.len() != BLOCK_LEN {
            return Err(CryptoError::BadKey);
        }
        match (self.kind, encrypts, self.key_len) {
            (CipherKind::Ctr, _, 16) => keyed::<ctr::Ctr128BE<Aes128>, _>(key, iv, Ctr),
            (CipherKind::Ctr, _, 24) => keyed::<ctr::Ctr128BE<Aes192>, _>(key, iv, Ctr),
            (CipherKind::Ctr, _, _) => keyed::<ctr::Ctr128BE<Aes256>, _>(key, iv, Ctr),
            (_, true, 16) => keyed::<cbc::Encryptor<Aes128>, _>(key, iv, CbcEncrypt),
            (_, true, 24) => keyed::<cbc::Encryptor<Aes192>, _>(key, iv, CbcEncrypt),
            (_, true, _) => keyed::<cbc::Encryptor<Aes256>, _>(key, iv, CbcEncrypt),
            (_, false, 16) => keyed::<cbc::Decryptor<Aes128>, _>(key, iv, CbcDecrypt),
            (_, false, 24) => keyed::<cbc::Decryptor<Aes192>, _>(key, iv, CbcDecrypt),
            (_, false, _) => keyed::<cbc::Decryptor<Aes256>, _>(key, iv, CbcDecrypt),
        }
    }
}

fn keyed<M: KeyIvInit, S: StreamMode + 'static>(
    key: &[u8],
    iv: &[u8],
    wrap: fn(M) -> S,
) -> Result<Box<dyn StreamMode>, CryptoError> {
    Ok(Box::new(wrap(M::new_from_slices(key, iv).map_err(|_| CryptoError::BadKey)?)))
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

struct Ctr<M>(M);
struct CbcEncrypt<M>(M);
struct CbcDecrypt<M>(M);

impl<M: StreamCipher + Send + Sync> StreamMode for Ctr<M> {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        self.0.try_apply_keystream(data).map_err(|_| CryptoError::Backend)
    }
}

impl<M: BlockModeEncrypt<BlockSize = U16> + Send + Sync> StreamMode for CbcEncrypt<M> {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        self.0.encrypt_blocks(blocks(data)?);
        Ok(())
    }
}

impl<M: BlockModeDecrypt<BlockSize = U16> + Send + Sync> StreamMode for CbcDecrypt<M> {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        self.0.decrypt_blocks(blocks(data)?);
        Ok(())
    }
}

fn blocks(data: &mut [u8]) -> Result<&mut [Array<u8, U16>], CryptoError> {
    match Array::slice_as_chunks_mut(data) {
        (blocks, []) => Ok(blocks),
        _ => Err(CryptoError::Backend),
    }
}
