//! AES in counter mode (RFC 4344 §4) and in CBC mode (RFC 4253 §6.3), each with a MAC.

use std::fmt;

use super::packet::{self, BLOCK_LEN, StreamMode};
use super::{Cipher, CipherKind, CryptoError, MacKey, Opener, Sealer};

/// A row: name, mode, key length in bytes and the backend's arithmetic.
pub(super) struct AesStream {
    name: &'static str,
    kind: CipherKind,
    key_len: usize,
    new: NewStream,
}

/// Keys a mode, CTR or else CBC, with 16, 24 or 32 bytes.
pub(super) type NewStream =
    fn(CipherKind, Direction, &[u8], &[u8; BLOCK_LEN]) -> Result<Box<dyn StreamMode>, CryptoError>;

/// Which half of a cipher mode is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

impl AesStream {
    pub(super) const fn ctr(name: &'static str, key_len: usize, new: NewStream) -> Self {
        Self { name, kind: CipherKind::Ctr, key_len, new }
    }

    pub(super) const fn cbc(name: &'static str, key_len: usize, new: NewStream) -> Self {
        Self { name, kind: CipherKind::Cbc, key_len, new }
    }

    fn stream(
        &self,
        direction: Direction,
        key: &[u8],
        iv: &[u8],
    ) -> Result<Box<dyn StreamMode>, CryptoError> {
        let iv = iv.try_into().map_err(|_| CryptoError::BadKey)?;
        if key.len() != self.key_len {
            return Err(CryptoError::BadKey);
        }
        (self.new)(self.kind, direction, key, iv)
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
        packet::sealer(self.stream(Direction::Encrypt, key, iv)?, mac)
    }

    fn opener(&self, key: &[u8], iv: &[u8], mac: Option<MacKey<'_>>) -> Result<Box<dyn Opener>, CryptoError> {
        packet::opener(self.stream(Direction::Decrypt, key, iv)?, mac)
    }
}

impl fmt::Debug for AesStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
