//! What a channel carries besides its data: typed requests, stderr the other way, and its end with a status.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::channel::{Channel, to_io};
use crate::error::Error;
use crate::metrics::ChannelMetrics;
use crate::part::Part;
use crate::protocol::ChannelTerms;
use crate::requests::ChannelRequest;

/// Typed requests, stderr, and the end.
impl Channel {
    /// Sends a typed request, and waits for its answer where it may have one; the others count as accepted.
    ///
    /// # Errors
    /// If the channel or the session is closed before an answer comes.
    ///
    /// # Cancel safety
    /// A dropped future has sent the request; the answer is dropped when it comes.
    pub async fn send_request(&self, request: &ChannelRequest) -> Result<bool, Error> {
        let (name, fields) = (request.name(), request.fields());
        if request.may_be_answered() {
            self.request(name, &fields).await
        } else {
            self.notify(name, &fields).map(|()| true)
        }
    }

    /// Sends a signal, named without `SIG` (RFC 4254 §6.9).
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn send_signal(&self, name: &str) -> Result<(), Error> {
        let request = ChannelRequest::Signal { name: name.to_owned() };
        self.notify(request.name(), &request.fields())
    }

    /// Ends both ways: EOF, unless it was sent before, and the close. What was written before is still delivered. Closing
    /// again does nothing. A channel that is dropped instead closes without EOF.
    ///
    /// # Errors
    /// If the session is over.
    pub fn close(&self) -> Result<(), Error> {
        let handle = self.handle();
        handle.shared.with(|engine| {
            // Whether there is still something to close, the close itself says.
            let _ = engine.send_eof(handle.id);
            engine.close_channel(handle.id)
        })
    }

    /// What both sides said when it was opened; `None` once it is closed.
    #[must_use]
    pub fn terms(&self) -> Option<ChannelTerms> {
        let handle = self.handle();
        handle.shared.with(|engine| engine.channel_terms(handle.id))
    }

    /// From now on extended data, whatever its type, is read as data, in the order in which it comes: for peers that use
    /// one for the other.
    pub fn read_extended_as_data(&self) {
        let handle = self.handle();
        handle.shared.with(|engine| engine.read_extended_as_data(handle.id));
    }

    /// Closes with the exit status of a program (RFC 4254 §6.10), which the peer finds in its
    /// [`closed`](Self::closed).
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn close_with_status(&self, status: u32) -> Result<(), Error> {
        self.close_with(&ChannelRequest::ExitStatus(status))
    }

    /// Closes with the signal that ended a program, named without `SIG`, and words for the user (RFC 4254 §6.10).
    ///
    /// # Errors
    /// If the channel or the session is closed.
    pub fn close_with_signal(&self, name: &str, message: &str) -> Result<(), Error> {
        let (name, message) = (name.to_owned(), message.to_owned());
        self.close_with(&ChannelRequest::ExitSignal { name, core_dumped: false, message })
    }

    fn close_with(&self, end: &ChannelRequest) -> Result<(), Error> {
        self.notify(end.name(), &end.fields())?;
        self.close()
    }

    /// What went through the channel so far.
    #[must_use]
    pub fn metrics(&self) -> ChannelMetrics {
        let handle = self.handle();
        handle.shared.with(|engine| engine.channel_metrics(handle.id))
    }

    /// Whether either side has closed the channel, or the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let handle = self.handle();
        handle.shared.with(|engine| engine.is_channel_closed(handle.id))
    }

    /// The way to the peer's stderr (extended data of type 1). It shares the channel's window with the data, and keeps the
    /// channel open as a half does.
    #[must_use]
    pub fn stderr_writer(&self) -> ExtendedWriter {
        self.extended_writer(STDERR)
    }

    /// The way to the peer's extended data of this type (RFC 4254 §5.2).
    #[must_use]
    pub fn extended_writer(&self, code: u32) -> ExtendedWriter {
        ExtendedWriter { part: Part::new(Arc::clone(self.handle())), code }
    }
}

/// Extended data type 1.
const STDERR: u32 = 1;

/// Writes extended data, from [`Channel::stderr_writer`].
///
/// # Cancel safety
/// A dropped write has written nothing.
#[derive(Debug)]
pub struct ExtendedWriter {
    part: Part,
    code: u32,
}

impl AsyncWrite for ExtendedWriter {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Self { part, code } = self.get_mut();
        let slices = [IoSlice::new(data)];
        part.poll(cx, |engine, id, waiter| engine.poll_write_extended(id, *code, waiter, &slices))
            .map_err(to_io)
    }

    /// Nothing is held back, so there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Extended data has no end of its own.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
