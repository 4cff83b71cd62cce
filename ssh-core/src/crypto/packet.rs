//! Packet protection out of a cipher mode and a MAC, shared by the backends.

use std::fmt;

use super::{CryptoError, Framing, KeyedMac, Opener, Sealer};

/// A cipher mode whose state runs on from packet to packet: CTR (RFC 4344 §4) or CBC (RFC 4253 §6.3), in one
/// direction.
pub trait StreamMode: Send + Sync {
    /// Encrypts or decrypts in place.
    ///
    /// # Errors
    /// [`CryptoError::Backend`] if `data` is not a multiple of [`BLOCK_LEN`] or the key is used up. The state is then
    /// undefined and the connection has to end.
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError>;
}

impl<S: StreamMode + ?Sized> StreamMode for Box<S> {
    fn apply(&mut self, data: &mut [u8]) -> Result<(), CryptoError> {
        (**self).apply(data)
    }
}

/// Block length of AES in bytes, the only block cipher here.
pub const BLOCK_LEN: usize = 16;
/// Length of the `packet_length` field in bytes.
pub(super) const LENGTH_LEN: usize = 4;
/// What [`Opener::open_length`] answers when it cannot: a length that every framing refuses.
pub(super) const NO_LENGTH: u32 = u32::MAX;

/// The length field at the front of `head`.
pub(super) fn clear_length(head: &[u8]) -> u32 {
    head.first_chunk::<LENGTH_LEN>().map_or(NO_LENGTH, |length| u32::from_be_bytes(*length))
}

/// Splits `packet` in what is in front of the tag and the tag, if what is in front is at least `min` bytes.
pub(super) fn split_tag(packet: &mut [u8], tag_len: usize, min: usize) -> Option<(&mut [u8], &mut [u8])> {
    let body_len = packet.len().checked_sub(tag_len).filter(|len| *len >= min)?;
    packet.split_at_mut_checked(body_len)
}

// ---- Encrypt and MAC ---------------------------------------------------------------------------------

/// The packet protection of RFC 4253 §6.4: everything from the length on is encrypted, and the MAC is over the
/// sequence number and the plaintext. The same type seals or opens, by what its `StreamMode` does.
pub struct EncryptAndMac<S> {
    stream: S,
    mac: Box<dyn KeyedMac>,
    framing: Framing,
}

impl<S: StreamMode> EncryptAndMac<S> {
    /// From one direction's cipher and MAC; `tag_len` is the MAC's, in bytes.
    #[must_use]
    pub fn new(stream: S, mac: Box<dyn KeyedMac>, tag_len: usize) -> Self {
        let framing = Framing { tag_len, block_len: BLOCK_LEN, length_is_separate: false };
        Self { stream, mac, framing }
    }

    fn split<'a>(&self, packet: &'a mut [u8]) -> Option<(&'a mut [u8], &'a mut [u8])> {
        split_tag(packet, self.framing.tag_len, BLOCK_LEN)
            .filter(|(body, _)| body.len().is_multiple_of(BLOCK_LEN))
    }
}

impl<S: StreamMode> Sealer for EncryptAndMac<S> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (body, tag) = self.split(packet).ok_or(CryptoError::Backend)?;
        self.mac.sign(&[&sequence.to_be_bytes(), body], tag);
        self.stream.apply(body)
    }
}

impl<S: StreamMode> Opener for EncryptAndMac<S> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn head_len(&self) -> usize {
        BLOCK_LEN
    }

    fn open_length(&mut self, _sequence: u32, head: &mut [u8]) -> u32 {
        if head.len() != BLOCK_LEN || self.stream.apply(head).is_err() {
            return NO_LENGTH;
        }
        clear_length(head)
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (body, tag) = self.split(packet).ok_or(CryptoError::Unauthentic)?;
        // `open_length` has decrypted the first block.
        self.stream.apply(body.get_mut(BLOCK_LEN..).unwrap_or_default())?;
        self.mac.verify(&[&sequence.to_be_bytes(), body], tag)
    }
}

