//! Ways back that fail, and those that are lost as soon as they are found.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::client::{ConnectError, Reconnect};
use ssh_core::error::{DisconnectReason, ReconnectFailure};
use ssh_core::server::{DetachedLimits, DetachedSessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::PATIENCE;
use super::by_hand::{ByHand, farewell};
use super::world::{Deaf, World, until};

/// The server has gone on by the time that the client loses patience with it. The next attempt finds the session.
#[tokio::test]
async fn an_attempt_that_took_too_long_does_not_end_the_session() {
    let (world, mut accepted) = World::new(DetachedSessions::default());
    let again = world.clone();
    let policy = Reconnect::new(move |attempt| {
        let deaf = if attempt == 1 { Deaf::WhenKeysAreThere } else { Deaf::Never };
        let (stream, _) = again.dial_with(deaf);
        async move { Ok::<_, ConnectError>(stream) }
    });
    let client = world.connect_by(policy.attempt_timeout(Duration::from_millis(500))).await;
    let server = accepted.recv().await.unwrap();
    let (opened, far) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    let (mut near, mut far) = (opened.unwrap(), far.unwrap());
    for session in [&client, &server] {
        timeout(PATIENCE, session.reconnect_enabled()).await.unwrap().unwrap();
    }
    world.end_last();
    near.write_all(b"all of it").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = Vec::new();
    timeout(PATIENCE, far.read_to_end(&mut read)).await.unwrap().unwrap();
    assert_eq!(read, b"all of it");
    assert_eq!(server.reconnections(), 2, "the server has heard both attempts");
}

/// What somebody says in the clear who stands on the way, such as the log-in page of a network, is not the server's word.
#[tokio::test]
async fn what_is_no_server_does_not_end_the_session() {
    let (world, mut accepted) = World::new(DetachedSessions::default());
    let again = world.clone();
    let policy = Reconnect::new(move |attempt| {
        let again = again.clone();
        async move {
            if attempt > 2 {
                return Ok::<_, ConnectError>(again.dial().0);
            }
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            let page = if attempt == 1 {
                b"<p>Please log in.\r\n".repeat(1000)
            } else {
                b"SSH-1.5-old\r\n".to_vec()
            };
            far.write_all(&page).await.unwrap();
            tokio::spawn(async move { far.read_to_end(&mut Vec::new()).await });
            Ok(near)
        }
    });
    let client = world.connect_by(policy).await;
    let _server = accepted.recv().await.unwrap();
    timeout(PATIENCE, client.reconnect_enabled()).await.unwrap().unwrap();
    world.end_last();
    until(|| client.reconnections() == 1 || client.is_closed()).await;
    assert!(timeout(PATIENCE, client.request("keepalive@openssh.com", b"")).await.unwrap().is_ok());
}

/// A client takes leave (10, the connection is lost) in the same breath in which it asks for its session. The session waits
/// for another stream as after any other loss, and no longer than ever.
#[tokio::test]
async fn who_leaves_while_asking_has_lost_its_stream_once_more() {
    let mut limits = DetachedLimits::default();
    limits.offer.lifetime = Duration::from_millis(300);
    let (world, mut accepted) = World::new(DetachedSessions::new(limits));
    let client = ByHand::connect(world.dial().0).await;
    let server = accepted.recv().await.unwrap();
    timeout(PATIENCE, server.reconnect_enabled()).await.unwrap().unwrap();
    let (stream, wire) = world.dial();
    let mut attempt = client.come_back(stream);
    attempt.until(ssh_core::protocol::Engine::has_asked).await;
    attempt.engine.end(farewell(DisconnectReason::CONNECTION_LOST));
    attempt.speak().await;
    until(|| server.reconnections() == 1).await;
    wire.end.notify_one();
    let end = timeout(PATIENCE, server.closed()).await.expect("it is given up");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Expired)), "{end}");
    until(|| world.sessions.is_empty()).await;
}
