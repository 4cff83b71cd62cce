use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::Error;
use crate::protocol::{ConnectionEvent, Engine, Event};

/// What the tasks of a session share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The read loop has something to look at: an earlier deadline, or the end.
    reader: Notify,
    /// The output was taken: a paused read loop may go on.
    drained: Notify,
    /// The session is over.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    engine: Engine,
    /// Wakes the write loop when there is output.
    writer: Option<Waker>,
    /// When the read loop will look at the clock by itself.
    armed: Option<Instant>,
    login: Queue<Event>,
    end_seen: bool,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<T>,
    waker: Option<Waker>,
}

impl<T> Queue<T> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<T> {
        match self.items.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), waker: None }
    }
}

/// Wakers that leave the lock at a time: on the stack, so that waking allocates nothing.
const WAKE_BATCH: usize = 8;

impl Shared {
    pub(super) fn new(engine: Engine) -> Self {
        let state = State { engine, writer: None, armed: None, login: Queue::default(), end_seen: false };
        Self { state: Mutex::new(state), reader: Notify::new(), drained: Notify::new(), ended: Notify::new() }
    }

    /// Calls into the engine, then wakes whoever has to know, without the lock.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.state.lock();
        let result = call(&mut state.engine);
        self.settle(state);
        result
    }

    fn settle(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut early = state.route_events();
        let writer = if state.engine.has_output() { state.writer.take() } else { None };
        let mut look = false;
        if state.engine.ended().is_some() && !std::mem::replace(&mut state.end_seen, true) {
            look = true;
            self.ended.notify_waiters();
            early.extend(state.writer.take());
            early.extend(state.login.waker.take());
        }
        if state.engine.poll_timeout().is_some_and(|at| state.armed.is_none_or(|armed| at < armed)) {
            look = true;
        }
        loop {
            let mut batch: [Option<Waker>; WAKE_BATCH] = Default::default();
            let more = state.engine.take_wakes(&mut batch);
            // The last batch leaves the lock for good; most often it is the only one.
            if !more {
                drop(state);
                batch.into_iter().flatten().for_each(Waker::wake);
                break;
            }
            parking_lot::MutexGuard::unlocked(&mut state, || {
                batch.into_iter().flatten().for_each(Waker::wake)
            });
        }
        early.into_iter().for_each(Waker::wake);
        if let Some(writer) = writer {
            writer.wake();
        }
        if look {
            self.reader.notify_one();
        }
    }

    /// Exchanges `buffer` for what is to be sent. `Ready(false)` when the session is over and all has been taken.
    pub(super) fn poll_output(&self, buffer: &mut Vec<u8>, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.state.lock();
        if state.engine.has_output() {
            state.engine.take_output(buffer, super::now());
            self.settle(state);
            self.drained.notify_one();
            return Poll::Ready(true);
        }
        if state.engine.ended().is_some() {
            return Poll::Ready(false);
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes until when the read loop sleeps, and says how long that may be.
    pub(super) fn arm(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.armed = state.engine.poll_timeout();
        state.armed
    }

    pub(super) async fn reader_notified(&self) {
        self.reader.notified().await;
    }

    pub(super) async fn output_drained(&self) {
        self.drained.notified().await;
    }

    /// The next event of the login.
    pub(crate) async fn login_event(&self) -> Result<Event, Error> {
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            match state.login.poll(cx) {
                Poll::Ready(event) => Poll::Ready(Ok(event)),
                Poll::Pending => {
                    state.engine.ended().map_or(Poll::Pending, |error| Poll::Ready(Err(error.clone())))
                }
            }
        })
        .await
    }

    /// The next channel or request of the peer; `None` when the session is over.
    pub(crate) fn poll_incoming(&self, cx: &Context<'_>) -> Poll<Option<ConnectionEvent>> {
        self.with(|engine| engine.poll_incoming(cx))
    }

    /// Why the session ended, once it has.
    pub(crate) async fn ended(&self) -> Error {
        let notified = self.ended.notified();
        tokio::pin!(notified);
        // Registered before looking, so that an end in between is not missed.
        notified.as_mut().enable();
        loop {
            if let Some(error) = self.end_reason() {
                return error;
            }
            notified.as_mut().await;
            notified.set(self.ended.notified());
            notified.as_mut().enable();
        }
    }

    /// Why the session ended, if it has.
    pub(crate) fn end_reason(&self) -> Option<Error> {
        self.state.lock().engine.ended().cloned()
    }
}

impl State {
    /// Hands events to those who act on them; the tasks to wake.
    fn route_events(&mut self) -> Vec<Waker> {
        let mut wakes = Vec::new();
        while let Some(event) = self.engine.poll_event() {
            self.login.items.push_back(event);
            wakes.extend(self.login.waker.take());
        }
        wakes
    }
}

/// Ends the session when a loop stops for whatever reason, a panic or an aborted task included.
pub(super) struct EndOnDrop(pub(super) Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.with(|engine| {
            if engine.ended().is_none() {
                engine.end(if std::thread::panicking() {
                    Error::Bug("the session's driver panicked")
                } else {
                    std::io::Error::new(std::io::ErrorKind::Interrupted, "the session's driver was dropped")
                        .into()
                });
            }
        });
    }
}

/// Ends a session whose login is given up before there is a [`Session`](crate::session::Session) to drop.
pub(crate) struct EndIfDropped(Option<Arc<Shared>>);

impl EndIfDropped {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(Arc::clone(shared)))
    }

    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndIfDropped {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.with(|engine| {
                engine.end(Error::Closed);
            });
        }
    }
}
