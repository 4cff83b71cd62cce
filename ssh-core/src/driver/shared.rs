//! The engine behind its lock, and those who wait for it.

mod guards;
mod listeners;
mod streams;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};

pub(crate) use guards::EndIfDropped;
pub(super) use guards::EndOnDrop;
pub(crate) use listeners::Keeper;
use listeners::{MAX_EVENTS, News};
pub(super) use streams::Gone;

use super::stream::{ReadLink, WriteLink};
use crate::error::Error;
use crate::protocol::{Engine, Event};
use crate::session::SessionEvent;

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
    /// A reading or a writing half waits for its loop.
    reader_slot: Notify,
    writer_slot: Notify,
    /// The engine's: a loop with an older stream lets go of it.
    generation: watch::Sender<u64>,
    events: broadcast::Sender<SessionEvent>,
    /// The session is over, and everybody has been told of all that happened before.
    all_told: watch::Sender<bool>,
    keeper: OnceLock<Box<dyn Keeper>>,
    /// A client tries to come back.
    attempting: AtomicBool,
    /// There is reason to try at once.
    hurry: watch::Sender<()>,
}

/// The one attempt to come back, from [`Shared::begin_attempt`].
pub(crate) struct OnlyAttempt<'a>(&'a AtomicBool);

impl Drop for OnlyAttempt<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

struct State {
    engine: Engine,
    /// Wakes the write loop when there is output.
    writer: Option<Waker>,
    /// When the read loop will look at the clock by itself.
    armed: Option<Instant>,
    login: Queue<Event>,
    end_seen: bool,
    /// What the session held without a stream when its keeper was last told, in bytes.
    held: usize,
    /// What nobody has been told of yet, in its order.
    untold: VecDeque<News>,
    /// Somebody is telling, and will tell of what comes meanwhile.
    telling: bool,
    /// The session that this connection carries now, and its generation.
    moved: Option<(Arc<Shared>, u64)>,
    next_reader: Option<ReadLink>,
    next_writer: Option<WriteLink>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("engine", &self.engine).finish_non_exhaustive()
    }
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

/// A session without a stream that holds so many bytes more than before is to be looked at.
const GROWTH: usize = 128 * 1024;

/// Wakers that leave the lock at a time: on the stack, so that waking allocates nothing.
const WAKE_BATCH: usize = 8;

impl Shared {
    pub(super) fn new(engine: Engine) -> Self {
        let state = State {
            engine,
            writer: None,
            armed: None,
            login: Queue::default(),
            end_seen: false,
            held: 0,
            untold: VecDeque::new(),
            telling: false,
            moved: None,
            next_reader: None,
            next_writer: None,
        };
        Self {
            state: Mutex::new(state),
            reader: Notify::new(),
            drained: Notify::new(),
            ended: Notify::new(),
            reader_slot: Notify::new(),
            writer_slot: Notify::new(),
            generation: watch::Sender::new(0),
            events: broadcast::Sender::new(MAX_EVENTS),
            all_told: watch::Sender::new(false),
            keeper: OnceLock::new(),
            attempting: AtomicBool::new(false),
            hurry: watch::Sender::default(),
        }
    }

    /// Calls into the engine, then wakes whoever has to know, without the lock.
    pub(crate) fn with<R>(&self, call: impl FnOnce(&mut Engine) -> R) -> R {
        let mut state = self.state.lock();
        if state.engine.keeps_time() {
            state.engine.set_now(super::now());
        }
        let result = call(&mut state.engine);
        self.settle(state);
        result
    }

    /// Begins an attempt to come back, unless there is one: to the server the second would be the better one.
    pub(crate) fn begin_attempt(&self) -> Option<OnlyAttempt<'_>> {
        (!self.attempting.swap(true, Ordering::AcqRel)).then(|| OnlyAttempt(&self.attempting))
    }

    /// Has a client that waits before its next attempt to come back make it now.
    pub(crate) fn hurry(&self) {
        self.hurry.send_replace(());
    }

    /// For who makes those attempts.
    pub(crate) fn hurried(&self) -> watch::Receiver<()> {
        self.hurry.subscribe()
    }

    fn settle(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut early = state.route_events();
        let link_changed = state.note_news();
        let generation = state.engine.generation();
        if link_changed {
            // What waited for its loop belongs to an older stream.
            state.next_reader = state.next_reader.take().filter(|link| link.generation == generation);
            state.next_writer = state.next_writer.take().filter(|link| link.generation == generation);
            self.generation.send_replace(generation);
            early.extend(state.writer.take());
        }
        let writer = if state.engine.has_output() { state.writer.take() } else { None };
        let tell = state.may_tell();
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
        if tell {
            self.tell();
        }
    }

    /// Exchanges `buffer` for what is to be sent. An error when the stream of this generation is done with; if the session
    /// is over, all has been taken by then.
    pub(super) fn poll_output(
        &self,
        generation: u64,
        buffer: &mut Vec<u8>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        let mut state = self.state.lock();
        match state.gone(generation) {
            None => {}
            Some(Gone::Ended) if state.engine.has_output() => {}
            Some(gone) => return Poll::Ready(Err(gone)),
        }
        if state.engine.has_output() {
            state.engine.take_output(buffer, super::now());
            self.settle(state);
            self.drained.notify_one();
            return Poll::Ready(Ok(()));
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

    /// What the session holds, in bytes: for its peer, and what has come and was not read. Nobody is woken or told by
    /// looking.
    pub(crate) fn held_bytes(&self) -> usize {
        self.state.lock().engine.held_bytes()
    }

    /// Whether the session goes on and has no stream. Nobody is woken or told by looking.
    pub(crate) fn is_without_stream(&self) -> bool {
        let state = self.state.lock();
        state.engine.detached().is_some() && state.engine.ended().is_none()
    }

    /// Why the session ended, if it has.
    pub(crate) fn end_reason(&self) -> Option<Error> {
        self.state.lock().engine.ended().cloned()
    }
}

impl State {
    /// Whether its keeper should look at what the session holds without a stream.
    fn has_grown(&mut self) -> bool {
        if self.engine.detached().is_none() {
            self.held = 0;
            return false;
        }
        let held = self.engine.replay_bytes().0;
        let grown = held >= self.held.saturating_add(GROWTH);
        if grown {
            self.held = held;
        }
        grown
    }

    /// Notes what is to be told. Whether the stream was lost or found, or something was said of it.
    fn note_news(&mut self) -> bool {
        while let Some(stage) = self.engine.poll_progress() {
            self.untold.push_back(News::Event(SessionEvent::Progress(stage)));
        }
        let mut link_changed = false;
        while let Some(event) = self.engine.poll_link_event() {
            self.untold.push_back(News::Link(event));
            link_changed = true;
        }
        if self.has_grown() {
            self.untold.push_back(News::Grown);
        }
        // Its own note of the end is made when the others who wait for it are told.
        if self.engine.ended().is_some() && !self.end_seen {
            self.untold.push_back(News::Ended);
        }
        link_changed
    }

    /// Whether there is something to tell and nobody is telling; whoever asks then has to.
    fn may_tell(&mut self) -> bool {
        !self.untold.is_empty() && !std::mem::replace(&mut self.telling, true)
    }

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
