use std::collections::VecDeque;

use bytes::{Buf as _, Bytes, BytesMut};

/// Received bytes that the application has not read yet. Large payloads are kept as slices of the block that they
/// were opened in; small ones are copied together, so that a short unread message does not pin a whole block.
#[derive(Default)]
pub(crate) struct ReceiveQueue {
    chunks: VecDeque<Bytes>,
    /// Small payloads that came after the last chunk.
    tail: BytesMut,
    len: usize,
}

/// Payloads up to this many bytes are copied.
const SMALL: usize = 2048;
/// And up to this many while there is unread data.
const SMALL_WHEN_BEHIND: usize = 16 * 1024;
/// A tail of this many bytes becomes a chunk.
const TAIL_LEN: usize = 64 * 1024;

impl ReceiveQueue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn push(&mut self, data: Bytes) {
        // Unread data that keeps on coming is copied up to a larger size: the peer may have put one message for this
        // channel in each block, and each would be kept whole.
        let small = if self.is_empty() { SMALL } else { SMALL_WHEN_BEHIND };
        self.len = self.len.saturating_add(data.len());
        if data.len() <= small {
            // One message gets no more room than it needs, many get it at once.
            let room = self.tail.capacity().saturating_sub(self.tail.len());
            if room < data.len() && !(self.tail.is_empty() && self.chunks.is_empty()) {
                self.tail.reserve(TAIL_LEN.max(data.len()));
            }
            self.tail.extend_from_slice(&data);
            if self.tail.len() >= TAIL_LEN {
                self.flush_tail();
            }
        } else {
            self.flush_tail();
            self.chunks.push_back(data);
        }
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    /// Copies to the front of `out`; how much.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> usize {
        let mut filled = 0_usize;
        while let Some(room) = out.get_mut(filled..).filter(|room| !room.is_empty()) {
            let copied = if let Some(chunk) = self.chunks.front_mut() {
                let n = copy(chunk, room);
                chunk.advance(n);
                if chunk.is_empty() {
                    self.chunks.pop_front();
                }
                n
            } else {
                let n = copy(&self.tail, room);
                self.tail.advance(n);
                n
            };
            if copied == 0 {
                break;
            }
            filled = filled.saturating_add(copied);
        }
        self.len = self.len.saturating_sub(filled);
        self.release_if_empty();
        filled
    }

    /// Takes up to `max_len` bytes in at most `max_chunks` chunks, without copying; how many bytes.
    pub(crate) fn take_chunks(&mut self, max_len: usize, max_chunks: usize, out: &mut Vec<Bytes>) -> usize {
        let mut taken = 0_usize;
        // Taking nothing would look like the end of the data.
        let most_chunks = out.len().saturating_add(max_chunks.max(1));
        let max_len = max_len.max(1);
        while out.len() < most_chunks && taken < max_len {
            if self.chunks.is_empty() {
                self.flush_tail();
            }
            let Some(mut chunk) = self.chunks.pop_front() else { break };
            let left = max_len.saturating_sub(taken);
            if chunk.len() > left {
                self.chunks.push_front(chunk.split_off(left));
            }
            taken = taken.saturating_add(chunk.len());
            out.push(chunk);
        }
        self.len = self.len.saturating_sub(taken);
        self.release_if_empty();
        taken
    }

    /// An idle channel should not keep room that a busy moment needed.
    fn release_if_empty(&mut self) {
        if self.len == 0 && self.chunks.capacity() > 64 {
            self.chunks = VecDeque::new();
        }
        if self.len == 0 && self.tail.capacity() > SMALL {
            self.tail = BytesMut::new();
        }
    }
}

/// Payloads stay out of logs.
impl std::fmt::Debug for ReceiveQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveQueue").field("len", &self.len).finish_non_exhaustive()
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..n), to.get_mut(..n)) {
        to.copy_from_slice(from);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_across_small_and_large_payloads() {
        let mut queue = ReceiveQueue::default();
        let all: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        let mut rest = Bytes::from(all.clone());
        for len in [1, 5000, 3, 2048, 2049, 40_000, 7].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            queue.push(rest.split_to(len.min(rest.len())));
        }
        assert_eq!(queue.len, all.len());
        let mut out = vec![0; 30_001];
        let n = queue.read(&mut out);
        out.truncate(n);
        let mut chunks = Vec::new();
        while queue.take_chunks(9_000, 4, &mut chunks) > 0 {
            out.extend(chunks.drain(..).flatten());
        }
        assert!(queue.is_empty());
        assert_eq!(out, all);
    }
}
