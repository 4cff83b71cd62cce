//! Which stream is the session's, and how its loops come by another.

use std::sync::Arc;

use super::{Shared, State};
use crate::driver::now;
use crate::driver::stream::{ReadLink, WriteLink};
use crate::error::ReconnectFailure;
use crate::protocol::Engine;

/// Why a loop lets go of its stream.
pub(in crate::driver) enum Gone {
    /// The session is over.
    Ended,
    /// The session has lost it, or has another.
    Lost,
    /// It carries another session, whose generation it is.
    Moved(Arc<Shared>, u64),
}

impl Shared {
    /// As [`with`](Self::with), for a loop, whose stream may be none of the session's any more.
    pub(in crate::driver) fn with_stream<R>(
        &self,
        generation: u64,
        call: impl FnOnce(&mut Engine) -> R,
    ) -> Result<R, Gone> {
        let mut state = self.state.lock();
        if let Some(gone) = state.gone(generation) {
            return Err(gone);
        }
        let result = call(&mut state.engine);
        self.settle(state);
        Ok(result)
    }

    /// Why a loop should let go of its stream, if it should.
    pub(in crate::driver) fn gone(&self, generation: u64) -> Option<Gone> {
        self.state.lock().gone(generation)
    }

    /// Whether the session has no stream, or had none when it ended.
    pub(in crate::driver) fn disconnected(&self) -> bool {
        self.state.lock().engine.detached().is_some()
    }

    /// Waits until the stream of this generation is no longer the session's.
    pub(crate) async fn replaced(&self, generation: u64) {
        let mut watch = self.generation.subscribe();
        // The sender is ours, so there is no error.
        let _ = watch.wait_for(|now| *now != generation).await;
    }

    /// Gives the stream of `connection` to this session.
    pub(crate) fn hand_over(self: &Arc<Self>, connection: &Self) -> Result<(), ReconnectFailure> {
        // In this order always: a connection that has not logged in is nobody's target.
        let mut to = self.state.lock();
        let mut from = connection.state.lock();
        let handed = to.engine.hand_over(&mut from.engine, now());
        if handed.is_ok() {
            from.moved = Some((Arc::clone(self), to.engine.generation()));
        }
        connection.settle(from);
        self.settle(to);
        handed
    }

    /// The stream for a session's loops, unless there is a newer one.
    pub(crate) fn deposit_reader(&self, link: ReadLink) {
        let mut state = self.state.lock();
        if state.wants(link.generation) {
            state.next_reader = Some(link);
            self.reader_slot.notify_one();
        }
    }

    /// As [`deposit_reader`](Self::deposit_reader).
    pub(crate) fn deposit_writer(&self, link: WriteLink) {
        let mut state = self.state.lock();
        if state.wants(link.generation) {
            state.next_writer = Some(link);
            self.writer_slot.notify_one();
        }
    }

    pub(in crate::driver) fn take_reader(&self) -> Option<ReadLink> {
        self.state.lock().next_reader.take()
    }

    pub(in crate::driver) fn take_writer(&self) -> Option<WriteLink> {
        self.state.lock().next_writer.take()
    }

    pub(in crate::driver) async fn reader_deposited(&self) {
        self.reader_slot.notified().await;
    }

    pub(in crate::driver) async fn writer_deposited(&self) {
        self.writer_slot.notified().await;
    }
}

impl State {
    /// As [`Shared::gone`].
    pub(super) fn gone(&self, generation: u64) -> Option<Gone> {
        if let Some((target, generation)) = &self.moved {
            return Some(Gone::Moved(Arc::clone(target), *generation));
        }
        if !self.wants(generation) {
            return Some(Gone::Lost);
        }
        self.engine.ended().map(|_| Gone::Ended)
    }

    /// Whether the stream of this generation is the session's. What came right behind a reconnect may have lost it the
    /// new stream at once.
    fn wants(&self, generation: u64) -> bool {
        self.engine.generation() == generation && self.engine.detached().is_none()
    }
}