impl<S> fmt::Debug for EncryptAndMac<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptAndMac").field("mac", &self.mac).finish_non_exhaustive()
    }
}

// ---- Encrypt then MAC --------------------------------------------------------------------------------

/// The packet protection of OpenSSH's `-etm@openssh.com` MACs: the length is in clear, and the MAC is over the
/// sequence number, the length and the ciphertext, which is decrypted only after the MAC has verified.
pub struct EncryptThenMac<S> {
    stream: S,
    mac: Box<dyn KeyedMac>,
    framing: Framing,
}

impl<S: StreamMode> EncryptThenMac<S> {
    /// From one direction's cipher and MAC; `tag_len` is the MAC's, in bytes.
    #[must_use]
    pub fn new(stream: S, mac: Box<dyn KeyedMac>, tag_len: usize) -> Self {
        let framing = Framing { tag_len, block_len: BLOCK_LEN, length_is_separate: true };
        Self { stream, mac, framing }
    }

    fn split<'a>(&self, packet: &'a mut [u8]) -> Option<(&'a mut [u8], &'a mut [u8])> {
        split_tag(packet, self.framing.tag_len, LENGTH_LEN + BLOCK_LEN).filter(|(body, _)| {
            body.get(LENGTH_LEN..).is_some_and(|text| text.len().is_multiple_of(BLOCK_LEN))
        })
    }
}

impl<S: StreamMode> Sealer for EncryptThenMac<S> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (body, tag) = self.split(packet).ok_or(CryptoError::Backend)?;
        self.stream.apply(body.get_mut(LENGTH_LEN..).unwrap_or_default())?;
        self.mac.sign(&[&sequence.to_be_bytes(), body], tag);
        Ok(())
    }
}

impl<S: StreamMode> Opener for EncryptThenMac<S> {
    fn framing(&self) -> Framing {
        self.framing
    }

    fn head_len(&self) -> usize {
        LENGTH_LEN
    }

    fn open_length(&mut self, _sequence: u32, head: &mut [u8]) -> u32 {
        clear_length(head)
    }

    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        let (body, tag) = self.split(packet).ok_or(CryptoError::Unauthentic)?;
        self.mac.verify(&[&sequence.to_be_bytes(), body], tag)?;
        self.stream.apply(body.get_mut(LENGTH_LEN..).unwrap_or_default())
    }
}

impl<S> fmt::Debug for EncryptThenMac<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptThenMac").field("mac", &self.mac).finish_non_exhaustive()
    }
}

// ---- For the backends' cipher tables -----------------------------------------------------------------

/// `stream` with the protection that the MAC's form asks for.
#[cfg(feature = "shared-crypto")]
pub(super) fn sealer<S: StreamMode + 'static>(
    stream: S,
    mac: Option<super::MacKey<'_>>,
) -> Result<Box<dyn Sealer>, CryptoError> {
    let mac = mac.ok_or(CryptoError::BadKey)?;
    let (keyed, tag_len) = (mac.mac.with_key(mac.key)?, mac.mac.tag_len());
    Ok(if mac.mac.is_etm() {
        Box::new(EncryptThenMac::new(stream, keyed, tag_len))
    } else {
        Box::new(EncryptAndMac::new(stream, keyed, tag_len))
    })
}

/// As [`sealer`], for the receiving half.
#[cfg(feature = "shared-crypto")]
pub(super) fn opener<S: StreamMode + 'static>(
    stream: S,
    mac: Option<super::MacKey<'_>>,
) -> Result<Box<dyn Opener>, CryptoError> {
    let mac = mac.ok_or(CryptoError::BadKey)?;
    let (keyed, tag_len) = (mac.mac.with_key(mac.key)?, mac.mac.tag_len());
    Ok(if mac.mac.is_etm() {
        Box::new(EncryptThenMac::new(stream, keyed, tag_len))
    } else {
        Box::new(EncryptAndMac::new(stream, keyed, tag_len))
    })
}
