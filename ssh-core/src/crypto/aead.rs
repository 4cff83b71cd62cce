//! Packets of authenticated ciphers: the length field apart from the text, a 16-byte tag at the end. A backend adds
//! the keys of [`gcm`](super::gcm) and of OpenSSH's ChaCha20-Poly1305.

use std::fmt;
use std::marker::PhantomData;

use super::packet::{LENGTH_LEN, NO_LENGTH, split_tag};
use super::{Cipher, CipherKind, CryptoError, Framing, MacKey, Opener, Sealer};

/// A row: an authenticated cipher that seals with `S` and opens with `O`.
pub(super) struct Aead<S, O> {
    pub(super) name: &'static str,
    /// In bytes.
    pub(super) key_len: usize,
    /// In bytes.
    pub(super) iv_len: usize,
    pub(super) keys: PhantomData<fn() -> (S, O)>,
}

impl<S, O> Aead<S, O> {
    /// The construction of OpenSSH's `PROTOCOL.chacha20poly1305`. Keys are K_2, for the text and the one-time key,
    /// and K_1, for the length.
    pub(super) const CHACHA20_POLY1305: Self =
        Self { name: "chacha20-poly1305@openssh.com", key_len: 64, iv_len: 0, keys: PhantomData };
}

impl<S: SealKey, O: OpenKey> Cipher for Aead<S, O> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> CipherKind {
        CipherKind::Aead
    }

    fn key_len(&self) -> usize {
        self.key_len
    }

    fn iv_len(&self) -> usize {
        self.iv_len
    }

    fn block_len(&self) -> usize {
        S::BLOCK_LEN
    }

    fn sealer(
        &self,
        key: &[u8],
        iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Sealer>, CryptoError> {
        Ok(Box::new(Packets(S::new(key, iv)?)))
    }

    fn opener(
        &self,
        key: &[u8],
        iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(Box::new(Packets(O::new(key, iv)?)))
    }
}

impl<S, O> fmt::Debug for Aead<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One direction's key, and what of its state runs on from packet to packet.
pub(super) trait AeadKey: Sized + Send + Sync + 'static {
    /// What the text is padded to a multiple of, in bytes.
    const BLOCK_LEN: usize;

    /// From a key and an IV as long as the cipher's row says.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if one is not. A cipher without an IV ignores it.
    fn new(key: &[u8], iv: &[u8]) -> Result<Self, CryptoError>;
}

/// The sending direction.
pub(super) trait SealKey: AeadKey {
    /// Encrypts the text of `frame`, which begins with the length field, and the length if the cipher does; makes the
    /// tag.
    fn seal(&mut self, sequence: u32, frame: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), CryptoError>;
}

/// The receiving direction.
pub(super) trait OpenKey: AeadKey {
    /// What the length field says, without authentication.
    fn length(&self, sequence: u32, field: [u8; LENGTH_LEN]) -> u32;

    /// Authenticates `packet`, from the length field to the tag, and decrypts the text between them.
    ///
    /// # Errors
    /// [`CryptoError::Unauthentic`] if the tag is wrong or the packet too short for one.
    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError>;
}

/// Length of a tag in bytes.
pub(super) const TAG_LEN: usize = 16;

struct Packets<K>(K);

fn framing<K: AeadKey>() -> Framing {
    Framing { tag_len: TAG_LEN, block_len: K::BLOCK_LEN, length_is_separate: true }
}

impl<K: SealKey> Sealer for Packets<K> {
    fn framing(&self) -> Framing {
        framing::<K>()
    }

    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN).ok_or(CryptoError::Backend)?;
        self.0.seal(sequence, frame, tag.try_into().map_err(|_| CryptoError::Backend)?)
    }
}

impl<K: OpenKey> Opener for Packets<K> {
    fn framing(&self) -> Framing {
        framing::<K>()
    }

    fn head_len(&self) -> usize {
        LENGTH_LEN
    }

    fn open_length(&mut self, sequence: u32, head: &mut [u8]) -> u32 {
        // The field stays as it is, for the tag is over it.
        head.first_chunk().map_or(NO_LENGTH, |field| self.0.length(sequence, *field))
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        // Not even the state moves for what cannot be a packet.
        if packet.len() < LENGTH_LEN + TAG_LEN {
            return Err(CryptoError::Unauthentic);
        }
        self.0.open(sequence, packet)
    }
}

impl<K> fmt::Debug for Packets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Aead[..]")
    }
}
