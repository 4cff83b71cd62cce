use crate::crypto::{CryptoError, Opener, Sealer};

/// The framing before the first NEWKEYS: no encryption, no MAC, blocks of 8 bytes (RFC 4253 §6).
#[derive(Debug)]
pub(crate) struct Plain;

const BLOCK_LEN: usize = 8;

impl Sealer for Plain {
    fn tag_len(&self) -> usize {
        0
    }
    fn block_len(&self) -> usize {
        BLOCK_LEN
    }
    fn length_is_separate(&self) -> bool {
        false
    }
    fn seal(&mut self, _sequence: u32, _packet: &mut [u8]) -> Result<(), CryptoError> {
        Ok(())
    }
}

impl Opener for Plain {
    fn tag_len(&self) -> usize {
        0
    }
    // Dev Tunnels' Go peers align the wrong quantity before NEWKEYS, so nothing is demanded here.
    fn block_len(&self) -> usize {
        1
    }
    fn length_is_separate(&self) -> bool {
        false
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
