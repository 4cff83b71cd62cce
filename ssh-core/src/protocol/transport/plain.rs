use crate::crypto::{CryptoError, Framing, Opener, Sealer};

/// The framing before the first NEWKEYS: no encryption, no MAC, blocks of 8 bytes (RFC 4253 §6).
#[derive(Debug)]
pub(crate) struct Plain;

const BLOCK_LEN: usize = 8;

impl Sealer for Plain {
    fn framing(&self) -> Framing {
        Framing { tag_len: 0, block_len: BLOCK_LEN, length_is_separate: false }
    }
    fn seal(&mut self, _sequence: u32, _packet: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}

impl Opener for Plain {
    fn framing(&self) -> Framing {
        // Dev Tunnels' Go peers align the wrong quantity before NEWKEYS, so nothing is demanded here.
        Framing { tag_len: 0, block_len: 1, length_is_separate: false }
    }
    fn head_len(&self) -> usize {
        4
    }
    fn open_length(&mut self, _sequence: u32, head: &mut [u8]) -> u32 {
        head.first_chunk::<4>().map_or(0, |length| u32::from_be_bytes(*length))
    }
    fn open(&mut self, _sequence: u32, _packet: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}
