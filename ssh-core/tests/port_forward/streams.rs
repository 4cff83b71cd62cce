//! A pair of streams whose far side ends its way first.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ssh_core::services::port_forward::ForwardError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::ends::assert_reset;
use super::{Pair, pair, permit};

/// More than all buffers on the way hold.
const LENGTH: usize = 8 * 1024 * 1024;

/// A target for one connection.
async fn target<F, T>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (Pair, SocketAddr, JoinHandle<T>)
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    let served = tokio::spawn(async move { serve(target.accept().await.unwrap().0).await });
    (pair, address, served)
}

/// Reads to the end, but only when the rest of the way has long been full.
async fn read_late(mut socket: TcpStream) -> Vec<u8> {
    socket.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut read = Vec::new();
    socket.read_to_end(&mut read).await.unwrap();
    read
}

#[tokio::test]
async fn what_is_there_to_send_is_sent_when_the_target_has_said_all() {
    let (pair, address, served) = target(read_late).await;
    let input = vec![7; LENGTH];
    let run = pair.client.stdio("127.0.0.1", address.port(), input.as_slice(), tokio::io::sink());
    timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
    assert_eq!(timeout(Duration::from_secs(20), served).await.unwrap().unwrap().len(), LENGTH);
}

/// It had not ended, so the target is not to take what it has read for whole.
#[tokio::test]
async fn an_idle_input_is_given_up_when_the_target_has_said_all() {
    let (pair, address, served) = target(|mut socket| async move {
        socket.shutdown().await.unwrap();
        socket.read_exact(&mut [0]).await.unwrap();
        assert_reset(&mut socket).await;
    })
    .await;
    let (mut near_input, input) = tokio::io::duplex(64);
    near_input.write_all(b"x").await.unwrap();
    let since = Instant::now();
    let run = pair.client.stdio("127.0.0.1", address.port(), input, tokio::io::sink());
    timeout(Duration::from_secs(20), run).await.unwrap().unwrap();
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    timeout(Duration::from_secs(20), served).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_was_read_and_not_taken_is_an_error() {
    let (pair, address, served) = target(|mut socket| async move {
        socket.shutdown().await.unwrap();
        // Until the way is full.
        tokio::time::sleep(Duration::from_secs(2)).await;
    })
    .await;
    let run = pair.client.stdio("127.0.0.1", address.port(), tokio::io::repeat(7), tokio::io::sink());
    let ended = timeout(Duration::from_secs(20), run).await.unwrap();
    assert!(matches!(ended, Err(ForwardError::Reset { .. })), "{ended:?}");
    served.await.unwrap();
}

/// An input that breaks.
struct Broken(bool);

impl AsyncRead for Broken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(Err(io::Error::other("broken")));
        }
        buffer.put_slice(b"half of it");
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_input_that_breaks_is_no_clean_end_of_it() {
    let (pair, address, served) = target(|mut socket| async move {
        socket.read_exact(&mut [0; 10]).await.unwrap();
        assert_reset(&mut socket).await;
    })
    .await;
    let run = pair.client.stdio("127.0.0.1", address.port(), Broken(false), tokio::io::sink());
    let ended = timeout(Duration::from_secs(20), run).await.unwrap();
    assert!(matches!(ended, Err(ForwardError::Stream(_))), "{ended:?}");
    timeout(Duration::from_secs(20), served).await.unwrap().unwrap();
}
