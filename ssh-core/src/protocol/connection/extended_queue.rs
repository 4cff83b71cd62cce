use std::collections::VecDeque;

use bytes::Bytes;

use super::receive_queue::ReceiveQueue;
use super::spares::Spares;

/// Received extended data of all types, in order, for passing it on. What follows data of its own type joins it, so that
/// many short messages take little more than their bytes: 8 more for each change of type.
#[derive(Debug, Default)]
pub(super) struct ExtendedQueue {
    /// Type and bytes of each stretch of one type.
    stretches: VecDeque<(u32, u32)>,
    data: ReceiveQueue,
}

impl ExtendedQueue {
    pub(super) fn push(&mut self, code: u32, data: Bytes, spares: &mut Spares) {
        let Ok(len @ 1..) = u32::try_from(data.len()) else { return };
        match self.stretches.back_mut() {
            Some((last, bytes)) if *last == code && bytes.checked_add(len).is_some() => {
                *bytes = bytes.saturating_add(len);
            }
            _ => self.stretches.push_back((code, len)),
        }
        self.data.push(data, spares);
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// The next bytes of one type, at most `max_len` of them.
    pub(super) fn pop(&mut self, max_len: usize, spares: &mut Spares) -> Option<(u32, Bytes)> {
        let (code, left) = self.stretches.front_mut()?;
        let code = *code;
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(max_len);
        let mut chunks = Vec::with_capacity(1);
        self.data.take_chunks(most, 1, &mut chunks, spares);
        let chunk = chunks.pop().unwrap_or_default();
        *left = left.saturating_sub(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        // Without a chunk the two have parted, which they never do.
        if *left == 0 || chunk.is_empty() {
            self.stretches.pop_front();
        }
        if self.stretches.is_empty() {
            self.stretches = VecDeque::new();
        }
        Some((code, chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_bytes_come_out_as_they_went_in() {
        let (mut queue, mut spares) = (ExtendedQueue::default(), Spares::default());
        for (code, data) in [(1, "a"), (1, "b"), (9, ""), (1, "c"), (9, "d"), (1, "e"), (1, "f")] {
            queue.push(code, Bytes::from_static(data.as_bytes()), &mut spares);
        }
        assert_eq!(queue.stretches.len(), 3);
        let mut said: Vec<(u32, Vec<u8>)> = Vec::new();
        while let Some((code, data)) = queue.pop(2, &mut spares) {
            assert!((1..=2).contains(&data.len()));
            match said.last_mut() {
                Some((last, bytes)) if *last == code => bytes.extend(&data),
                _ => said.push((code, data.to_vec())),
            }
        }
        assert_eq!(said, [(1, b"abc".to_vec()), (9, b"d".to_vec()), (1, b"ef".to_vec())]);
        assert!(queue.data.is_empty() && queue.stretches.capacity() == 0);
    }
}
