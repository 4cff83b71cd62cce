//! Opening channels, and asking something of the session.

use std::sync::Arc;

use bytes::Bytes;

use super::Session;
use crate::channel::Channel;
use crate::driver::Shared;
use crate::error::Error;
use crate::protocol::{GlobalReply, OpenError};

/// Asking the peer.
impl Session {
    /// Opens a channel of this type without fields.
    ///
    /// # Errors
    /// [`OpenError::Refused`] with the peer's reason, [`OpenError::TooManyChannels`] at this side's limit, or the session's
    /// error.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn open_channel(&self, kind: &str) -> Result<Channel, OpenError> {
        self.open_channel_with(kind, &[]).await.map(|(channel, _)| channel)
    }

    /// Opens a channel of this type with the fields that its type asks for (RFC 4254 §5.1), and gives the fields of the
    /// confirmation.
    ///
    /// # Errors
    /// As for [`open_channel`](Self::open_channel).
    ///
    /// # Cancel safety
    /// As for [`open_channel`](Self::open_channel).
    pub async fn open_channel_with(&self, kind: &str, fields: &[u8]) -> Result<(Channel, Bytes), OpenError> {
        let shared = &self.inner.shared;
        let now = crate::driver::now();
        let id = shared.with(|engine| engine.open_channel(kind, fields, now))?;
        // Dropping it gives the channel up in whatever state it is.
        let channel = Channel::new(Arc::clone(shared), id, kind.into());
        let confirmation =
            std::future::poll_fn(|cx| shared.with(|engine| engine.poll_opened(id, cx))).await?;
        Ok((channel, confirmation))
    }

    /// Opens a channel together with its first request, for instance `exec`. If both sides know
    /// `open-channel-request@microsoft.com` that takes one round trip, otherwise the request follows the confirmation.
    /// While the peer has not said whether it does, it is tried.
    ///
    /// # Errors
    /// As for [`open_channel`](Self::open_channel), and [`OpenError::RequestDenied`] if the peer denies the request; the
    /// channel is then closed.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed; the peer may have acted on the request.
    pub async fn open_channel_and_request(
        &self,
        kind: &str,
        fields: &[u8],
        request: &str,
        request_fields: &[u8],
    ) -> Result<Channel, OpenError> {
        let shared = &self.inner.shared;
        let now = crate::driver::now();
        let (id, support, number) = shared.with(|engine| {
            let support = engine.takes_initial_requests();
            let id = engine.open_channel(kind, fields, now)?;
            let number = match support {
                Some(false) => None,
                _ => engine
                    .initial_request(id, request, request_fields, now)
                    .inspect_err(|_| engine.release_channel(id))?,
            };
            Ok::<_, OpenError>((id, support, number))
        })?;
        let channel = Channel::new(Arc::clone(shared), id, kind.into());
        let abandon = number.map(|number| AbandonReply { shared: Arc::clone(shared), number });
        std::future::poll_fn(|cx| shared.with(|engine| engine.poll_opened(id, cx))).await?;
        let reply = match number {
            Some(number) => {
                std::future::poll_fn(|cx| shared.with(|engine| engine.poll_global_reply(number, cx))).await
            }
            None => None,
        };
        drop(abandon);
        let accepted = match reply {
            Some(GlobalReply::Success(_)) => true,
            Some(GlobalReply::Failure(_)) if support == Some(true) => false,
            None if number.is_some() => return Err(shared.end_reason().unwrap_or(Error::Closed).into()),
            // It does not know how, or would not have.
            Some(GlobalReply::Failure(_)) | None => channel.request(request, request_fields).await?,
        };
        if accepted { Ok(channel) } else { Err(OpenError::RequestDenied) }
    }

    /// Sends a global request and waits for its answer (RFC 4254 §4): the fields of the success, or `None` if it was
    /// refused.
    ///
    /// # Errors
    /// If the session ends before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request; the answer is dropped when it comes.
    pub async fn request(&self, name: &str, fields: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.request_reply(name, fields).await? {
            GlobalReply::Success(fields) => Ok(Some(fields)),
            GlobalReply::Failure(_) => Ok(None),
        }
    }

    /// As [`request`](Self::request), with the fields of a refusal too, of which only Dev Tunnels peers send any.
    ///
    /// # Errors
    /// As for [`request`](Self::request).
    ///
    /// # Cancel safety
    /// As for [`request`](Self::request).
    pub async fn request_reply(&self, name: &str, fields: &[u8]) -> Result<GlobalReply, Error> {
        self.start_request(name, fields)?.await
    }

    /// Sends a request now; the future is its answer, as [`answer_to`](Self::answer_to) gives it.
    pub(crate) fn start_request(
        &self,
        name: &str,
        fields: &[u8],
    ) -> Result<impl Future<Output = Result<GlobalReply, Error>> + Send + use<>, Error> {
        self.inner.shared.start_request(name, fields)
    }

    /// The answer to the request with this number. If it is dropped, the answer is dropped when it comes.
    pub(super) fn answer_to(
        &self,
        number: u64,
    ) -> impl Future<Output = Result<GlobalReply, Error>> + Send + use<> {
        self.inner.shared.answer_to(number)
    }

    /// Sends a global request that wants no answer.
    ///
    /// # Errors
    /// If the session is over.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        self.inner.shared.notify(name, fields)
    }
}

/// Global requests of those who do not keep the session alive.
impl Shared {
    /// As [`Session::start_request`].
    pub(crate) fn start_request(
        self: &Arc<Self>,
        name: &str,
        fields: &[u8],
    ) -> Result<impl Future<Output = Result<GlobalReply, Error>> + Send + use<>, Error> {
        let now = crate::driver::now();
        let number = self.with(|engine| engine.global_request(name, true, fields, now))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        Ok(self.answer_to(number))
    }

    fn answer_to(
        self: &Arc<Self>,
        number: u64,
    ) -> impl Future<Output = Result<GlobalReply, Error>> + Send + use<> {
        let shared = Arc::clone(self);
        let abandon = AbandonReply { shared: Arc::clone(&shared), number };
        async move {
            let reply =
                std::future::poll_fn(|cx| shared.with(|engine| engine.poll_global_reply(number, cx))).await;
            drop(abandon);
            reply.ok_or_else(|| shared.end_reason().unwrap_or(Error::Closed))
        }
    }

    /// As [`Session::notify`].
    pub(crate) fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        let now = crate::driver::now();
        self.with(|engine| engine.global_request(name, false, fields, now)).map(drop)
    }
}

struct AbandonReply {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for AbandonReply {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.abandon_global_reply(self.number));
    }
}
