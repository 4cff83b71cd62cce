//! AES-GCM (RFC 5647 in OpenSSH's form) and OpenSSH's ChaCha20-Poly1305.

use aes_gcm::aead::array::typenum::Unsigned;
use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use poly1305::Poly1305;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::crypto::CryptoError;
use crate::crypto::aead::{AeadKey, OpenKey, SealKey, TAG_LEN};
use crate::crypto::gcm::GcmKey;
use crate::crypto::gcm_nonce::NONCE_LEN;
use crate::crypto::packet::{LENGTH_LEN, NO_LENGTH};

pub(in crate::crypto) struct Gcm<A>(A);

impl<A> GcmKey for Gcm<A>
where
    A: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static,
{
    const LEN: usize = <A::KeySize as Unsigned>::USIZE;

    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        A::new_from_slice(key).map(Self).map_err(|_| CryptoError::BadKey)
    }

    fn seal_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], CryptoError> {
        self.0
            .encrypt_inout_detached(&nonce.into(), aad, text.into())
            .map(Into::into)
            .map_err(|_| CryptoError::Backend)
    }

    fn open_in_place(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (text, tag) = text_and_tag.split_last_chunk_mut().ok_or(CryptoError::Unauthentic)?;
        self.0
            .decrypt_inout_detached(&nonce.into(), aad, text.into(), (&*tag).into())
            .map_err(|_| CryptoError::Unauthentic)
    }
}

// ---- ChaCha20-Poly1305 -------------------------------------------------------------------------------

/// The keys of OpenSSH's `PROTOCOL.chacha20poly1305`. Its 64-bit nonce in front of a 64-bit counter is, for any packet
/// that fits a framing, the nonce of RFC 8439 with four zero bytes in front.
pub(super) struct ChaChaKeys {
    /// K_2, for the text and the one-time key.
    main: Zeroizing<[u8; 32]>,
    /// K_1, for the length.
    length: Zeroizing<[u8; 32]>,
}

impl ChaChaKeys {
    fn length_cipher(&self, sequence: u32) -> ChaCha20 {
        ChaCha20::new((&*self.length).into(), (&nonce(sequence)).into())
    }

    /// The cipher at the start of the text, and the one-time key from the block before it.
    fn text_cipher(&self, sequence: u32) -> Result<(ChaCha20, Poly1305), CryptoError> {
        let mut cipher = ChaCha20::new((&*self.main).into(), (&nonce(sequence)).into());
        let mut one_time_key = [0; 32];
        cipher.try_apply_keystream(&mut one_time_key).map_err(|_| CryptoError::Backend)?;
        let poly1305 = Poly1305::new((&one_time_key).into());
        one_time_key.zeroize();
        cipher.try_seek(64_u64).map_err(|_| CryptoError::Backend)?;
        Ok((cipher, poly1305))
    }
}

impl AeadKey for ChaChaKeys {
    const BLOCK_LEN: usize = 8;

    fn new(key: &[u8], _iv: &[u8]) -> Result<Self, CryptoError> {
        let (main, length) = key.split_first_chunk().ok_or(CryptoError::BadKey)?;
        let length = length.try_into().map_err(|_| CryptoError::BadKey)?;
        Ok(Self { main: Zeroizing::new(*main), length: Zeroizing::new(length) })
    }
}

impl SealKey for ChaChaKeys {
    fn seal(&mut self, sequence: u32, frame: &mut [u8], tag: &mut [u8; TAG_LEN]) -> Result<(), CryptoError> {
        let (length, text) = frame.split_at_mut_checked(LENGTH_LEN).ok_or(CryptoError::Backend)?;
        let (mut cipher, poly1305) = self.text_cipher(sequence)?;
        self.length_cipher(sequence).try_apply_keystream(length).map_err(|_| CryptoError::Backend)?;
        cipher.try_apply_keystream(text).map_err(|_| CryptoError::Backend)?;
        *tag = poly1305.compute_unpadded(frame).into();
        Ok(())
    }
}

impl OpenKey for ChaChaKeys {
    fn length(&self, sequence: u32, mut field: [u8; LENGTH_LEN]) -> u32 {
        if self.length_cipher(sequence).try_apply_keystream(&mut field).is_err() {
            return NO_LENGTH;
        }
        u32::from_be_bytes(field)
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(CryptoError::Unauthentic)?;
        let (mut cipher, poly1305) = self.text_cipher(sequence)?;
        if !bool::from(poly1305.compute_unpadded(frame).as_slice().ct_eq(tag)) {
            return Err(CryptoError::Unauthentic);
        }
        let text = frame.get_mut(LENGTH_LEN..).unwrap_or_default();
        cipher.try_apply_keystream(text).map_err(|_| CryptoError::Backend)
    }
}

fn nonce(sequence: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    if let Some(end) = nonce.last_chunk_mut() {
        *end = sequence.to_be_bytes();
    }
    nonce
}
