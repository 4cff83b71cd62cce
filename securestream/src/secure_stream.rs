use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::FutureExt as _;
use ssh_core::Channel;
use ssh_core::session::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{DisconnectReason, Error, Session};

/// An encrypted stream between two ends that have proved who they are. Made by [`client`](Self::client) and
/// [`server`](Self::server).
///
/// Reading and writing are `AsyncRead` and `AsyncWrite`. `shutdown` ends this way, after what was written before, and leaves
/// the other open. The end of data is an end that the other side has meant, by `shutdown` or by closing; a lost stream is an
/// error, or a wait where it can be resumed. `flush` has nothing to do: what was written leaves as soon as the stream
/// below takes it.
///
/// It can be put apart with [`tokio::io::split`]. Dropping it, or both of its halves, [closes](Self::close) it.
///
/// # Over a disconnect
/// Where both sides have offered to resume, a read waits while there is no stream, and a write succeeds until the bytes that
/// the other side has not acknowledged fill [`ReconnectOffer::window`](ssh_core::session::ReconnectOffer); it then waits too.
///
/// # Cancel safety
/// A dropped read or write future has read or written nothing. No byte is lost between calls.
pub struct SecureStream {
    channel: Channel,
    session: Session,
    pub(crate) role: Role,
}

/// Which end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// The type of the channel, in all implementations.
pub(crate) const CHANNEL_TYPE: &str = "session";

impl SecureStream {
    pub(crate) fn new(
        session: Session,
        channel: Channel,
        incoming: IncomingStream,
        role: Role,
    ) -> Result<Self, Error> {
        channel.refuse_requests()?;
        tokio::spawn(crate::watch::run(session.clone(), channel.writer(), incoming));
        Ok(Self { channel, session, role })
    }

    /// Closes the session and the stream below. The other side is told, and what was written before is delivered to it
    /// first, as long as it takes it within 2 s. While there is no stream below, the other side cannot be told, and what
    /// it has not received is lost.
    pub fn close(&self) {
        self.session.close();
    }

    /// Whether it is closed, by either side or for having been lost. What was received before can still be read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.closed().now_or_never().is_some()
    }

    /// Waits for the end; why it ended.
    ///
    /// # Cancel safety
    /// A dropped future changes nothing.
    pub async fn closed(&self) -> Error {
        self.session.closed().await
    }

    /// The session below: who the other side is, whether it can be resumed, latency and so on. Holding it does not keep
    /// the stream open.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for SecureStream {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for SecureStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecureStream")
            .field("role", &self.role)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for SecureStream {
    /// 0 bytes once the other side has ended its way or closed, and all that it sent before has been read.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.channel).poll_read(cx, buffer));
        Poll::Ready(match read {
            Err(error) if was_closed_by_peer(&error) => Ok(()),
            read => read,
        })
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write(cx, data).map_err(to_broken_pipe)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.channel).poll_write_vectored(cx, slices).map_err(to_broken_pipe)
    }

    fn is_write_vectored(&self) -> bool {
        self.channel.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.channel).poll_flush(cx)
    }

    /// Ends this way. Nothing is left to do if either side has closed.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = ready!(Pin::new(&mut self.channel).poll_shutdown(cx));
        Poll::Ready(match shut {
            Err(error) if was_closed_by_peer(&error) || was_closed_by_us(&error) => Ok(()),
            shut => shut,
        })
    }
}

/// Whether the other side has ended the session as one does. It was authenticated, so nobody has cut the data short.
/// Some peers end their data in no other way.
fn was_closed_by_peer(error: &io::Error) -> bool {
    matches!(
        cause(error),
        Some(Error::Disconnected { reason: DisconnectReason::NONE | DisconnectReason::BY_APPLICATION, .. })
    )
}

fn was_closed_by_us(error: &io::Error) -> bool {
    matches!(cause(error), Some(Error::Closed | Error::ClosedWith { .. }))
}

/// What writers of other streams are told when nobody reads any more.
fn to_broken_pipe(error: io::Error) -> io::Error {
    if !was_closed_by_peer(&error) && !was_closed_by_us(&error) {
        return error;
    }
    match error.into_inner() {
        Some(cause) => io::Error::new(io::ErrorKind::BrokenPipe, cause),
        None => io::ErrorKind::BrokenPipe.into(),
    }
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
