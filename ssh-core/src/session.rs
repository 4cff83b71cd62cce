//! Sessions, and what the peer asks of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::channel::Channel;
use crate::connection_info::ConnectionInfo;
use crate::driver::Shared;
use crate::error::{DisconnectReason, Error};
use crate::keys::PublicKey;
use crate::metrics::SessionMetrics;
pub use crate::progress::Progress;
pub use crate::protocol::GlobalReply;
use crate::protocol::{ConnectionEvent, GlobalPeerRequest, Negotiated, OfferedChannel, OpenError};
pub use crate::protocol::{Latency, OpenFailure, OpenFailureReason, ReconnectFailure, ReconnectOffer};
use crate::server::Principal;

/// An authenticated session. Clones are handles to the same session; dropping the last one disconnects.
#[derive(Debug, Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    info: SessionInfo,
    principal: Option<Principal>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.with(|engine| {
            engine.end(Error::Closed);
        });
    }
}

/// What was agreed when the session was set up.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The user that was authenticated.
    pub user: Arc<str>,
    /// The peer's version line, for instance `SSH-2.0-OpenSSH_9.9`.
    pub peer_version: Arc<str>,
    /// The algorithms of the first key exchange; `None` without any security.
    pub algorithms: Option<Negotiated>,
    /// Whether both sides agreed on strict key exchange.
    pub strict_kex: bool,
    /// The server's host key; `None` on a server.
    pub host_key: Option<PublicKey>,
    /// The connection, as it was known during authentication.
    pub connection: ConnectionInfo,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, user: Arc<str>) -> Self {
        let info = shared.with(|engine| SessionInfo {
            user,
            peer_version: engine.peer_version().map_or("", |version| version.as_str()).into(),
            algorithms: engine.negotiated().copied(),
            strict_kex: engine.is_strict_kex(),
            host_key: engine.host_key().cloned(),
            connection: engine.connection_info(),
        });
        Self { inner: Arc::new(Inner { shared, info, principal: None }) }
    }

    /// A server's: `principal` is whom its authenticator has let in.
    pub(crate) fn of_principal(shared: Arc<Shared>, user: Arc<str>, principal: Option<Principal>) -> Self {
        let mut session = Self::new(shared, user);
        if let Some(inner) = Arc::get_mut(&mut session.inner) {
            inner.principal = principal;
        }
        session
    }

    /// On a server, whom its [`Authenticator`](crate::server::Authenticator) has let in. `None` on a client, and where both
    /// sides agreed on no security at all.
    #[must_use]
    pub fn principal(&self) -> Option<&Principal> {
        self.inner.principal.as_ref()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// What was agreed.
    #[must_use]
    pub fn info(&self) -> &SessionInfo {
        &self.inner.info
    }

    /// The connection: session id, versions, addresses and algorithms.
    #[must_use]
    pub fn connection(&self) -> &ConnectionInfo {
        &self.inner.info.connection
    }

    /// Opens a channel of this type without fields.
    ///
    /// # Errors
    /// [`OpenError::Refused`] with the peer's reason, or the session's error.
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
            Ok::<_, Error>((id, support, number))
        })?;
        let channel = Channel::new(Arc::clone(shared), id, kind.into());
        let abandon = number.map(|number| AbandonReply { shared, number });
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

    /// The extensions that the peer listed, with their values (RFC 8308); `None` if it listed none at all.
    #[must_use]
    pub fn peer_extensions(&self) -> Option<Vec<(Box<str>, Bytes)>> {
        self.inner.shared.with(|engine| engine.peer_extensions().map(<[_]>::to_vec))
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
        let shared = &self.inner.shared;
        let now = crate::driver::now();
        let number = shared.with(|engine| engine.global_request(name, true, fields, now))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        let abandon = AbandonReply { shared, number };
        let reply =
            std::future::poll_fn(|cx| shared.with(|engine| engine.poll_global_reply(number, cx))).await;
        drop(abandon);
        reply.ok_or_else(|| shared.end_reason().unwrap_or(Error::Closed))
    }

    /// Sends a global request that wants no answer.
    ///
    /// # Errors
    /// If the session is over.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        let now = crate::driver::now();
        self.inner.shared.with(|engine| engine.global_request(name, false, fields, now)).map(drop)
    }

    /// The channels and requests of the peer, as a `Stream`. They wait here until somebody takes them; past the limits
    /// of the session new ones are refused. There is one queue: each item goes to one of the streams.
    #[must_use]
    pub fn incoming(&self) -> IncomingStream {
        IncomingStream { shared: Arc::clone(&self.inner.shared) }
    }

    /// Starts a key exchange now; the session goes on meanwhile.
    ///
    /// # Errors
    /// If the session is over.
    pub fn rekey(&self) -> Result<(), Error> {
        self.inner.shared.with(|engine| engine.rekey(crate::driver::now()))
    }

    /// What becomes of the session's stream from now on, and how the peer answers keepalives, as a `Stream` that ends with
    /// the session. A listener that falls behind misses the oldest.
    pub fn events(&self) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
        events_of(&self.inner.shared)
    }

    /// Client: resumes the session over `stream` after its own was lost. Needless where the configuration has a
    /// [`Reconnect`](crate::client::Reconnect).
    ///
    /// # Errors
    /// [`Error::Reconnect`] with [`NotResumable`](ReconnectFailure::NotResumable) if the session has a stream, cannot be
    /// resumed, or is being resumed by another call. With any other, and with whatever ended the new connection: why it failed. If that will not get
    /// better, the session is over.
    ///
    /// # Cancel safety
    /// The session stays as it is.
    pub async fn reconnect<S>(&self, stream: S) -> Result<(), Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + 'static,
    {
        use crate::client::reconnect::{Attempt, resume};
        match resume(&self.inner.shared, Box::pin(stream)).await {
            Ok(()) => Ok(()),
            Err(Attempt::Failed(error)) => Err(error),
            Err(Attempt::Hopeless(error)) => Err(self.inner.shared.with(|engine| engine.end(error))),
        }
    }

    /// Why the session has no stream at the moment, if it has none.
    #[must_use]
    pub fn disconnected(&self) -> Option<Error> {
        self.inner.shared.with(|engine| engine.detached().cloned())
    }

    /// Whether the session outlives its stream: both sides have offered that, and told each other how far they are.
    #[must_use]
    pub fn is_reconnect_enabled(&self) -> bool {
        self.inner.shared.with(|engine| engine.is_reconnect_enabled())
    }

    /// Waits until the session outlives its stream, as [`is_reconnect_enabled`](Self::is_reconnect_enabled) tells.
    ///
    /// # Errors
    /// [`ReconnectFailure::NotResumable`] at once if one of the sides has not offered it, as it cannot without any security;
    /// the session's error once it is over.
    ///
    /// # Cancel safety
    /// Nothing happens to the session.
    pub async fn reconnect_enabled(&self) -> Result<(), Error> {
        let mut events = self.events();
        loop {
            let shared = &self.inner.shared;
            let (enabled, resumable) =
                shared.with(|engine| (engine.is_reconnect_enabled(), engine.is_resumable()));
            if enabled {
                return Ok(());
            }
            if !resumable {
                let never = Error::Reconnect(ReconnectFailure::NotResumable);
                return Err(shared.end_reason().unwrap_or(never));
            }
            let _ = futures::StreamExt::next(&mut events).await;
        }
    }

    /// Round trips, if the peer measures them too (`session-latency@microsoft.com`).
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        self.inner.shared.with(|engine| engine.latency())
    }

    /// How often the session has been resumed.
    #[must_use]
    pub fn reconnections(&self) -> u32 {
        self.inner.shared.with(|engine| engine.reconnections())
    }

    /// Ends the session: the peer is told, channels fail with [`Error::Closed`].
    pub fn close(&self) {
        self.inner.shared.with(|engine| {
            engine.end(Error::Closed);
        });
    }

    /// Ends the session as [`close`](Self::close) does, but with words of the caller's (RFC 4253 §11.1): channels fail with
    /// [`Error::ClosedWith`]. `text` is for the peer's user; a few hundred bytes are shown at most.
    pub fn disconnect(&self, reason: DisconnectReason, text: &str) {
        self.inner.shared.with(|engine| {
            engine.end(Error::ClosedWith { reason, text: text.into() });
        });
    }

    /// What went through the session so far.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        self.inner.shared.with(|engine| engine.metrics())
    }

    /// Our numbers of the channels that are open now; once the session is over, of those that its end has cut.
    #[must_use]
    pub fn channel_ids(&self) -> Vec<u32> {
        self.inner.shared.with(|engine| engine.channel_ids())
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.shared.end_reason().is_some()
    }

    /// Waits for the end of the session; why it ended.
    ///
    /// # Cancel safety
    /// Nothing happens to the session.
    pub async fn closed(&self) -> Error {
        self.inner.shared.ended().await
    }
}

