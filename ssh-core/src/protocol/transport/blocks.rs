use bytes::BytesMut;

/// The blocks that packets are read into and opened in.
///
/// Payloads are slices of a block, and the application may hold on to them, so a block cannot always be used again at
/// once. Those that are still in use wait here until they are free; without that every read would go to fresh memory,
/// whose page faults cost more than the decryption.
///
/// A payload holds its whole block, so a peer could make little unread data hold much memory. When all blocks are in use,
/// payloads are to be copied instead of sliced, and no further block is held.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    current: Block,
    retired: Vec<Block>,
    crowded: bool,
}

/// Memory that others may hold slices of.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) bytes: BytesMut,
    /// What it has room for when nobody else holds on to it; 0 before there is one.
    size: usize,
}

impl Block {
    pub(crate) fn with_capacity(size: usize) -> Self {
        Self { bytes: BytesMut::with_capacity(size), size }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Whether nobody else holds on to it; it then has all its room again.
    pub(crate) fn is_free(&mut self) -> bool {
        self.bytes.is_empty() && self.bytes.try_reclaim(self.size)
    }
}

/// So many blocks are kept; a busy stream needs two or three.
const MAX_RETIRED: usize = 6;

impl Blocks {
    pub(super) fn current(&mut self) -> &mut BytesMut {
        &mut self.current.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.current.bytes.len()
    }

    /// Whether payloads are to be copied, because as many blocks as may be are in use.
    pub(super) fn crowded(&self) -> bool {
        self.crowded
    }

    /// Makes room for `len` more bytes behind what is there, in a used block if possible.
    pub(super) fn reserve(&mut self, len: usize) {
        self.crowded = self.retired.len() >= MAX_RETIRED && !self.retired.iter_mut().any(Block::is_free);
        let bytes = &mut self.current.bytes;
        if bytes.capacity().saturating_sub(bytes.len()) >= len || bytes.try_reclaim(len) {
            return;
        }
        let needed = bytes.len().saturating_add(len);
        let free = self.retired.iter_mut().position(|block| block.size >= needed && block.is_free());
        let mut fresh = match free {
            Some(index) => self.retired.swap_remove(index),
            // With some to spare, so that it also fits behind a longer beginning of a packet.
            None => Block::with_capacity(needed.saturating_add(needed / 8)),
        };
        // At most one packet's beginning.
        fresh.bytes.extend_from_slice(&self.current.bytes);
        self.current.bytes.clear();
        let used = std::mem::replace(&mut self.current, fresh);
        if used.size > 0 {
            // Too small ones make room for those that fit.
            if self.retired.len() >= MAX_RETIRED {
                self.retired.retain_mut(|block| !block.is_free());
            }
            self.retired.push(used);
            self.retired.truncate(MAX_RETIRED);
        }
    }

    /// Gives back what a busy moment needed. Blocks that are in use are still counted.
    pub(super) fn shrink(&mut self) {
        self.retired.retain_mut(|block| !block.is_free());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_use_is_left_alone_and_used_again_later() {
        let mut blocks = Blocks::default();
        blocks.reserve(1000);
        blocks.current().extend_from_slice(&[7; 1000]);
        let held = blocks.current().split_to(900).freeze();
        blocks.reserve(1000);
        assert_eq!(blocks.current()[..], [7; 100]);
        assert_eq!(held[..], [7; 900]);
        assert_eq!(blocks.retired.len(), 1);
        drop(held);
        let held_again = blocks.current().split_to(100).freeze();
        blocks.reserve(1000);
        assert_eq!(blocks.retired.len(), 1, "the retired block is in use again, the other one waits");
        drop(held_again);
    }

    #[test]
    fn little_unread_data_holds_few_blocks() {
        let mut blocks = Blocks::default();
        let mut unread = Vec::new();
        for _ in 0..100 {
            blocks.reserve(10_000);
            blocks.current().extend_from_slice(&[7; 9_000]);
            let payload = blocks.current().split_to(100);
            blocks.current().clear();
            unread.push(if blocks.crowded() { BytesMut::from(&payload[..]) } else { payload });
        }
        assert!(blocks.crowded());
        assert_eq!(blocks.retired.len(), MAX_RETIRED);
        // All that came since lives in memory of its own, so the block at hand is free.
        assert!(blocks.current.is_free());
        drop(unread);
        blocks.reserve(1);
        assert!(!blocks.crowded());
    }
}
