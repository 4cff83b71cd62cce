//! How connections and streams end, well and badly.

use std::io;
use std::time::Duration;

use ssh_core::Error;
use ssh_core::error::DisconnectReason;
use ssh_core::services::port_forward::{ForwardError, LocalForward, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Pair, answering, pair, permit};

#[tokio::test]
async fn streams_are_carried_without_a_socket() {
    let target = answering(2).await;
    let pair = pair(permit(&target.to_string())).await;
    let mut out = Vec::new();
    pair.client.stdio("127.0.0.1", target.port(), &b"abc"[..], &mut out).await.unwrap();
    assert_eq!(out, b"abcabc");
}

/// A target, and a local forward to it.
pub(crate) struct Forwarded {
    pub(crate) pair: Pair,
    target: TcpListener,
    forward: LocalForward,
}

impl Forwarded {
    pub(crate) async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = target.local_addr().unwrap();
        let pair = pair(permit(&address.to_string())).await;
        let forward = pair.client.local(0, "127.0.0.1", address.port()).await.unwrap();
        Self { pair, target, forward }
    }

    /// Both ends of a connection through it.
    pub(crate) async fn connect(&self) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(self.forward.local_addr()).await.unwrap();
        let (far, _) = self.target.accept().await.unwrap();
        (near, far)
    }
}

pub(crate) async fn assert_reset(socket: &mut TcpStream) {
    let end = timeout(Duration::from_secs(20), socket.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_lost_session_is_no_clean_end_of_a_connection() {
    let forwarded = Forwarded::new().await;
    let (mut near, mut far) = forwarded.connect().await;
    far.write_all(b"half of it").await.unwrap();
    near.read_exact(&mut [0; 10]).await.unwrap();
    forwarded.pair.server.session().close();
    for socket in [&mut near, &mut far] {
        assert_reset(socket).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_off_is_reset_and_not_ended() {
    let forwarded = Forwarded::new().await;
    let (mut near, mut far) = forwarded.connect().await;
    near.write_all(b"half of it").await.unwrap();
    far.read_exact(&mut [0; 10]).await.unwrap();
    // As when a command is told to end.
    drop(forwarded);
    for socket in [&mut near, &mut far] {
        assert_reset(socket).await;
    }
}

#[tokio::test]
async fn a_reset_passes_through_both_ways() {
    let forwarded = Forwarded::new().await;
    for near_resets in [true, false] {
        let (mut near, mut far) = forwarded.connect().await;
        near.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0]).await.unwrap();
        let (resetting, mut other) = if near_resets { (near, far) } else { (far, near) };
        resetting.set_zero_linger().unwrap();
        drop(resetting);
        assert_reset(&mut other).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_far_side_while_its_input_stays_open() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    tokio::spawn(async move {
        for reset in [false, true] {
            let (mut socket, _) = target.accept().await.unwrap();
            socket.write_all(b"hello").await.unwrap();
            // Until it has arrived: a reset may overtake it.
            socket.read_exact(&mut [0]).await.unwrap();
            if reset {
                socket.set_zero_linger().unwrap();
            }
        }
    });
    for reset in [false, true] {
        let (mut near_input, input) = tokio::io::duplex(64);
        let (mut near_output, output) = tokio::io::duplex(64);
        let run = pair.client.stdio("127.0.0.1", address.port(), input, output);
        let talk = async {
            near_output.read_exact(&mut [0; 5]).await.unwrap();
            near_input.write_all(b"x").await.unwrap();
        };
        let (ended, ()) = timeout(Duration::from_secs(5), async { tokio::join!(run, talk) }).await.unwrap();
        assert_eq!(matches!(ended, Err(ForwardError::Reset { .. })), reset, "{ended:?}");
        assert_eq!(ended.is_ok(), !reset);
    }
}

/// Who asks for a forward too late is told what ended the session, and not that this side had.
#[tokio::test]
async fn a_forward_after_the_end_is_told_why_it_ended() {
    let pair = pair(permit("localhost:*")).await;
    pair.server.session().disconnect(DisconnectReason::BY_APPLICATION, "bye");
    let ended = pair.client.closed().await;
    assert!(matches!(ended, Error::Disconnected { .. }), "{ended:?}");
    // The listeners end a moment later, and with them the taking of new ones.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let bye = |error: ForwardError| match error {
        ForwardError::Session(Error::Disconnected { text, .. }) => assert_eq!(&*text, "bye"),
        error => panic!("{error:?}"),
    };
    bye(pair.client.local(0, "localhost", 1).await.unwrap_err());
    bye(pair.client.dynamic(0).await.unwrap_err());
    bye(pair.client.remote("localhost", 0, "localhost", 1).await.unwrap_err());
    #[cfg(unix)]
    {
        let folder = tempfile::tempdir().unwrap();
        bye(pair.client.local_socket(folder.path().join("s"), Target::new("localhost", 1)).unwrap_err());
    }
}
