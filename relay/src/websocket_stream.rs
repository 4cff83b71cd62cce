//! A WebSocket as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::{Sink as _, Stream as _};
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream as Frames;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::frame_guard::{Breach, FrameGuard};

/// The payloads of binary messages as one stream each way; where a message ends means nothing.
///
/// What is written goes out in unfragmented messages of at most [`MAX_MESSAGE`], which every SDK takes. Pings are answered
/// and none are sent; a flood of them is an error, and so is a text message. A peer that breaks a rule gets a close frame
/// that says which (RFC 6455 §7.4.1). Shutting down sends a close frame with code 1000.
#[derive(Debug)]
pub struct WebSocketStream<S> {
    frames: Frames<FrameGuard<S>>,
    /// What has been received of the last message and not been read yet.
    unread: Bytes,
    count: Option<Counted>,
    /// Control frames since a time: answering them costs us more than it costs the peer to send them.
    controls: (u32, Option<Instant>),
    /// The peer has broken a rule, and was told which.
    failed: bool,
}

/// Where bytes are counted.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) received: Counter<u64, AtomicU64>,
    pub(crate) sent: Counter<u64, AtomicU64>,
}

/// A message that is sent has no more bytes than this: a Java SDK takes no larger frame.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// A read from the socket, in bytes. The library keeps a buffer of this size for as long as the connection stands, and clears
/// it before every read, so a larger one costs more than the system calls that it saves.
const READ: usize = 32 * 1024;
/// A peer that reads nothing more is closed without being told after this.
const CLOSE: Duration = Duration::from_secs(2);
/// Pings and pongs in [`CONTROL_PERIOD`]: a thousand a second.
const MAX_CONTROLS: u32 = 5000;
const CONTROL_PERIOD: Duration = Duration::from_secs(5);
/// A message that is received may not have more. SDKs send up to 33 KiB.
pub const MAX_RECEIVED: usize = 1024 * 1024;

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketStream<S> {
    /// Over a stream on which the upgrade is done.
    pub async fn new(stream: S, role: Role) -> Self {
        Self::from_frames(Frames::from_raw_socket(FrameGuard::new(stream), role, Some(config())).await)
    }

    /// Over a WebSocket that was opened with [`config`].
    pub(crate) fn from_frames(frames: Frames<FrameGuard<S>>) -> Self {
        Self { frames, unread: Bytes::new(), count: None, controls: (0, None), failed: false }
    }

    /// Says why it ends, and ends. Nobody waits for the peer's word.
    ///
    /// # Cancel safety
    /// The peer may not have been told.
    pub(crate) async fn close(mut self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        // Whoever reads nothing is not waited for.
        let _ = tokio::time::timeout(CLOSE, self.frames.close(Some(frame))).await;
    }

    /// Tells the peer what it did, as far as there is room in the socket's buffer.
    fn fail(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) {
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.frames).poll_ready(cx)
            && Pin::new(&mut self.frames).start_send(Message::Close(Some(frame))).is_ok()
        {
            let _ = Pin::new(&mut self.frames).poll_flush(cx);
        }
    }

    fn is_flood(&mut self) -> bool {
        let now = Instant::now();
        let (count, since) = &mut self.controls;
        if since.is_none_or(|since| now.duration_since(since) >= CONTROL_PERIOD) {
            (*count, *since) = (0, Some(now));
        }
        *count = count.saturating_add(1);
        *count > MAX_CONTROLS
    }

    /// Counts what passes.
    pub(crate) fn counted(mut self, count: Counted) -> Self {
        self.count = Some(count);
        self
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                Some(Ok(Message::Binary(payload))) => {
                    if let Some(count) = &self.count {
                        count.received.inc_by(payload.len() as u64);
                    }
                    self.unread = payload;
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                    if self.is_flood() {
                        let why = "too many pings and pongs";
                        self.fail(cx, CloseCode::Policy, why);
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                    }
                }
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Text(_))) => {
                    self.fail(cx, CloseCode::Unsupported, "a tunnel has binary messages alone");
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the peer sent a text message; a tunnel has binary ones alone",
                    )));
                }
                Some(Err(error)) => {
                    match &error {
                        Error::Capacity(_) => self.fail(cx, CloseCode::Size, "the message is too long"),
                        Error::Protocol(_) | Error::Utf8(_) => {
                            self.fail(cx, CloseCode::Protocol, "that is against RFC 6455");
                        }
                        Error::Io(error) => {
                            if let Some(breach) = Breach::of(error) {
                                self.fail(cx, breach.code(), breach.reason());
                            }
                        }
                        _ => {}
                    }
                    return Poll::Ready(ended(error).map_or(Ok(()), Err));
                }
            }
        }
        let count = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..count).unwrap_or_default());
        self.unread.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // An SDK may take an empty message for the end.
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.frames).poll_ready(cx)).map_err(broken)?;
        let part = bytes.get(..bytes.len().min(MAX_MESSAGE)).unwrap_or_default();
        let message = Message::Binary(Bytes::copy_from_slice(part));
        Pin::new(&mut self.frames).start_send(message).map_err(broken)?;
        if let Some(count) = &self.count {
            count.sent.inc_by(part.len() as u64);
        }
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_close(cx).map_err(broken)
    }
}

/// What both ends hold their WebSockets to.
pub(crate) fn config() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.max_message_size = Some(MAX_RECEIVED);
    config.max_frame_size = Some(MAX_RECEIVED);
    config.read_buffer_size = READ;
    config.write_buffer_size = MAX_MESSAGE;
    // One message beyond what is buffered before it is written; more than that waits in `poll_write`.
    config.max_write_buffer_size = 4 * MAX_MESSAGE;
    config
}

/// The error of a reader; none if the connection has just ended.
fn ended(error: Error) -> Option<io::Error> {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => None,
        error => Some(broken(error)),
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[cfg(test)]
mod tests {
    use futures::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_whatever_the_messages() {
        let (near, far) = tokio::io::duplex(1000);
        let mut near = WebSocketStream::new(near, Role::Client).await;
        let mut far = WebSocketStream::new(far, Role::Server).await;
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
            near
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        writer.await.unwrap();
    }

    #[tokio::test]
    async fn only_binary_messages_of_a_size_are_taken() {
        for (message, expected) in [
            (Message::text("hello"), io::ErrorKind::InvalidData),
            (Message::binary(vec![0; MAX_RECEIVED + 1]), io::ErrorKind::InvalidData),
        ] {
            let (near, far) = tokio::io::duplex(4 * MAX_RECEIVED);
            let mut near = Frames::from_raw_socket(near, Role::Client, None).await;
            let mut far = WebSocketStream::new(far, Role::Server).await;
            near.send(message).await.unwrap();
            assert_eq!(far.read_u8().await.unwrap_err().kind(), expected);
        }
    }

    #[tokio::test]
    async fn pings_are_answered_and_empty_messages_are_no_end() {
        let (near, far) = tokio::io::duplex(1000);
        let mut near = Frames::from_raw_socket(near, Role::Client, None).await;
        let mut far = WebSocketStream::new(far, Role::Server).await;
        near.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        near.send(Message::binary(Vec::new())).await.unwrap();
        near.send(Message::binary(vec![7])).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), 7);
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(near.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
        assert_eq!(near.next().await.unwrap().unwrap(), Message::binary(&b"x"[..]));
    }
}
