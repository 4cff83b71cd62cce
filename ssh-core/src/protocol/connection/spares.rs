use std::collections::VecDeque;

use bytes::Bytes;

use crate::protocol::transport::blocks::Block;

/// Room that a channel's receive queue has needed and needs no more, kept for whichever needs some next: without it
/// every burst of data would allocate anew. An idle session gives it back.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    rooms: Vec<Block>,
    list: VecDeque<Bytes>,
}

/// The first room that many small payloads share, in bytes. A little unread data never holds more than this.
const FIRST_ROOM: usize = 64 * 1024;
/// Each following one is as large as what is already unread, up to this, in bytes.
const LARGEST_ROOM: usize = 256 * 1024;
/// All kept rooms together, in bytes: enough for what the largest read of the driver brings at once.
const KEPT_ROOMS: usize = 1536 * 1024;
/// The list of chunks that is kept has place for at most this many; a read of the driver brings fewer.
const KEPT_CHUNKS: usize = 1024;

impl Spares {
    /// Room for `len` bytes behind `unread` others.
    pub(super) fn take_room(&mut self, len: usize, unread: usize) -> Block {
        let limit = unread.clamp(FIRST_ROOM, LARGEST_ROOM).next_power_of_two();
        let fits = |room: &Block| (len..=limit.max(len)).contains(&room.size());
        let free = self.rooms.iter_mut().position(|room| fits(room) && room.is_free());
        match free {
            Some(index) => self.rooms.swap_remove(index),
            // One message gets no more than it needs, more of them get the room of many at once.
            None => Block::with_capacity(if unread == 0 { len } else { limit.max(len) }),
        }
    }

    /// The room may still be in use; it is then given out again once it is not.
    pub(super) fn give_room(&mut self, room: Block) {
        let kept: usize = self.rooms.iter().map(Block::size).sum();
        if room.size() >= FIRST_ROOM && kept.saturating_add(room.size()) <= KEPT_ROOMS {
            self.rooms.push(room);
        }
    }

    /// An empty list with place for more than `len` chunks, if there is one.
    pub(super) fn take_list(&mut self, len: usize) -> Option<VecDeque<Bytes>> {
        (self.list.capacity() > len).then(|| std::mem::take(&mut self.list))
    }

    pub(super) fn give_list(&mut self, list: VecDeque<Bytes>) {
        if list.is_empty() && list.capacity() > self.list.capacity() && list.capacity() <= KEPT_CHUNKS {
            self.list = list;
        }
    }

    /// Gives everything back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_given_out_again_once_nobody_uses_it() {
        let mut spares = Spares::default();
        let mut room = spares.take_room(1000, 1);
        assert_eq!(room.size(), FIRST_ROOM);
        room.bytes.extend_from_slice(&[1; 1000]);
        let chunk = room.bytes.split().freeze();
        spares.give_room(room);
        assert_eq!(spares.take_room(1000, 0).size(), 1000, "the room is in use");
        drop(chunk);
        assert_eq!(spares.take_room(1000, 0).size(), FIRST_ROOM);
        assert!(spares.rooms.is_empty());
    }

    #[test]
    fn a_first_message_gets_no_large_room_and_what_is_kept_has_a_limit() {
        let mut spares = Spares::default();
        for _ in 0..100 {
            spares.give_room(Block::with_capacity(LARGEST_ROOM));
        }
        assert_eq!(spares.rooms.len(), KEPT_ROOMS / LARGEST_ROOM);
        assert_eq!(spares.take_room(10, 0).size(), 10);
        assert_eq!(spares.take_room(10, LARGEST_ROOM * 8).size(), LARGEST_ROOM);
        spares.clear();
        assert!(spares.rooms.is_empty());
    }
}
