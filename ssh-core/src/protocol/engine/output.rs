//! What goes out: bytes, keys, events and wakers.

use std::task::Waker;
use std::time::Instant;

use super::{Auth, Engine, Event};
use crate::progress::Progress;
use crate::protocol::transport::inbound::NextOpener;
use crate::protocol::transport::outbound::HIGH_BATCH;

/// Taking this much output, in bytes, is a sign that the stream moves; a keepalive alone is not.
const REAL_BATCH: usize = 16 * 1024;

/// Past this much output that the peer does not take, in bytes, the driver should stop reading from it.
/// Data alone never gets there, or two peers that both send much would each wait for the other to read.
const MAX_OUTPUT: usize = HIGH_BATCH + 64 * 1024 + 1024 * 1024;

/// The same before the login, when there is no data. Whatever is asked for so early has short answers.
const MAX_EARLY_OUTPUT: usize = 64 * 1024;

/// What the driver takes.
impl Engine {
    /// Exchanges `taken` for everything that is to be sent. Its old content is dropped, its capacity is used.
    pub fn take_output(&mut self, taken: &mut Vec<u8>, now: Instant) {
        self.transport.out.acks.now = Some(now);
        if self.ended.is_none()
            && let Err(error) = self.maybe_rekey(now).and_then(|()| self.ask_how_far())
        {
            self.end(error);
        }
        if self.transport.out.pending() >= REAL_BATCH {
            // The driver comes back for more because the stream took what it had: slow, but alive. A dead one stops
            // taking when its buffers are full.
            self.keepalive.on_stream_moving(now);
        }
        self.transport.out.swap(taken, now);
        if self.ended.is_none()
            && let Err(error) = self.transport.out.pump()
        {
            self.end(error);
        }
        self.connection.on_room(&self.transport.out);
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.transport.out.pending() > 0
    }

    /// The peer does not read what it makes us say: read nothing from it until the output has been taken.
    #[must_use]
    pub fn wants_input_paused(&self) -> bool {
        let most = if matches!(self.auth, Auth::Done(_)) { MAX_OUTPUT } else { MAX_EARLY_OUTPUT };
        self.transport.out.pending() > most || self.waiting.as_ref().is_some_and(|waiting| waiting.is_full())
    }

    /// The key for what follows NEWKEYS, for [`Inbound::install`](crate::protocol::Inbound::install).
    pub fn take_opener(&mut self) -> Option<NextOpener> {
        self.next_opener.take()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next stage of the set-up that this connection has passed.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.stages.next()
    }

    /// Whether [`poll_progress`](Self::poll_progress) has something.
    #[must_use]
    pub fn has_progress(&self) -> bool {
        self.stages.has_untold()
    }

    /// Moves tasks to wake into `batch`, to be woken once the engine is not borrowed any more. Whether there are more.
    pub fn take_wakes(&mut self, batch: &mut [Option<Waker>]) -> bool {
        for slot in batch {
            *slot = self.connection.wakes.pop();
        }
        !self.connection.wakes.is_empty()
    }

    /// Gives memory back that a busy moment needed.
    pub fn shrink(&mut self) {
        self.connection.shrink();
    }
}
