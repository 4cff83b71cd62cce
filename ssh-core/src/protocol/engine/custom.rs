//! Messages with numbers of the application's own, and services asked for by name after authentication.

use std::collections::{BTreeSet, VecDeque};
use std::task::Poll;

use bytes::Bytes;

use super::Engine;
use crate::error::{ApiMisuse, Error, PeerMisbehaved};
use crate::protocol::Role;
use crate::protocol::connection::{Waiter, Waiters};
use crate::protocol::messages::{OptionalText, ServiceAccept, ServiceRequest};

/// What the core does not know itself.
#[derive(Debug, Default)]
pub(super) struct Custom {
    numbers: BTreeSet<u8>,
    messages: VecDeque<Bytes>,
    /// Bytes in `messages`.
    waiting: usize,
    /// Names of services that the application answers for, and requests that it has not seen yet.
    services: BTreeSet<String>,
    requested: VecDeque<String>,
    /// What we asked for, and how often each was granted.
    asked: Vec<String>,
    granted: Vec<String>,
    waiters: Waiters,
}

/// Messages that nobody has looked at may hold this much together, in bytes; they come outside of any window.
const MAX_WAITING: usize = 1024 * 1024;
/// Services that may be asked for and not answered at once.
const MAX_SERVICES: usize = 64;

/// Whether an application may give this message number a meaning: one that no RFC of the core uses.
const fn is_free(number: u8) -> bool {
    matches!(number, 83..=89 | 101..=255)
}

impl Engine {
    /// From now on messages of this number are kept for [`poll_message`](Self::poll_message) instead of being answered by
    /// UNIMPLEMENTED.
    ///
    /// # Errors
    /// [`ApiMisuse::MessageNumber`] for a number of the core.
    pub fn take_messages(&mut self, number: u8) -> Result<(), Error> {
        if !is_free(number) {
            return Err(Error::ApiMisuse(ApiMisuse::MessageNumber));
        }
        self.custom.numbers.insert(number);
        Ok(())
    }

    /// The next message of this number, type byte first; `None` when none will come any more.
    pub fn poll_message<'w>(&mut self, number: u8, waiter: impl Into<Waiter<'w>>) -> Poll<Option<Bytes>> {
        let at = self.custom.messages.iter().position(|message| message.first() == Some(&number));
        if let Some(message) = at.and_then(|at| self.custom.messages.remove(at)) {
            self.custom.waiting = self.custom.waiting.saturating_sub(message.len());
            return Poll::Ready(Some(message));
        }
        self.poll_later(waiter.into())
    }

    /// Sends a message of the application's own, type byte first.
    ///
    /// # Errors
    /// [`ApiMisuse::MessageNumber`] for a number of the core, [`ApiMisuse::TooLong`] over 32 KiB, or the session's error.
    pub fn send_message(&mut self, payload: &[u8]) -> Result<(), Error> {
        self.authenticated()?;
        if !payload.first().is_some_and(|number| is_free(*number)) {
            return Err(Error::ApiMisuse(ApiMisuse::MessageNumber));
        }
        super::channels::check_size("", payload)?;
        let sent = self.transport.out.send(|buffer| buffer.extend_from_slice(payload));
        self.fatal(sent)
    }

    /// A message that the core has no meaning for. `false` if the application has none either.
    pub(super) fn on_custom(&mut self, payload: &[u8]) -> bool {
        let number = payload.first().copied().unwrap_or_default();
        let custom = &mut self.custom;
        let waiting = custom.waiting.saturating_add(payload.len());
        if !custom.numbers.contains(&number) || waiting > MAX_WAITING {
            return false;
        }
        custom.waiting = waiting;
        custom.messages.push_back(Bytes::copy_from_slice(payload));
        custom.waiters.wake(&mut self.connection.wakes);
        true
    }

    // ---- Services -----------------------------------------------------------------------------------

    /// Server: from now on requests for this service (RFC 4253 §10) are put to the application instead of ending the
    /// session.
    pub fn offer_service(&mut self, name: &str) {
        self.custom.services.insert(name.to_owned());
    }

    /// Server: the next service that the client asks for; `None` when none will come any more.
    pub fn poll_service_request<'w>(&mut self, waiter: impl Into<Waiter<'w>>) -> Poll<Option<String>> {
        match self.custom.requested.pop_front() {
            Some(name) => Poll::Ready(Some(name)),
            None => self.poll_later(waiter.into()),
        }
    }

    /// Server: grants a service that was asked for.
    ///
    /// # Errors
    /// The session is over.
    pub fn accept_service(&mut self, name: &str) -> Result<(), Error> {
        self.alive()?;
        let name = OptionalText(name.as_bytes());
        let sent = self.transport.out.send(|buffer| ServiceAccept { name }.encode(buffer));
        self.fatal(sent)
    }

    /// Client: asks for a service. A server that lacks it ends the session.
    ///
    /// # Errors
    /// The session is over, or we are a server.
    pub fn request_service(&mut self, name: &str) -> Result<(), Error> {
        self.authenticated()?;
        super::channels::check_size(name, b"")?;
        if self.role == Role::Server {
            return Err(Error::ApiMisuse(ApiMisuse::NotAClient));
        }
        let sent = self.transport.out.send(|buffer| ServiceRequest { name }.encode(buffer));
        self.fatal(sent)?;
        self.custom.asked.push(name.to_owned());
        Ok(())
    }

    /// Client: whether the service has been granted; `false` when it will not be any more.
    pub fn poll_service<'w>(&mut self, name: &str, waiter: impl Into<Waiter<'w>>) -> Poll<bool> {
        let at = self.custom.granted.iter().position(|granted| granted == name);
        if let Some(at) = at {
            self.custom.granted.swap_remove(at);
            return Poll::Ready(true);
        }
        self.poll_later::<()>(waiter.into()).map(|_| false)
    }

    /// Server: the client asks for a service when it is authenticated. `Ok(false)` if it is none of the application's.
    pub(super) fn on_service_request(&mut self, name: &str) -> Result<bool, Error> {
        if !self.custom.services.contains(name) {
            return Ok(false);
        }
        if self.custom.requested.len() >= MAX_SERVICES {
            return Err(PeerMisbehaved::OutputNotRead.into());
        }
        self.custom.requested.push_back(name.to_owned());
        self.custom.waiters.wake(&mut self.connection.wakes);
        Ok(true)
    }

    /// Client: the server grants a service.
    pub(super) fn on_service_accept(&mut self, payload: &[u8]) -> Result<(), Error> {
        let message = ServiceAccept::decode(payload)?;
        let at = self.custom.asked.iter().position(|asked| asked.as_bytes() == message.name.0);
        let Some(at) = at else {
            return Err(PeerMisbehaved::UnexpectedMessage(ServiceAccept::NUMBER).into());
        };
        let name = self.custom.asked.swap_remove(at);
        self.custom.granted.push(name);
        self.custom.waiters.wake(&mut self.connection.wakes);
        Ok(())
    }

    /// Wakes everybody who waits here.
    pub(super) fn fail_custom(&mut self) {
        self.custom.waiters.wake(&mut self.connection.wakes);
    }

    fn poll_later<T>(&mut self, waiter: Waiter<'_>) -> Poll<Option<T>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        self.custom.waiters.wait(waiter);
        Poll::Pending
    }

    /// This one waits here no more.
    pub(super) fn stop_waiting_for_custom(&mut self, number: u64) {
        self.custom.waiters.leave(number);
    }
}
