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
pub(crate) use crate::part::Handle;
use crate::part::Part;
pub use crate::protocol::{ChannelTerms, ExitStatus, PeerRequest};

/// A channel of a session (RFC 4254 §5): a stream of bytes each way, with an end of file each way, and requests.
///
/// Reading and writing are `AsyncRead` and `AsyncWrite`. `shutdown` sends EOF and leaves the other way open; dropping
/// the channel, or both halves of it, closes it. What was written before is still delivered. The libraries of Dev Tunnels in
/// Go and TypeScript tell whoever reads there of the close only.
///
/// # Cancel safety
/// A dropped read or write future has read or written nothing. No byte is lost between calls.
#[derive(Debug)]
pub struct Channel {
    part: Part,
}

/// The reading half of a [`Channel`], from [`Channel::split`].
#[derive(Debug)]
pub struct ChannelReader {
    part: Part,
}

/// The writing half of a [`Channel`], from [`Channel::split`].
#[derive(Debug)]
pub struct ChannelWriter {
    part: Part,
}

/// The stderr of a channel, from [`Channel::take_stderr`].
///
/// # Cancel safety
/// A dropped read has read nothing.
#[derive(Debug)]
pub struct Stderr {
    part: Part,
}

/// What was not read, and what comes later, is dropped with the last of several, so that the channel does not stall.
impl Drop for Stderr {
    fn drop(&mut self) {
        self.part.shared.with(|engine| engine.discard_stderr(self.part.id));
    }
}

impl Channel {
    pub(crate) fn new(shared: Arc<Shared>, id: u32, kind: Box<str>) -> Self {
        Self { part: Part::new(Arc::new(Handle { shared, id, kind })) }
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        self.part.handle()
    }

    /// A reader beside the channel itself. It keeps the channel open as a half does; two readers share what comes.
    #[must_use]
    pub fn reader(&self) -> ChannelReader {
        ChannelReader { part: self.part.another() }
    }

    /// A writer beside the channel itself. It keeps the channel open as a half does.
    #[must_use]
    pub fn writer(&self) -> ChannelWriter {
        ChannelWriter { part: self.part.another() }
    }

