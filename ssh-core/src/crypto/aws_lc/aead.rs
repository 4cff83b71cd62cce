//! AES-GCM (RFC 5647 in OpenSSH's form) and OpenSSH's ChaCha20-Poly1305.

use std::fmt;

use aws_lc_rs::aead::chacha20_poly1305_openssh::{KEY_LEN, OpeningKey, SealingKey};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::crypto::gcm_nonce::{GcmNonce, NONCE_LEN};
use crate::crypto::packet::{BLOCK_LEN, LENGTH_LEN, NO_LENGTH, clear_length, split_tag};
use crate::crypto::{Cipher, CipherKind, CryptoError, MacKey, Opener, Sealer};

pub(super) static AES256_GCM: AesGcm = AesGcm { name: "aes256-gcm@openssh.com", key_len: 32 };
pub(super) static AES128_GCM: AesGcm = AesGcm { name: "aes128-gcm@openssh.com", key_len: 16 };
pub(super) static CHACHA20_POLY1305: ChaCha20Poly1305 = ChaCha20Poly1305;

const TAG_LEN: usize = 16;

// ---- AES-GCM -----------------------------------------------------------------------------------------

/// A row: name and key length in bytes.
#[derive(Debug)]
pub(super) struct AesGcm {
    name: &'static str,
    key_len: usize,
}

impl AesGcm {
    fn keyed(&self, key: &[u8], iv: &[u8]) -> Result<Gcm, CryptoError> {
        let algorithm = if self.key_len == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::BadKey)?;
        Ok(Gcm { key: LessSafeKey::new(key), nonce: GcmNonce::new(iv)? })
    }
}

impl Cipher for AesGcm {
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
        NONCE_LEN
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn sealer(
        &self,
        key: &[u8],
        iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Sealer>, CryptoError> {
        Ok(Box::new(self.keyed(key, iv)?))
    }

    fn opener(
        &self,
        key: &[u8],
        iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(Box::new(self.keyed(key, iv)?))
    }
}

struct Gcm {
    key: LessSafeKey,
    nonce: GcmNonce,
}

impl Gcm {
    fn step(&mut self) -> Result<Nonce, CryptoError> {
        Ok(Nonce::assume_unique_for_key(self.nonce.step()?))
    }
}

impl Sealer for Gcm {
    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn length_is_separate(&self) -> bool {
        true
    }

    fn seal(&mut self, _sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN).ok_or(CryptoError::Backend)?;
        let (length, text) = frame.split_first_chunk_mut::<LENGTH_LEN>().ok_or(CryptoError::Backend)?;
        let nonce = self.step()?;
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(*length), text)
            .map_err(|_| CryptoError::Backend)?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }
}

impl Opener for Gcm {
    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn block_len(&self) -> usize {
        BLOCK_LEN
    }

    fn length_is_separate(&self) -> bool {
        true
    }

    fn head_len(&self) -> usize {
        LENGTH_LEN
    }

    fn open_length(&mut self, _sequence: u32, head: &mut [u8]) -> u32 {
        clear_length(head)
    }

    fn open(&mut self, _sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (length, text) = packet
            .split_first_chunk_mut::<LENGTH_LEN>()
            .filter(|(_, text)| text.len() >= TAG_LEN)
            .ok_or(CryptoError::Unauthentic)?;
        let nonce = self.step()?;
        self.key
            .open_in_place(nonce, Aad::from(*length), text)
            .map(drop)
            .map_err(|_| CryptoError::Unauthentic)
    }
}

impl fmt::Debug for Gcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm[..]")
    }
}

// ---- ChaCha20-Poly1305 -------------------------------------------------------------------------------

/// The construction of OpenSSH's `PROTOCOL.chacha20poly1305`.
#[derive(Debug)]
pub(super) struct ChaCha20Poly1305;

impl Cipher for ChaCha20Poly1305 {
    fn name(&self) -> &'static str {
        "chacha20-poly1305@openssh.com"
    }

    fn kind(&self) -> CipherKind {
        CipherKind::Aead
    }

    fn key_len(&self) -> usize {
        KEY_LEN
    }

    fn iv_len(&self) -> usize {
        0
    }

    fn block_len(&self) -> usize {
        8
    }

    fn sealer(
        &self,
        key: &[u8],
        _iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Sealer>, CryptoError> {
        Ok(Box::new(ChaChaSealer(SealingKey::new(key.try_into().map_err(|_| CryptoError::BadKey)?))))
    }

    fn opener(
        &self,
        key: &[u8],
        _iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(Box::new(ChaChaOpener(OpeningKey::new(key.try_into().map_err(|_| CryptoError::BadKey)?))))
    }
}

struct ChaChaSealer(SealingKey);
struct ChaChaOpener(OpeningKey);

impl Sealer for ChaChaSealer {
    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn block_len(&self) -> usize {
        8
    }

    fn length_is_separate(&self) -> bool {
        true
    }

    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN).ok_or(CryptoError::Backend)?;
        let tag = tag.try_into().map_err(|_| CryptoError::Backend)?;
        self.0.seal_in_place(sequence, frame, tag);
        Ok(())
    }
}

impl Opener for ChaChaOpener {
    fn tag_len(&self) -> usize {
        TAG_LEN
    }

    fn block_len(&self) -> usize {
        8
    }

    fn length_is_separate(&self) -> bool {
        true
    }

    fn head_len(&self) -> usize {
        LENGTH_LEN
    }

    fn open_length(&mut self, sequence: u32, head: &mut [u8]) -> u32 {
        // A copy, for the tag is over the encrypted length.
        head.first_chunk::<LENGTH_LEN>()
            .map_or(NO_LENGTH, |length| u32::from_be_bytes(self.0.decrypt_packet_length(sequence, *length)))
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN).ok_or(CryptoError::Unauthentic)?;
        let tag = (&*tag).try_into().map_err(|_| CryptoError::Unauthentic)?;
        self.0.open_in_place(sequence, frame, tag).map(drop).map_err(|_| CryptoError::Unauthentic)
    }
}

impl fmt::Debug for ChaChaSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaChaSealer[..]")
    }
}

impl fmt::Debug for ChaChaOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaChaOpener[..]")
    }
}
