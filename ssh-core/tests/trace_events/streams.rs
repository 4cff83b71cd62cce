//! Streams and messages that are broken.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_core::config::Limits;
use ssh_core::{client, server};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::support::raw::{Raw, message, string};
use super::support::{Sides, client_config, server_config};
use super::{E, listen, told};

/// Fails in one way, once it is told to.
struct Failing {
    stream: tokio::io::DuplexStream,
    how: E,
    now: Arc<AtomicBool>,
}

impl Failing {
    fn fails(&self, how: E) -> bool {
        self.how == how && self.now.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && self.fails(E::StreamReadError) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.fails(E::StreamWriteError) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fails(E::StreamCloseError) {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn stream_fails(how: E) {
    listen();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(server::accept(far, server_config(&Sides::default())));
    let now = Arc::default();
    let stream = Failing { stream: near, how, now: Arc::clone(&now) };
    let client = client::connect(stream, client_config(&Sides::default())).await.unwrap();
    let _server = accepted.await.unwrap().unwrap();
    now.store(true, Ordering::Relaxed);
    // Something to write, and for the other side something to answer.
    drop(
        tokio::time::timeout(Duration::from_millis(200), client.request("keepalive@openssh.com", &[])).await,
    );
    client.close();
    told(how).await;
}

#[tokio::test]
async fn a_read_that_fails_is_told() {
    stream_fails(E::StreamReadError).await;
}

#[tokio::test]
async fn a_write_that_fails_is_told() {
    stream_fails(E::StreamWriteError).await;
}

#[tokio::test]
async fn a_close_that_fails_is_told() {
    stream_fails(E::StreamCloseError).await;
}

#[tokio::test]
async fn a_packet_that_cannot_be_read_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    raw.stream.write_all(&[0xff; 8]).await.unwrap();
    told(E::ReceiveMessageFailed).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_acted_on_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    // Data for a channel that never was.
    raw.send(&message(94, &[&9_u32.to_be_bytes(), &string(b"x")])).await;
    told(E::HandleMessageFailed).await;
}

#[tokio::test]
async fn a_window_that_overflows_is_told() {
    listen();
    let (mut raw, server) = Raw::with_server(Limits::default()).await;
    let (_channel, id) = tokio::join!(server.accept_channel(None), raw.open(b"session", u32::MAX, 1000));
    raw.send(&message(93, &[&id.to_be_bytes(), &1_u32.to_be_bytes()])).await;
    told(E::ChannelWindowAdjustFailed).await;
}
