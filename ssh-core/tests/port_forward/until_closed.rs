//! Waiting for the peer to close.

use std::io;
use std::time::Duration;

use ssh_core::Channel;
use ssh_core::services::port_forward::{pump_streams_until_closed, pump_until_closed};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::sessions;

/// Both ends of a channel, and of a connection for each.
async fn ends() -> [(Channel, TcpStream, TcpStream); 2] {
    let (client, server) = sessions().await;
    let (near, far) = tokio::join!(client.open_channel("test"), server.accept_channel(None));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ends = Vec::new();
    for channel in [near.unwrap(), far.unwrap()] {
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        ends.push((channel, near, listener.accept().await.unwrap().0));
    }
    // The sessions last as long as their channels are pumped.
    std::mem::forget((client, server));
    ends.try_into().unwrap()
}

#[tokio::test]
async fn two_who_wait_for_each_other_to_close_do_not_wait_for_ever() {
    let [(near, mut app, socket), (far, mut target, other)] = ends().await;
    for socket in [&mut app, &mut target] {
        socket.shutdown().await.unwrap();
    }
    let near = tokio::spawn(pump_until_closed(socket, near));
    let far = tokio::spawn(pump_until_closed(other, far));
    // Both have read their end, and said so.
    tokio::time::sleep(Duration::from_millis(500)).await;
    tokio::time::pause();
    let since = Instant::now();
    let ended = [near.await.unwrap(), far.await.unwrap()];
    assert!((25..40).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    assert!(ended.iter().any(Result::is_err), "{ended:?}");
    for error in ended.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

#[tokio::test]
async fn one_that_waits_ends_when_the_other_one_closes() {
    let [(near, ..), (far, mut target, other)] = ends().await;
    let waiting = pump_streams_until_closed(tokio::io::empty(), tokio::io::sink(), near);
    target.shutdown().await.unwrap();
    let pump = ssh_core::services::port_forward::pump(other, far);
    let (waited, pumped) = tokio::join!(waiting, pump);
    waited.unwrap();
    pumped.unwrap();
}
