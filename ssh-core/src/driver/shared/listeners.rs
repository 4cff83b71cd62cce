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

/// What somebody has to be told of.
#[derive(Debug)]
pub(super) enum News {
    Event(SessionEvent),
    Link(LinkEvent),
    Grown,
    Ended,
}

/// Events that somebody has not looked at; past it the oldest are forgotten.
pub(super) const MAX_EVENTS: usize = 64;

impl Shared {
    /// What becomes of the stream from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SessionEvent> {
        self.events.subscribe()
    }

    /// Waits for the end of the session, and until all that happened before has been told.
    pub(crate) async fn all_told(&self) {
        // The sender is ours, so there is no error.
        let _ = self.all_told.subscribe().wait_for(|told| *told).await;
    }

    /// Tells the listeners, behind whatever they have not been told of yet.
    pub(crate) fn announce(&self, event: SessionEvent) {
        let tell = {
            let mut state = self.state.lock();
            state.untold.push_back(News::Event(event));
            state.may_tell()
        };
        if tell {
            self.tell();
        }
    }

    /// Who is told of what becomes of the stream. Once.
    pub(crate) fn set_keeper(&self, keeper: Box<dyn Keeper>) {
        let _ = self.keeper.set(keeper);
    }

    /// Tells the keeper and the listeners, without the lock: one task at a time, so that the order is kept.
    pub(super) fn tell(&self) {
        loop {
            let news = {
                let mut state = self.state.lock();
                let news = state.untold.pop_front();
                state.telling = news.is_some();
                news
            };
            match news {
                Some(News::Event(event)) => self.send(event),
                Some(News::Link(event)) => self.tell_of_link(event),
                Some(News::Grown) => self.tell_keeper(Keeper::grown),
                Some(News::Ended) => {
                    self.all_told.send_replace(true);
                    self.tell_keeper(Keeper::ended);
                }
                None => return,
            }
        }
    }

    fn tell_of_link(&self, event: LinkEvent) {
        match event {
            LinkEvent::Lost(cause) => {
                self.send(SessionEvent::Disconnected(cause));
                self.tell_keeper(Keeper::lost);
            }
            LinkEvent::Enabled => self.send(SessionEvent::ReconnectEnabled),
            LinkEvent::KeepAliveSucceeded(count) => self.send(SessionEvent::KeepAliveSucceeded { count }),
            LinkEvent::KeepAliveFailed(count) => self.send(SessionEvent::KeepAliveFailed { count }),
            LinkEvent::Resumed => {
                self.send(SessionEvent::Reconnected);
                self.tell_keeper(Keeper::resumed);
            }
        }
    }

    fn send(&self, event: SessionEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn tell_keeper(&self, what: impl FnOnce(&(dyn Keeper + 'static))) {
        if let Some(keeper) = self.keeper.get() {
            what(&**keeper);
        }
    }
}
