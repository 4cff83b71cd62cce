use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

use super::spares::Spares;
use crate::protocol::transport::blocks::Block;

/// Received bytes that the application has not read yet. Large payloads are kept as slices of the block that they
/// were opened in; small ones are copied together, so that a short unread message does not pin a whole block.
#[derive(Default)]
pub(crate) struct ReceiveQueue {
    chunks: VecDeque<Bytes>,
    /// Small payloads that came after the last chunk.
    tail: Block,
    len: usize,
}

/// Payloads up to this many bytes are copied.
const SMALL: usize = 2048;
/// And up to this many while there is unread data.
const SMALL_WHEN_BEHIND: usize = 16 * 1024;
/// An emptied queue keeps room for this many chunks and gives more back.
const KEPT_CHUNKS: usize = 64;

impl ReceiveQueue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes what arrived. Room for it comes from `spares`, so that a steady stream allocates nothing.
    pub(crate) fn push(&mut self, data: Bytes, spares: &mut Spares) {
        // Unread data that keeps on coming is copied up to a larger size: the peer may have put one message for this
        // channel in each block, and each would be kept whole.
        let small = if self.is_empty() { SMALL } else { SMALL_WHEN_BEHIND };
        let before = self.len;
        self.len = self.len.saturating_add(data.len());
        if data.len() > small {
            self.flush_tail(spares);
            self.push_chunk(data, spares);
            return;
        }
        if !self.tail.bytes.try_reclaim(data.len()) {
            self.flush_tail(spares);
            let room = spares.take_room(data.len(), before);
            spares.give_room(std::mem::replace(&mut self.tail, room));
        }
        self.tail.bytes.extend_from_slice(&data);
    }

    fn push_chunk(&mut self, chunk: Bytes, spares: &mut Spares) {
        if self.chunks.len() == self.chunks.capacity()
            && let Some(mut longer) = spares.take_list(self.chunks.len())
        {
            longer.append(&mut self.chunks);
            self.chunks = longer;
        }
        self.chunks.push_back(chunk);
    }

    fn flush_tail(&mut self, spares: &mut Spares) {
        if !self.tail.bytes.is_empty() {
            let chunk = self.tail.bytes.split().freeze();
            self.push_chunk(chunk, spares);
        }
    }

    /// Copies to the front of `out`; how much.
    pub(crate) fn read(&mut self, out: &mut [u8], spares: &mut Spares) -> usize {
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
                let n = copy(&self.tail.bytes, room);
                self.tail.bytes.advance(n);
                n
            };
            if copied == 0 {
                break;
            }
            filled = filled.saturating_add(copied);
        }
        self.len = self.len.saturating_sub(filled);
        self.release_if_empty(spares);
        filled
    }

    /// Takes up to `max_len` bytes in at most `max_chunks` chunks, without copying; how many bytes.
    pub(crate) fn take_chunks(
        &mut self,
        max_len: usize,
        max_chunks: usize,
        out: &mut Vec<Bytes>,
        spares: &mut Spares,
    ) -> usize {
        let mut taken = 0_usize;
        // Taking nothing would look like the end of the data.
        let most_chunks = out.len().saturating_add(max_chunks.max(1));
        let max_len = max_len.max(1);
        while out.len() < most_chunks && taken < max_len {
            if self.chunks.is_empty() {
                self.flush_tail(spares);
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
        self.release_if_empty(spares);
        taken
    }

    /// An idle channel should not keep room that a busy moment needed.
    fn release_if_empty(&mut self, spares: &mut Spares) {
        if self.len > 0 {
            return;
        }
        if self.chunks.capacity() > KEPT_CHUNKS {
            spares.give_list(std::mem::take(&mut self.chunks));
        }
        if self.tail.size() > SMALL {
            spares.give_room(std::mem::take(&mut self.tail));
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
        let (mut queue, mut spares) = (ReceiveQueue::default(), Spares::default());
        let all: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0] ^ i.to_le_bytes()[1]).collect();
        let mut rest = Bytes::from(all.clone());
        for len in [1, 5000, 3, 2048, 2049, 40_000, 7].into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            queue.push(rest.split_to(len.min(rest.len())), &mut spares);
        }
        assert_eq!(queue.len, all.len());
        let mut out = vec![0; 30_001];
        let n = queue.read(&mut out, &mut spares);
        out.truncate(n);
        let mut chunks = Vec::new();
        while queue.take_chunks(9_000, 4, &mut chunks, &mut spares) > 0 {
            out.extend(chunks.drain(..).flatten());
        }
        assert!(queue.is_empty());
        assert_eq!(out, all);
    }
}