/// What becomes of a session from now on, until it is over.
pub(crate) fn events_of(
    shared: &Arc<Shared>,
) -> impl futures::Stream<Item = SessionEvent> + Send + Unpin + 'static {
    let (events, ended) = (shared.subscribe(), Arc::clone(shared));
    let events = futures::stream::unfold((events, ended), |(mut events, ended)| async move {
        use tokio::sync::broadcast::error::RecvError;
        loop {
            let received = tokio::select! {
                biased;
                received = events.recv() => received,
                _ = ended.ended() => return None,
            };
            match received {
                Ok(event) => return Some((event, (events, ended))),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    // Whoever waits for several things at once asks again after the end.
    Box::pin(futures::StreamExt::fuse(events))
}

/// What became of a session's stream, or of the peer behind it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The set-up of a connection came this far. Those of the first one are over before there is a [`Session`]: they are for
    /// whoever asked the [`Driver`](crate::Driver::events). A client that comes back tells those of each attempt.
    Progress(Progress),
    /// It was lost; the session and its channels wait for another.
    Disconnected(Error),
    /// Another is tried for, after this time.
    Reconnecting {
        /// From 1 since the last one was lost.
        attempt: u32,
        /// The time until then.
        after: std::time::Duration,
    },
    /// From now on the session outlives its stream: see [`Session::reconnect_enabled`].
    ReconnectEnabled,
    /// There is another, and everything goes on.
    Reconnected,
    /// The peer was silent, was asked for a sign of life and gave one.
    KeepAliveSucceeded {
        /// How often in a row, from 1.
        count: u32,
    },
    /// The peer was asked for a sign of life and gave none in time.
    KeepAliveFailed {
        /// How often in a row, from 1.
        count: u32,
    },
}

struct AbandonReply<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for AbandonReply<'_> {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.abandon_global_reply(self.number));
    }
}

/// The channels and requests of the peer, from [`Session::incoming`]. It ends with the session.
#[derive(Debug)]
pub struct IncomingStream {
    shared: Arc<Shared>,
}

impl futures::Stream for IncomingStream {
    type Item = Incoming;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let shared = &self.shared;
        shared.poll_incoming(cx).map(|event| {
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
    /// If the session is over.
    pub fn accept_with(mut self, fields: &[u8]) -> Result<Channel, Error> {
        let offer = self.offer.take().ok_or(Error::Bug("a channel was decided twice"))?;
        self.shared.with(|engine| engine.accept_channel(offer.id, fields))?;
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
