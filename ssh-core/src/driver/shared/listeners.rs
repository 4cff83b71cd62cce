//! Who is told of what becomes of a session.

use tokio::sync::broadcast;

use super::Shared;
use crate::protocol::LinkEvent;
use crate::session::SessionEvent;

/// Whoever keeps sessions that have no stream. It is called without the lock.
pub(crate) trait Keeper: Send + Sync + std::fmt::Debug {
    /// The stream was lost.
    fn lost(&self);
    /// There is another.
    fn resumed(&self);
    /// Without a stream, it holds a good deal more for its peer than it did when this was last told.
    fn grown(&self);
    /// The session is over.
    fn ended(&self);
}

/// Events that somebody has not looked at; past it the oldest are forgotten.
pub(super) const MAX_EVENTS: usize = 64;

impl Shared {
    /// What becomes of the stream from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }

    pub(crate) fn announce(&self, event: SessionEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    /// Who is told of what becomes of the stream. Once.
    pub(crate) fn set_keeper(&self, keeper: Box<dyn Keeper>) {
        let _ = self.keeper.set(keeper);
    }

    /// Tells the listeners how far the connection is: by one task at a time, so that the order is kept.
    pub(super) fn tell_progress(&self) {
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

    pub(super) fn tell_growth(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.grown();
        }
    }

    /// Tells the keeper and the listeners.
    pub(super) fn report(&self, links: Vec<LinkEvent>, ended: bool) {
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
}
