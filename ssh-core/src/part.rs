//! What the application holds of a channel or a session, and who waits by it.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use crate::channel::to_io;
use crate::driver::Shared;
use crate::error::{ApiMisuse, Error};
use crate::protocol::{Engine, Waiter};

/// Closes the channel when the last part of it is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u32,
    pub(crate) kind: Box<str>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.release_channel(self.id));
    }
}

/// One of those who use a channel: the channel itself, a half of it, or a future. Of several that wait for the same thing
/// each has a place, which it gives back when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    handle: Arc<Handle>,
    number: u64,
    /// It has a place to give back.
    has_waited: bool,
}

impl Part {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle, number: waiter_number(), has_waited: false }
    }

    /// Another part of the same channel.
    pub(crate) fn another(&self) -> Self {
        Self::new(Arc::clone(&self.handle))
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Asks the engine for something of the channel that may have to be waited for.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &Context<'_>,
        call: impl FnOnce(&mut Engine, u32, Waiter<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let waiter = Waiter::numbered(cx, self.number);
        let Handle { shared, id, .. } = &*self.handle;
        let polled = shared.with(|engine| call(engine, *id, waiter));
        self.has_waited |= polled.is_pending();
        polled
    }

    pub(crate) fn poll_read(&mut self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_into(cx, buffer, |engine, id, waiter, room| engine.poll_read(id, waiter, room))
    }

    pub(crate) fn poll_read_stderr(
        &mut self,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_into(cx, buffer, |engine, id, waiter, room| engine.poll_read_stderr(id, waiter, room))
    }

    fn poll_into(
        &mut self,
        cx: &Context<'_>,
        buffer: &mut ReadBuf<'_>,
        read: impl FnOnce(&mut Engine, u32, Waiter<'_>, &mut [u8]) -> Poll<Result<usize, Error>>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buffer.initialize_unfilled();
        let read = std::task::ready!(self.poll(cx, |engine, id, waiter| read(engine, id, waiter, room)));
        buffer.advance(read.map_err(to_io)?);
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_write(&mut self, cx: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll(cx, |engine, id, waiter| engine.poll_write(id, waiter, slices)).map_err(to_io)
    }

    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, |engine, id, waiter| engine.poll_channel_closed(id, waiter))
    }

    pub(crate) fn close(&self) {
        // An error means that the session is over, which everybody sees.
        let _ = self.shared.with(|engine| engine.close_channel(self.id));
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        match self.shared.with(|engine| engine.send_eof(self.id)) {
            // The peer closed first: there is nobody left to tell.
            Err(Error::ApiMisuse(ApiMisuse::ChannelClosed)) | Ok(()) => Ok(()),
            Err(error) => Err(to_io(error)),
        }
    }
}

impl std::ops::Deref for Part {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.has_waited {
            self.shared.with(|engine| engine.stop_waiting(Some(self.id), self.number));
        }
    }
}

/// One of those who wait for something of the session itself.
#[derive(Debug)]
pub(crate) struct SessionPart {
    shared: Arc<Shared>,
    number: u64,
}

impl SessionPart {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), number: waiter_number() }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Asks the engine for something that may have to be waited for.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        call: impl FnOnce(&mut Engine, Waiter<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.with(|engine| call(engine, Waiter::numbered(cx, self.number)))
    }
}

impl Drop for SessionPart {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.stop_waiting(None, self.number));
    }
}

/// A number for one more who may wait, never 0.
fn waiter_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
