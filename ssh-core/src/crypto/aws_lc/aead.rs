//! AES-GCM (RFC 5647 in OpenSSH's form) and OpenSSH's ChaCha20-Poly1305.

use aws_lc_rs::aead::chacha20_poly1305_openssh::{OpeningKey, SealingKey};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::crypto::CryptoError;
use crate::crypto::aead::{AeadKey, OpenKey, SealKey, TAG_LEN};
use crate::crypto::gcm::GcmKey;
use crate::crypto::gcm_nonce::NONCE_LEN;
use crate::crypto::packet::LENGTH_LEN;

/// A key of AES-GCM of `LEN` bytes, 16 or 32.
pub(in crate::crypto) struct Gcm<const LEN: usize>(LessSafeKey);

impl<const LEN: usize> GcmKey for Gcm<LEN> {
    const LEN: usize = LEN;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = if LEN == 16 { &AES_128_GCM } else { &AES_256_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| CryptoError::BadKey)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    fn seal_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(aad), text)
            .map_err(|_| CryptoError::Backend)?;
        tag.as_ref().try_into().map_err(|_| CryptoError::Backend)
    }

    fn open_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.0
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text_and_tag)
            .map(drop)
            .map_err(|_| CryptoError::Unauthentic)
    }
}

// ---- ChaCha20-Poly1305 -------------------------------------------------------------------------------

pub(super) struct ChaChaSealer(SealingKey);
pub(super) struct ChaChaOpener(OpeningKey);

impl AeadKey for ChaChaSealer {
    const BLOCK_LEN: usize = 8;

    fn new(key: &[u8], _iv: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(SealingKey::new(key.try_into().map_err(|_| CryptoError::BadKey)?)))
    }
}

impl AeadKey for ChaChaOpener {
    const BLOCK_LEN: usize = 8;

    fn new(key: &[u8], _iv: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(OpeningKey::new(key.try_into().map_err(|_| CryptoError::BadKey)?)))
    }
}

impl SealKey for ChaChaSealer {
    fn seal(&mut self, sequence: u32, frame: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), CryptoError> {
        self.0.seal_in_place(sequence, frame, tag);
        Ok(())
    }
}

impl OpenKey for ChaChaOpener {
    fn length(&self, sequence: u32, field: [u8; LENGTH_LEN]) -> u32 {
        u32::from_be_bytes(self.0.decrypt_packet_length(sequence, field))
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = packet.split_last_chunk_mut().ok_or(CryptoError::Unauthentic)?;
        self.0.open_in_place(sequence, frame, tag).map(drop).map_err(|_| CryptoError::Unauthentic)
    }
}
