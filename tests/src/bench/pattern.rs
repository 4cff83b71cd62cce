//! The bytes that bulk transfers carry: incompressible, the same every time, and checked outside of timed parts.

use std::io::{self, Read, Write};

/// A block of pseudo-random bytes, repeated as often as needed.
pub(crate) struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        while block.len() < BLOCK_BYTES {
            // xorshift64: quality is no matter, only that misplaced blocks show.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        Self { block }
    }

    pub(crate) fn send(&self, stream: &mut impl Write, length: u64) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let step = step(left, self.block.len());
            stream.write_all(&self.block[..step])?;
            left -= step as u64;
        }
        Ok(())
    }

    /// Reads `length` bytes, or fewer if the stream ends, and returns how many came.
    pub(crate) fn receive(stream: &mut impl Read, length: u64) -> io::Result<u64> {
        let mut buffer = vec![0; BLOCK_BYTES];
        let mut left = length;
        while left > 0 {
            let step = step(left, buffer.len());
            let got = stream.read(&mut buffer[..step])?;
            if got == 0 {
                break;
            }
            left -= got as u64;
        }
        Ok(length - left)
    }

    /// As `receive`, and returns how many bytes were the right ones, up to the first block that was not.
    pub(crate) fn receive_checked(&self, stream: &mut impl Read, length: u64) -> io::Result<u64> {
        let mut buffer = vec![0; self.block.len()];
        let (mut left, mut intact, mut sound) = (length, 0, true);
        while left > 0 {
            let step = step(left, buffer.len());
            stream.read_exact(&mut buffer[..step])?;
            left -= step as u64;
            // Reading goes on, so that the sender can finish and ask.
            sound = sound && buffer[..step] == self.block[..step];
            intact += if sound { step as u64 } else { 0 };
        }
        Ok(intact)
    }
}

fn step(left: u64, most: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(most)
}

const BLOCK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let pattern = Pattern::new();
        let length = 3 * BLOCK_BYTES as u64 + 17;
        let mut sent = Vec::new();
        pattern.send(&mut sent, length).unwrap();
        assert_eq!(sent.len() as u64, length);
        assert_eq!(pattern.receive_checked(&mut sent.as_slice(), length).unwrap(), length);
        assert_eq!(Pattern::receive(&mut sent.as_slice(), length + 5).unwrap(), length);
        sent[BLOCK_BYTES + 1] ^= 1;
        assert_eq!(pattern.receive_checked(&mut sent.as_slice(), length).unwrap(), BLOCK_BYTES as u64);
    }
}
