//! Channels as streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use crate::channel_extras::ExtendedWriter;
use crate::driver::Shared;
use crate::error::{ApiMisuse, Error};
pub use crate::protocol::{ChannelTerms, ExitStatus, PeerRequest};

/// A channel of a session (RFC 4254 §5): a stream of bytes each way, with an end of file each way, and requests.
///
/// Reading and writing are `AsyncRead` and `AsyncWrite`. `shutdown` sends EOF and leaves the other way open; dropping
/// the channel, or both halves of it, closes it. What was written before is still delivered. The Go library of Dev Tunnels
/// tells whoever reads there of the close only.
///
/// # Cancel safety
/// A dropped read or write future has read or written nothing. No byte is lost between calls.
#[derive(Debug)]
pub struct Channel {
    handle: Arc<Handle>,
}

/// The reading half of a [`Channel`], from [`Channel::split`].
#[derive(Debug)]
pub struct ChannelReader {
    handle: Arc<Handle>,
}

/// The writing half of a [`Channel`], from [`Channel::split`].
#[derive(Debug)]
pub struct ChannelWriter {
    handle: Arc<Handle>,
}

/// The stderr of a channel, from [`Channel::take_stderr`].
///
/// # Cancel safety
/// A dropped read has read nothing.
#[derive(Debug)]
pub struct Stderr {
    handle: Arc<Handle>,
}

/// What was not read, and what comes later, is dropped, so that the channel does not stall.
impl Drop for Stderr {
    fn drop(&mut self) {
        self.handle.shared.with(|engine| engine.discard_stderr(self.handle.id));
    }
}

/// Closes the channel when the last part of it is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u32,
    kind: Box<str>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.with(|engine| engine.release_channel(self.id));
    }
}

impl Channel {
    pub(crate) fn new(shared: Arc<Shared>, id: u32, kind: Box<str>) -> Self {
        Self { handle: Arc::new(Handle { shared, id, kind }) }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// A reader beside the channel itself. It keeps the channel open as a half does; two readers share what comes.
    #[must_use]
    pub fn reader(&self) -> ChannelReader {
        ChannelReader { handle: Arc::clone(&self.handle) }
    }

    /// A writer beside the channel itself. It keeps the channel open as a half does.
    #[must_use]
    pub fn writer(&self) -> ChannelWriter {
        ChannelWriter { handle: Arc::clone(&self.handle) }
    }

    /// Its type, for instance `direct-tcpip`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.handle.kind
    }

    /// Our number for the channel, unique in its session.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.handle.id
    }

    /// Halves that can go to different tasks. The channel closes when both are dropped.
    #[must_use]
    pub fn split(self) -> (ChannelReader, ChannelWriter) {
        (ChannelReader { handle: Arc::clone(&self.handle) }, ChannelWriter { handle: self.handle })
    }

    /// The stderr of the channel (extended data of type 1). What came before is there up to half a window; what was over
    /// has been dropped. Its bytes count on the channel's window, so it has to be read or dropped. It keeps the channel
    /// open as a half does.
    #[must_use]
    pub fn take_stderr(&self) -> Stderr {
        self.handle.shared.with(|engine| engine.keep_stderr(self.handle.id));
        Stderr { handle: Arc::clone(&self.handle) }
    }

    /// Sends a channel request and waits for its answer (RFC 4254 §5.4).
    ///
    /// # Errors
    /// If the channel or the session is closed before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request; the answer is dropped when it comes.
    pub async fn request(&self, name: &str, fields: &[u8]) -> Result<bool, Error> {
        let id = self.handle.id;
        let number = self.handle.shared.with(|engine| engine.channel_request(id, name, true, fields))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        let abandon = AbandonReply { handle: &self.handle, number };
        let reply = std::future::poll_fn(|cx| {
            self.handle.shared.with(|engine| engine.poll_channel_reply(id, number, cx))
        })
        .await;
        drop(abandon);
        reply.ok_or_else(|| {
            self.handle.shared.end_reason().unwrap_or(Error::ApiMisuse(ApiMisuse::ChannelClosed))
        })
    }

    /// Sends a channel request that wants no answer, for instance `signal` or `exit-status`.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        self.handle
            .shared
            .with(|engine| engine.channel_request(self.handle.id, name, false, fields))
            .map(drop)
    }

    /// The peer's next request on this channel, or `None` when none will come any more. Answer those that
    /// [want one](PeerRequest::wants_reply) with [`answer`](Self::answer); the answers leave in the order of the
    /// requests, whatever order they are given in.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next_request(&self) -> Option<PeerRequest> {
        std::future::poll_fn(|cx| {
            self.handle.shared.with(|engine| engine.poll_peer_request(self.handle.id, cx))
        })
        .await
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// If the session is over.
    pub fn answer(&self, request: &PeerRequest, accepted: bool) -> Result<(), Error> {
        let Some(slot) = request.slot else { return Ok(()) };
        self.handle.shared.with(|engine| engine.answer_peer_request(self.handle.id, slot, accepted))
    }

    /// From now on the peer's requests on this channel are refused as they come. For channels that carry only bytes.
    ///
    /// # Errors
    /// If the session is over.
    pub fn refuse_requests(&self) -> Result<(), Error> {
        self.handle.shared.with(|engine| engine.refuse_peer_requests(self.handle.id))
    }

    /// Waits until the peer has closed the channel, or the session is over; then how the program behind it ended, if
    /// the peer said so.
    ///
    /// # Cancel safety
    /// Nothing happens to the channel.
    pub async fn closed(&self) -> Option<ExitStatus> {
        let id = self.handle.id;
        std::future::poll_fn(|cx| self.handle.shared.with(|engine| engine.poll_channel_closed(id, cx))).await;
        self.exit_status()
    }

    /// How the program behind the channel ended, as far as the peer has said so.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.handle.shared.with(|engine| engine.exit_status(self.handle.id))
    }

    /// Sends EOF: nothing more will be written. What was written before is ahead of it.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn send_eof(&self) -> Result<(), Error> {
        self.handle.shared.with(|engine| engine.send_eof(self.handle.id))
    }
}

