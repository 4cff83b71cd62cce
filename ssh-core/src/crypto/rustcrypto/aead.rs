//! AES-GCM (RFC 5647 in OpenSSH's form) and OpenSSH's ChaCha20-Poly1305.

use std::fmt;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use poly1305::Poly1305;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

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
        Ok(match self.key_len {
            16 => Box::new(Gcm::<Aes128Gcm>::new(key, iv)?),
            _ => Box::new(Gcm::<Aes256Gcm>::new(key, iv)?),
        })
    }

    fn opener(
        &self,
        key: &[u8],
        iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(match self.key_len {
            16 => Box::new(Gcm::<Aes128Gcm>::new(key, iv)?),
            _ => Box::new(Gcm::<Aes256Gcm>::new(key, iv)?),
        })
    }
}

struct Gcm<A> {
    aead: A,
    nonce: GcmNonce,
}

impl<A: KeyInit> Gcm<A> {
    fn new(key: &[u8], iv: &[u8]) -> Result<Self, CryptoError> {
        let aead = A::new_from_slice(key).map_err(|_| CryptoError::BadKey)?;
        Ok(Self { aead, nonce: GcmNonce::new(iv)? })
    }
}

impl<A: AeadInOut + Send + Sync> Sealer for Gcm<A> {
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
        let (length, text, tag) = split_frame(packet).ok_or(CryptoError::Backend)?;
        let nonce = self.nonce.step()?;
        let nonce = nonce.as_slice().try_into().map_err(|_| CryptoError::Backend)?;
        let made =
            self.aead.encrypt_inout_detached(nonce, length, text.into()).map_err(|_| CryptoError::Backend)?;
        tag.copy_from_slice(&made);
        Ok(())
    }
}

impl<A: AeadInOut + Send + Sync> Opener for Gcm<A> {
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
        let (length, text, tag) = split_frame(packet).ok_or(CryptoError::Unauthentic)?;
        let nonce = self.nonce.step()?;
        let nonce = nonce.as_slice().try_into().map_err(|_| CryptoError::Backend)?;
        let tag = (&*tag).try_into().map_err(|_| CryptoError::Unauthentic)?;
        self.aead
            .decrypt_inout_detached(nonce, length, text.into(), tag)
            .map_err(|_| CryptoError::Unauthentic)
    }
}

impl<A> fmt::Debug for Gcm<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcm[..]")
    }
}

/// Length field, text and tag.
fn split_frame(packet: &mut [u8]) -> Option<(&mut [u8], &mut [u8], &mut [u8])> {
    let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN)?;
    let (length, text) = frame.split_at_mut_checked(LENGTH_LEN)?;
    Some((length, text, tag))
}

// ---- ChaCha20-Poly1305 -------------------------------------------------------------------------------

/// The construction of OpenSSH's `PROTOCOL.chacha20poly1305`. Its 64-bit nonce in front of a 64-bit counter is, for
/// any packet that fits a framing, the nonce of RFC 8439 with four zero bytes in front.
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
        64
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
        Ok(Box::new(ChaChaKeys::new(key)?))
    }

    fn opener(
        &self,
        key: &[u8],
        _iv: &[u8],
        _mac: Option<MacKey<'_>>,
    ) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(Box::new(ChaChaKeys::new(key)?))
    }
}

struct ChaChaKeys {
    /// K_2, for the text and the one-time key.
    main: Zeroizing<[u8; 32]>,
    /// K_1, for the length.
    length: Zeroizing<[u8; 32]>,
}

impl ChaChaKeys {
    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let (main, length) = key.split_first_chunk().ok_or(CryptoError::BadKey)?;
        let length = length.try_into().map_err(|_| CryptoError::BadKey)?;
        Ok(Self { main: Zeroizing::new(*main), length: Zeroizing::new(length) })
    }

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

impl Sealer for ChaChaKeys {
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
        let (length, text) = frame.split_at_mut_checked(LENGTH_LEN).ok_or(CryptoError::Backend)?;
        let (mut cipher, poly1305) = self.text_cipher(sequence)?;
        self.length_cipher(sequence).try_apply_keystream(length).map_err(|_| CryptoError::Backend)?;
        cipher.try_apply_keystream(text).map_err(|_| CryptoError::Backend)?;
        tag.copy_from_slice(&poly1305.compute_unpadded(frame));
        Ok(())
    }
}

impl Opener for ChaChaKeys {
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
        let Some(mut length) = head.first_chunk::<LENGTH_LEN>().copied() else { return NO_LENGTH };
        if self.length_cipher(sequence).try_apply_keystream(&mut length).is_err() {
            return NO_LENGTH;
        }
        u32::from_be_bytes(length)
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (frame, tag) = split_tag(packet, TAG_LEN, LENGTH_LEN).ok_or(CryptoError::Unauthentic)?;
        let (mut cipher, poly1305) = self.text_cipher(sequence)?;
        if !bool::from(poly1305.compute_unpadded(frame).as_slice().ct_eq(tag)) {
            return Err(CryptoError::Unauthentic);
        }
        let text = frame.get_mut(LENGTH_LEN..).unwrap_or_default();
        cipher.try_apply_keystream(text).map_err(|_| CryptoError::Backend)
    }
}

impl fmt::Debug for ChaChaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaChaKeys[..]")
    }
}

fn nonce(sequence: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    if let Some(end) = nonce.last_chunk_mut() {
        *end = sequence.to_be_bytes();
    }
    nonce
}
