//! AES in counter mode (RFC 4344 §4) and in CBC mode (RFC 4253 §6.3).

use aes::cipher::array::{Array, typenum::U16};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};

use crate::crypto::packet::{BLOCK_LEN, StreamMode};
use crate::crypto::stream::Direction;
use crate::crypto::{CipherKind, CryptoError};

pub(super) fn new(
    kind: CipherKind,
    direction: Direction,
    key: &[u8],
    iv: &[u8; BLOCK_LEN],
) -> Result<Box<dyn StreamMode>, CryptoError> {
    use Direction::{Decrypt, Encrypt};
    match (kind, direction, key.len()) {
        (CipherKind::Ctr, _, 16) => keyed::<ctr::Ctr128BE<Aes128>, _>(key, iv, Ctr),
        (CipherKind::Ctr, _, 24) => keyed::<ctr::Ctr128BE<Aes192>, _>(key, iv, Ctr),
        (CipherKind::Ctr, _, _) => keyed::<ctr::Ctr128BE<Aes256>, _>(key, iv, Ctr),
        (_, Encrypt, 16) => keyed::<cbc::Encryptor<Aes128>, _>(key, iv, CbcEncrypt),
        (_, Encrypt, 24) => keyed::<cbc::Encryptor<Aes192>, _>(key, iv, CbcEncrypt),
        (_, Encrypt, _) => keyed::<cbc::Encryptor<Aes256>, _>(key, iv, CbcEncrypt),
        (_, Decrypt, 16) => keyed::<cbc::Decryptor<Aes128>, _>(key, iv, CbcDecrypt),
        (_, Decrypt, 24) => keyed::<cbc::Decryptor<Aes192>, _>(key, iv, CbcDecrypt),
        (_, Decrypt, _) => keyed::<cbc::Decryptor<Aes256>, _>(key, iv, CbcDecrypt),
    }
}

fn keyed<M: KeyIvInit, S: StreamMode + 'static>(
    key: &[u8],
    iv: &[u8],
    wrap: fn(M) -> S,
) -> Result<Box<dyn StreamMode>, CryptoError> {
    Ok(Box::new(wrap(M::new_from_slices(key, iv).map_err(|_| CryptoError::BadKey)?)))
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
