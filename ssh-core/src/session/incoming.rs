//! What the peer asks of a session: channels and requests.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::channel::Channel;
use crate::driver::Shared;
use crate::error::Error;
use crate::part::SessionPart;
use crate::protocol::{ConnectionEvent, GlobalPeerRequest, GlobalReply, OfferedChannel, OpenFailureReason};

/// The channels and requests of the peer, from [`Session::incoming`](super::Session::incoming). It ends with the session.
#[derive(Debug)]
pub struct IncomingStream {
    part: SessionPart,
}

impl IncomingStream {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { part: SessionPart::new(shared) }
    }
}

impl futures::Stream for IncomingStream {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let shared = self.part.shared();
        self.part.poll(cx, |engine, waiter| engine.poll_incoming(waiter)).map(|event| {
            event.map(|event| match event {
                ConnectionEvent::Offered(offer) => {
                    Incoming::Channel(IncomingChannel { shared: Arc::clone(shared), offer: Some(offer) })
                }
                ConnectionEvent::Request(request) => {
                    Incoming::Request(IncomingRequest { shared: Arc::clone(shared), request })
                }
            })
        })
    }
}

/// What the peer wants.
#[derive(Debug)]
pub enum Incoming {
    /// A channel.
    Channel(IncomingChannel),
    /// Something of the session.
    Request(IncomingRequest),
}

/// A channel that the peer wants. Dropping it refuses it.
#[derive(Debug)]
#[must_use = "a channel that is not accepted is refused"]
pub struct IncomingChannel {
    shared: Arc<Shared>,
    /// Empty once it is decided.
    offer: Option<OfferedChannel>,
}

impl IncomingChannel {
    pub(crate) fn new(shared: &Arc<Shared>, offer: OfferedChannel) -> Self {
        Self { shared: Arc::clone(shared), offer: Some(offer) }
    }

    /// Its type, for instance `direct-tcpip`.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.offer.as_ref().map_or("", |offer| &offer.kind)
    }

    /// What its type says (RFC 4254 §5.1).
    #[must_use]
    pub fn fields(&self) -> &[u8] {
        self.offer.as_ref().map_or(&[], |offer| &offer.fields)
    }

    /// Confirms the channel.
    ///
    /// # Errors
    /// If the session is over.
    pub fn accept(self) -> Result<Channel, Error> {
        self.accept_with(&[])
    }

    /// Confirms the channel with the fields that its type asks for.
    ///
    /// # Errors
    /// [`ApiMisuse::TooLong`](crate::error::ApiMisuse::TooLong) for more than 32 KiB of fields: the channel is refused. If the
    /// session is over.
    pub fn accept_with(mut self, fields: &[u8]) -> Result<Channel, Error> {
        let offer = self.offer.take().ok_or(Error::Bug("a channel was decided twice"))?;
        if let Err(error) = self.shared.with(|engine| engine.accept_channel(offer.id, fields)) {
            // The peer has asked for it, and still has to hear something.
            self.offer = Some(offer);
            self.refuse(OpenFailureReason::CONNECT_FAILED, &error.to_string());
            return Err(error);
        }
        Ok(Channel::new(Arc::clone(&self.shared), offer.id, offer.kind.into()))
    }

    /// Refuses the channel; `text` is for the peer's user.
    pub fn reject(mut self, reason: OpenFailureReason, text: &str) {
        self.refuse(reason, text);
    }

    fn refuse(&mut self, reason: OpenFailureReason, text: &str) {
        if let Some(offer) = self.offer.take() {
            // An error means that the session is over, which is refusal enough.
            let _ = self.shared.with(|engine| engine.reject_channel(offer.id, reason, text));
        }
    }
}

impl Drop for IncomingChannel {
    fn drop(&mut self) {
        self.refuse(OpenFailureReason::UNKNOWN_CHANNEL_TYPE, "nobody here takes channels of this type");
    }
}

/// A global request of the peer. Dropping it refuses it.
#[derive(Debug)]
#[must_use = "a request that is not accepted is refused"]
pub struct IncomingRequest {
    shared: Arc<Shared>,
    request: GlobalPeerRequest,
}

impl IncomingRequest {
    /// Its name, for instance `tcpip-forward`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.request.name
    }

    /// What its name says (RFC 4254 §4).
    #[must_use]
    pub fn fields(&self) -> &[u8] {
        &self.request.fields
    }

    /// Whether the peer waits for an answer.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.request.slot.is_some()
    }

    /// Answers with success and these fields. Answers leave in the order of the requests.
    pub fn accept(mut self, fields: &[u8]) {
        self.answer(GlobalReply::Success(Bytes::copy_from_slice(fields)));
    }

    /// Answers with failure.
    pub fn refuse(mut self) {
        self.answer(GlobalReply::Failure(Bytes::new()));
    }

    /// Answers as the answer to another request was.
    pub fn reply(mut self, reply: GlobalReply) {
        self.answer(reply);
    }

    fn answer(&mut self, reply: GlobalReply) {
        if let Some(slot) = self.request.slot.take() {
            // An error means that the session is over, and nobody waits any more.
            let _ = self.shared.with(|engine| engine.answer_global_request(slot, reply));
        }
    }
}

impl Drop for IncomingRequest {
    fn drop(&mut self) {
        self.answer(GlobalReply::Failure(Bytes::new()));
    }
}
