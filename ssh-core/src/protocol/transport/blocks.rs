use bytes::BytesMut;

/// The blocks that packets are read into and opened in.
///
/// Payloads are slices of a block, and the application may hold on to them, so a block cannot always be used again at
/// once. Those that are still in use wait here until they are free; without that every read would go to fresh memory,
/// whose page faults cost more than the decryption.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    current: BytesMut,
    /// Whether `current` has ever been a block; it may have no room left and still be a handle to one.
    has_block: bool,
    retired: Vec<BytesMut>,
}

/// So many blocks are kept; a busy stream needs two or three.
const MAX_RETIRED: usize = 6;

impl Blocks {
    pub(super) fn current(&mut self) -> &mut BytesMut {
        &mut self.current
    }

    pub(super) fn len(&self) -> usize {
        self.current.len()
    }

    /// Makes room for `len` more bytes behind what is there, in a used block if possible.
    pub(super) fn reserve(&mut self, len: usize) {
        if self.current.capacity().saturating_sub(self.current.len()) >= len || self.current.try_reclaim(len)
        {
            return;
        }
        let needed = self.current.len().saturating_add(len);
        let free = self.retired.iter_mut().position(|block| block.try_reclaim(needed));
        let mut fresh = match free {
            Some(index) => self.retired.swap_remove(index),
            None => BytesMut::with_capacity(needed),
        };
        // At most one packet's beginning.
        fresh.extend_from_slice(&self.current);
        self.current.clear();
        let used = std::mem::replace(&mut self.current, fresh);
        if std::mem::replace(&mut self.has_block, true) && self.retired.len() < MAX_RETIRED {
            self.retired.push(used);
        }
    }

    /// Gives back what a busy moment needed.
    pub(super) fn shrink(&mut self) {
        self.retired = Vec::new();
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
}