struct AbandonReply<'a> {
    handle: &'a Handle,
    number: u64,
}

impl Drop for AbandonReply<'_> {
    fn drop(&mut self) {
        self.handle.shared.with(|engine| engine.abandon_channel_reply(self.handle.id, self.number));
    }
}

impl Handle {
    fn poll_read(&self, cx: &Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let room = buffer.initialize_unfilled();
        let read = std::task::ready!(self.shared.with(|engine| engine.poll_read(self.id, cx, room)));
        buffer.advance(read.map_err(to_io)?);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.shared.with(|engine| engine.poll_write(self.id, cx, slices)).map_err(to_io)
    }

    fn close(&self) {
        // An error means that the session is over, which everybody sees.
        let _ = self.shared.with(|engine| engine.close_channel(self.id));
    }

    fn shutdown(&self) -> io::Result<()> {
        match self.shared.with(|engine| engine.send_eof(self.id)) {
            // The peer closed first: there is nobody left to tell.
            Err(Error::ApiMisuse(ApiMisuse::ChannelClosed)) | Ok(()) => Ok(()),
            Err(error) => Err(to_io(error)),
        }
    }
}

impl ChannelReader {
    /// Whether either side has closed the channel, which says more than the end of its data: the peer takes nothing any
    /// more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.shared.with(|engine| engine.is_channel_closed(self.handle.id))
    }

    /// Takes received data without copying: up to `max_len` bytes in at most `max_chunks` chunks, appended to `chunks`.
    /// 0 at the end of the data. The window is credited at once, so the caller is to hold on to no more than it means to.
    ///
    /// # Errors
    /// If the session was lost.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn read_chunks(
        &mut self,
        max_len: usize,
        max_chunks: usize,
        chunks: &mut Vec<Bytes>,
    ) -> io::Result<usize> {
        let Handle { shared, id, .. } = &*self.handle;
        std::future::poll_fn(|cx| {
            shared.with(|engine| engine.poll_read_chunks(*id, cx, max_len, max_chunks, chunks))
        })
        .await
        .map_err(to_io)
    }

    /// How the program behind the channel ended, as far as the peer has said so.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.handle.shared.with(|engine| engine.exit_status(self.handle.id))
    }

    /// Closes the channel, both halves of it.
    pub(crate) fn close(&self) {
        self.handle.close();
    }
}

impl ChannelWriter {
    /// Closes the channel, both halves of it.
    pub(crate) fn close(&self) {
        self.handle.close();
    }

    /// Sends a channel request that wants no answer, for instance `exit-status`.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        self.handle
            .shared
            .with(|engine| engine.channel_request(self.handle.id, name, false, fields))
            .map(drop)
    }

    /// Waits until the peer has closed the channel, or the session is over: writing is then useless.
    ///
    /// # Cancel safety
    /// Nothing happens to the channel.
    pub async fn closed(&self) {
        let id = self.handle.id;
        std::future::poll_fn(|cx| self.handle.shared.with(|engine| engine.poll_channel_closed(id, cx))).await;
    }
}

macro_rules! reads {
    ($($name:ident)*) => {$(
        impl AsyncRead for $name {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.handle.poll_read(cx, buffer)
            }
        }
    )*};
}

macro_rules! writes {
    ($($name:ident)*) => {$(
        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                self.handle.poll_write(cx, &[IoSlice::new(data)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.handle.poll_write(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            /// Nothing is held back, so there is nothing to flush.
            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.handle.shutdown())
            }
        }
    )*};
}

reads! { Channel ChannelReader }
writes! { Channel ChannelWriter }

impl AsyncRead for Stderr {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let id = self.handle.id;
        let room = buffer.initialize_unfilled();
        let read = std::task::ready!(self.handle.shared.with(|engine| engine.poll_read_stderr(id, cx, room)));
        buffer.advance(read.map_err(to_io)?);
        Poll::Ready(Ok(()))
    }
}

/// The session's error inside an `std::io::Error`, where it can be found again as its source.
pub(crate) fn to_io(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io(error) => match error.kind() {
            // These mean "try again" to whoever writes in a loop, and a session that has ended gives them for ever.
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => io::ErrorKind::ConnectionAborted,
            kind => kind,
        },
        Error::ApiMisuse(ApiMisuse::ChannelClosed) => io::ErrorKind::BrokenPipe,
        Error::Timeout(_) => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}
