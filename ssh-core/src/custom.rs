//! What applications add to the protocol: messages with numbers of their own, and services by name.

use std::time::Duration;

use bytes::Bytes;

use crate::error::{Error, Timeout};
use crate::part::SessionPart;
use crate::session::Session;

/// Messages and services of the application's own.
impl Session {
    /// Takes the messages with this number, from 83 to 89 or from 101 on, which are answered by UNIMPLEMENTED otherwise.
    /// Those that nobody has read yet may hold 1 MiB together; past it they are answered by UNIMPLEMENTED again.
    ///
    /// # Errors
    /// [`ApiMisuse::MessageNumber`](crate::error::ApiMisuse::MessageNumber) for a number of the protocol itself.
    pub fn messages(&self, number: u8) -> Result<Messages, Error> {
        self.shared().with(|engine| engine.take_messages(number))?;
        Ok(Messages { part: SessionPart::new(self.shared()), number })
    }

    /// Sends a message of the application's own: its number, then whatever it means to the peer. At most 32 KiB.
    ///
    /// # Errors
    /// [`ApiMisuse::MessageNumber`](crate::error::ApiMisuse::MessageNumber) for a number of the protocol itself, or the
    /// session's error.
    pub fn send_message(&self, payload: &[u8]) -> Result<(), Error> {
        self.shared().with(|engine| engine.send_message(payload))
    }

    /// Client: asks for a service by name (RFC 4253 §10) and waits until it is granted, 30 s at most. A server that does
    /// not have it ends the session.
    ///
    /// # Errors
    /// The session's error, [`Timeout::Service`], or
    /// [`ApiMisuse::NotAClient`](crate::error::ApiMisuse::NotAClient).
    ///
    /// # Cancel safety
    /// A dropped future has sent the request.
    pub async fn request_service(&self, name: &str) -> Result<(), Error> {
        self.request_service_within(name, SERVICE_DEADLINE).await
    }

    /// As [`request_service`](Self::request_service), with a deadline of the caller's.
    ///
    /// # Errors
    /// As for [`request_service`](Self::request_service).
    ///
    /// # Cancel safety
    /// A dropped future has sent the request.
    pub async fn request_service_within(&self, name: &str, limit: Duration) -> Result<(), Error> {
        let shared = self.shared();
        shared.with(|engine| engine.request_service(name))?;
        let part = SessionPart::new(shared);
        let granted =
            std::future::poll_fn(|cx| part.poll(cx, |engine, waiter| engine.poll_service(name, waiter)));
        match tokio::time::timeout(limit, granted).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(shared.end_reason().unwrap_or(Error::Closed)),
            Err(_) => Err(Error::Timeout(Timeout::Service)),
        }
    }

    /// Server: from now on the client may ask for this service, which ends the session otherwise.
    pub(crate) fn offer_service(&self, name: &str) {
        self.shared().with(|engine| engine.offer_service(name));
    }

    /// Server: the next service that the client asks for.
    pub(crate) async fn next_service_request(&self) -> Option<String> {
        let part = SessionPart::new(self.shared());
        std::future::poll_fn(|cx| part.poll(cx, |engine, waiter| engine.poll_service_request(waiter))).await
    }

    /// Server: grants a service that was asked for.
    pub(crate) fn accept_service(&self, name: &str) -> Result<(), Error> {
        self.shared().with(|engine| engine.accept_service(name))
    }
}

/// How long a server may take to grant a service.
const SERVICE_DEADLINE: Duration = Duration::from_secs(30);

/// The messages of one number, from [`Session::messages`].
#[derive(Debug)]
pub struct Messages {
    part: SessionPart,
    number: u8,
}

impl Messages {
    /// The next message, its number first; `None` when the session is over. Each goes to one of those who wait.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next(&mut self) -> Option<Bytes> {
        let number = self.number;
        let part = &self.part;
        std::future::poll_fn(|cx| part.poll(cx, |engine, waiter| engine.poll_message(number, waiter))).await
    }
}