    /// Its type, for instance `direct-tcpip`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.part.kind
    }

    /// Our number for the channel, unique in its session.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.part.id
    }

    /// Halves that can go to different tasks. The channel closes when both are dropped.
    #[must_use]
    pub fn split(self) -> (ChannelReader, ChannelWriter) {
        (ChannelReader { part: self.part.another() }, ChannelWriter { part: self.part })
    }

    /// The stderr of the channel (extended data of type 1). What came before is there up to half a window; what was over
    /// has been dropped. Its bytes count on the channel's window, so it has to be read or dropped. It keeps the channel
    /// open as a half does; two of them share what comes.
    #[must_use]
    pub fn take_stderr(&self) -> Stderr {
        self.part.shared.with(|engine| engine.keep_stderr(self.part.id));
        Stderr { part: self.part.another() }
    }

    /// Sends a channel request and waits for its answer (RFC 4254 §5.4).
    ///
    /// # Errors
    /// If the channel or the session is closed before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request; the answer is dropped when it comes.
    pub async fn request(&self, name: &str, fields: &[u8]) -> Result<bool, Error> {
        let id = self.part.id;
        let number = self.part.shared.with(|engine| engine.channel_request(id, name, true, fields))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        let abandon = AbandonReply { handle: &self.part, number };
        let reply = std::future::poll_fn(|cx| {
            self.part.shared.with(|engine| engine.poll_channel_reply(id, number, cx))
        })
        .await;
        drop(abandon);
        reply.ok_or_else(|| {
            self.part.shared.end_reason().unwrap_or(Error::ApiMisuse(ApiMisuse::ChannelClosed))
        })
    }

    /// Sends a channel request that wants no answer, for instance `signal` or `exit-status`.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        self.part.shared.with(|engine| engine.channel_request(self.part.id, name, false, fields)).map(drop)
    }

    /// The peer's next request on this channel, or `None` when none will come any more. Answer those that
    /// [want one](PeerRequest::wants_reply) with [`answer`](Self::answer); the answers leave in the order of the
    /// requests, whatever order they are given in.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next_request(&self) -> Option<PeerRequest> {
        let mut part = self.part.another();
        std::future::poll_fn(|cx| part.poll(cx, |engine, id, waiter| engine.poll_peer_request(id, waiter)))
            .await
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// If the session is over.
    pub fn answer(&self, request: &PeerRequest, accepted: bool) -> Result<(), Error> {
        let Some(slot) = request.slot else { return Ok(()) };
        self.part.shared.with(|engine| engine.answer_peer_request(self.part.id, slot, accepted))
    }

    /// From now on the peer's requests on this channel are refused as they come. For channels that carry only bytes.
    ///
    /// # Errors
    /// If the session is over.
    pub fn refuse_requests(&self) -> Result<(), Error> {
        self.part.shared.with(|engine| engine.refuse_peer_requests(self.part.id))
    }

    /// Waits until the peer has closed the channel, or the session is over; then how the program behind it ended, if
    /// the peer said so.
    ///
    /// # Cancel safety
    /// Nothing happens to the channel.
    pub async fn closed(&self) -> Option<ExitStatus> {
        let mut part = self.part.another();
        std::future::poll_fn(|cx| part.poll_closed(cx)).await;
        self.exit_status()
    }

    /// How the program behind the channel ended, as far as the peer has said so.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.part.shared.with(|engine| engine.exit_status(self.part.id))
    }

    /// Sends EOF: nothing more will be written. What was written before is ahead of it.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn send_eof(&self) -> Result<(), Error> {
        self.part.shared.with(|engine| engine.send_eof(self.part.id))
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

impl ChannelReader {
    /// Whether either side has closed the channel, which says more than the end of its data: the peer takes nothing any
    /// more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.part.shared.with(|engine| engine.is_channel_closed(self.part.id))
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
        std::future::poll_fn(|cx| {
            self.part.poll(cx, |engine, id, waiter| {
                engine.poll_read_chunks(id, waiter, max_len, max_chunks, chunks)
            })
        })
        .await
        .map_err(to_io)
    }

    /// How the program behind the channel ended, as far as the peer has said so.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.part.shared.with(|engine| engine.exit_status(self.part.id))
    }

    /// Closes the channel, both halves of it.
    pub(crate) fn close(&self) {
        self.part.close();
    }
}

impl ChannelWriter {
    /// Closes the channel, both halves of it.
    pub(crate) fn close(&self) {
        self.part.close();
    }

    /// Sends a channel request that wants no answer, for instance `exit-status`.
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn notify(&self, name: &str, fields: &[u8]) -> Result<(), Error> {
        self.part.shared.with(|engine| engine.channel_request(self.part.id, name, false, fields)).map(drop)
    }

    /// Which of the session's connections it has now, if any.
    pub(crate) fn link(&self) -> Option<u64> {
        self.part.shared.with(|engine| engine.detached().is_none().then(|| engine.generation()))
    }

    /// Waits until the peer has closed the channel, or the session is over: writing is then useless.
    ///
    /// # Cancel safety
    /// Nothing happens to the channel.
    pub async fn closed(&self) {
        let mut part = self.part.another();
        std::future::poll_fn(|cx| part.poll_closed(cx)).await;
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
                self.get_mut().part.poll_read(cx, buffer)
            }
        }
    )*};
}

macro_rules! writes {
    ($($name:ident)*) => {$(
        impl AsyncWrite for $name {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
                self.get_mut().part.poll_write(cx, &[IoSlice::new(data)])
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.get_mut().part.poll_write(cx, slices)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            /// Nothing is held back, so there is nothing to flush.
            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.part.shutdown())
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
        self.get_mut().part.poll_read_stderr(cx, buffer)
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
