//! AES in counter mode (RFC 4344 §4) and in CBC mode (RFC 4253 §6.3).
//!
//! The library takes an IV with each call, so the running state is kept here: the next counter, or the last block of
//! ciphertext.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};

use crate::crypto::packet::{BLOCK_LEN, StreamMode};
use crate::crypto::stream::Direction;
use crate::crypto::{CipherKind, CryptoError};

pub(super) fn new(
    kind: CipherKind,
    direction: Direction,
    key: &[u8],
    iv: &[u8; BLOCK_LEN],
) -> Result<Box<dyn StreamMode>, CryptoError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    let bad_key = |_| CryptoError::BadKey;
    let key = UnboundCipherKey::new(algorithm, key).map_err(bad_key)?;
    Ok(match (kind, direction) {
        (CipherKind::Ctr, _) => {
            let key = EncryptingKey::ctr(key).map_err(bad_key)?;
            Box::new(Ctr { key, counter: u128::from_be_bytes(*iv) })
        }
        (_, Direction::Encrypt) => {
            Box::new(CbcEncrypt { key: EncryptingKey::cbc(key).map_err(bad_key)?, last: *iv })
        }
        (_, Direction::Decrypt) => {
            Box::new(CbcDecrypt { key: DecryptingKey::cbc(key).map_err(bad_key)?, last: *iv })
        }
    })
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
