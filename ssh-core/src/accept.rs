//! Waiting for channels of one type.

use std::sync::Arc;

use crate::channel::Channel;
use crate::driver::Shared;
use crate::error::Error;
use crate::protocol::AcceptTicket;
use crate::session::{IncomingChannel, Session};

/// Channels by type.
impl Session {
    /// The next channel of this type that the peer wants, or of any type for `None`, still to be decided on. Any number of
    /// tasks may wait for types of their own; what nobody waits for stays in the queue of
    /// [`incoming`](Self::incoming), from which a waiter takes its channels out of turn.
    ///
    /// # Errors
    /// The session's error once it is over.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next_channel(&self, kind: Option<&str>) -> Result<IncomingChannel, Error> {
        let shared = self.shared();
        let mut place = Place { shared, ticket: AcceptTicket::default() };
        let offer =
            std::future::poll_fn(|cx| shared.with(|engine| engine.poll_offered(kind, &mut place.ticket, cx)))
                .await;
        match offer {
            Some(offer) => Ok(IncomingChannel::new(shared, offer)),
            None => Err(shared.end_reason().unwrap_or(Error::Closed)),
        }
    }

    /// Accepts the next channel of this type, or of any type for `None`.
    ///
    /// # Errors
    /// As for [`next_channel`](Self::next_channel).
    ///
    /// # Cancel safety
    /// A dropped future has accepted nothing.
    pub async fn accept_channel(&self, kind: Option<&str>) -> Result<Channel, Error> {
        self.next_channel(kind).await?.accept()
    }
}

/// A waiter's place, given back however the waiting ends.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    ticket: AcceptTicket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.stop_accepting(&self.ticket));
    }
}
