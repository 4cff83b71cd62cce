use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast, watch};

use super::stream::{ReadLink, WriteLink};
use crate::error::{Error, ReconnectFailure};
use crate::protocol::{ConnectionEvent, Engine, Event, LinkEvent};
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
    keeper: OnceLock<Box<dyn Keeper>>,
    /// A client tries to come back.
    attempting: AtomicBool,
}

/// The one attempt to come back, from [`Shared::begin_attempt`].
pub(crate) struct OnlyAttempt<'a>(&'a AtomicBool);

impl Drop for OnlyAttempt<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whoever keeps sessions that have no stream. It is called without the lock.
pub(crate) trait Keeper: Send + Sync + std::fmt::Debug {
    /// The stream was lost.
    fn lost(&self);
    /// There is another.
    fn resumed(&self);
    /// The session is over.
    fn ended(&self);
}

/// Events that somebody has not looked at; past it the oldest are forgotten.
const MAX_EVENTS: usize = 64;

struct State {
    engine: Engine,
    /// Wakes the write loop when there is output.
    writer: Option<Waker>,
    /// When the read loop will look at the clock by itself.
    armed: Option<Instant>,
    login: Queue<Event>,
    end_seen: bool,
    /// Somebody is telling of progress, and will tell of what comes meanwhile.
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

/// Why a loop lets go of its stream.
pub(super) enum Gone {
    /// The session is over.
    Ended,
    /// The session has lost it, or has another.
    Lost,
    /// It carries another session, whose generation it is.
    Moved(Arc<Shared>, u64),
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
        let state = State {
            engine,
            writer: None,
            armed: None,
            login: Queue::default(),
            end_seen: false,
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
            keeper: OnceLock::new(),
            attempting: AtomicBool::new(false),
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

    /// As [`with`](Self::with), for a loop, whose stream may be none of the session's any more.
    pub(super) fn with_stream<R>(
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
    pub(super) fn gone(&self, generation: u64) -> Option<Gone> {
        self.state.lock().gone(generation)
    }

    /// Waits until the stream of this generation is no longer the session's.
    pub(super) async fn replaced(&self, generation: u64) {
        let mut watch = self.generation.subscribe();
        // The sender is ours, so there is no error.
        let _ = watch.wait_for(|now| *now != generation).await;
    }

    /// Gives the stream of `connection` to this session.
    pub(crate) fn hand_over(self: &Arc<Self>, connection: &Self) -> Result<(), ReconnectFailure> {
        // In this order always: a connection that has not logged in is nobody's target.
        let mut to = self.state.lock();
        let mut from = connection.state.lock();
        let handed = to.engine.hand_over(&mut from.engine, super::now());
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
        if link.generation == state.engine.generation() {
            state.next_reader = Some(link);
            self.reader_slot.notify_one();
        }
    }

    /// As [`deposit_reader`](Self::deposit_reader).
    pub(crate) fn deposit_writer(&self, link: WriteLink) {
        let mut state = self.state.lock();
        if link.generation == state.engine.generation() {
            state.next_writer = Some(link);
            self.writer_slot.notify_one();
        }
    }

    pub(super) fn take_reader(&self) -> Option<ReadLink> {
        self.state.lock().next_reader.take()
    }

    pub(super) fn take_writer(&self) -> Option<WriteLink> {
        self.state.lock().next_writer.take()
    }

    pub(super) async fn reader_deposited(&self) {
        self.reader_slot.notified().await;
    }

    pub(super) async fn writer_deposited(&self) {
        self.writer_slot.notified().await;
    }

    /// What becomes of the stream from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }

    pub(crate) fn announce(&self, event: SessionEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    /// Begins an attempt to come back, unless there is one: to the server the second would be the better one.
    pub(crate) fn begin_attempt(&self) -> Option<OnlyAttempt<'_>> {
        (!self.attempting.swap(true, Ordering::AcqRel)).then(|| OnlyAttempt(&self.attempting))
    }

    /// Who is told of what becomes of the stream. Once.
    pub(crate) fn set_keeper(&self, keeper: Box<dyn Keeper>) {
        let _ = self.keeper.set(keeper);
    }

    /// A loop stopped without a reason of its own.
    fn abandon(&self) {
        let error = if std::thread::panicking() {
            Error::Bug("the session's driver panicked")
        } else {
            std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the session's driver was dropped")
                .into()
        };
        let moved = self.state.lock().moved.clone();
        match moved {
            // Its half will never reach the session.
            Some((target, generation)) => {
                let _ = target.with_stream(generation, |engine| engine.lose(error, super::now()));
            }
            None => self.with(|engine| {
                if engine.ended().is_none() {
                    engine.end(error);
                }
            }),
        }
    }

    fn settle(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let mut early = state.route_events();
        let (links, ended_now) = (state.link_events(), state.engine.ended().is_some() && !state.end_seen);
        let generation = state.engine.generation();
        if !links.is_empty() {
            // What waited for its loop belongs to an older stream.
            state.next_reader = state.next_reader.take().filter(|link| link.generation == generation);
            state.next_writer = state.next_writer.take().filter(|link| link.generation == generation);
            self.generation.send_replace(generation);
            early.extend(state.writer.take());
        }
        let writer = if state.engine.has_output() { state.writer.take() } else { None };
        let tell = state.engine.has_progress() && !std::mem::replace(&mut state.telling, true);
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
            self.tell_progress();
        }
        self.report(links, ended_now);
    }

    /// Tells the listeners how far the connection is: by one task at a time, so that the order is kept.
    fn tell_progress(&self) {
        loop {
            let stage = {
                let mut state = self.state.lock();
                let stage = state.engine.poll_progress();
                state.telling = stage.is_some();
                stage
            };
            match stage {
                Some(stage) => self.announce(SessionEvent::Progress(stage)),
                None => return,
            }
        }
    }

    /// Tells the keeper and the listeners.
    fn report(&self, links: Vec<LinkEvent>, ended: bool) {
        for event in links {
            match event {
                LinkEvent::Lost(cause) => {
                    self.announce(SessionEvent::Disconnected(cause));
                    if let Some(keeper) = self.keeper.get() {
                        keeper.lost();
                    }
                }
                LinkEvent::Enabled => self.announce(SessionEvent::ReconnectEnabled),
                LinkEvent::KeepAliveSucceeded(count) => {
                    self.announce(SessionEvent::KeepAliveSucceeded { count })
                }
                LinkEvent::KeepAliveFailed(count) => self.announce(SessionEvent::KeepAliveFailed { count }),
                LinkEvent::Resumed => {
                    self.announce(SessionEvent::Reconnected);
                    if let Some(keeper) = self.keeper.get() {
                        keeper.resumed();
                    }
                }
            }
        }
        if ended && let Some(keeper) = self.keeper.get() {
            keeper.ended();
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
    fn gone(&self, generation: u64) -> Option<Gone> {
        if let Some((target, generation)) = &self.moved {
            return Some(Gone::Moved(Arc::clone(target), *generation));
        }
        if self.engine.generation() != generation {
            return Some(Gone::Lost);
        }
        self.engine.ended().map(|_| Gone::Ended)
    }

    fn link_events(&mut self) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.engine.poll_link_event() {
            events.push(event);
        }
        events
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

/// Ends the session when a loop stops for whatever reason, a panic or an aborted task included, unless it was
/// [let go](Self::disarm).
pub(super) struct EndOnDrop(pub(super) Arc<Shared>, bool);

impl EndOnDrop {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared, true)
    }

    pub(super) fn disarm(mut self) {
        self.1 = false;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if self.1 {
            self.0.abandon();
        }
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
