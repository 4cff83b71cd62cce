//! Coming back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::config::Algorithms;
use ssh_core::error::ReconnectFailure;
use ssh_core::session::SessionEvent;
use ssh_core::{Error, Session, client, server};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;
use super::support::{Sides, resumable, sessions};

/// A client that can come back, and its server.
pub(super) struct World {
    pub(super) client: Session,
    server: Session,
    config: Arc<server::Config>,
    link: JoinHandle<()>,
}

impl World {
    pub(super) async fn new() -> Self {
        let ([config, _], client_config) = resumable();
        let (near, far, link) = wire();
        let accepted = tokio::spawn(server::accept(far, Arc::clone(&config)));
        let client = client::connect(near, client_config).await.unwrap();
        let server = accepted.await.unwrap().unwrap();
        for session in [&client, &server] {
            timeout(PATIENCE, session.reconnect_enabled()).await.unwrap().unwrap();
            assert!(session.is_reconnect_enabled());
        }
        Self { client, server, config, link }
    }

    async fn cut(&self) {
        self.link.abort();
        lost(&self.client).await;
    }

    /// Another stream to the server.
    fn dial(&mut self) -> tokio::io::DuplexStream {
        let (near, far, link) = wire();
        self.link = link;
        tokio::spawn(server::accept(far, Arc::clone(&self.config)));
        near
    }
}

/// Waits until it has no stream.
async fn lost(session: &Session) {
    let lost = async {
        while session.disconnected().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, lost).await.unwrap();
}

fn wire() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, JoinHandle<()>) {
    let (near, mut left) = tokio::io::duplex(64 * 1024);
    let (mut right, far) = tokio::io::duplex(64 * 1024);
    let link = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
    });
    (near, far, link)
}

#[tokio::test]
async fn a_server_hears_of_each_way_back() {
    let mut world = World::new().await;
    let mut events = world.server.events();
    for _ in 0..2 {
        assert!(world.client.disconnected().is_none());
        world.cut().await;
        let stream = world.dial();
        world.client.reconnect(stream).await.unwrap();
        let reconnected =
            async { while !matches!(events.next().await.unwrap(), SessionEvent::Reconnected) {} };
        timeout(PATIENCE, reconnected).await.unwrap();
    }
    assert_eq!((world.server.reconnections(), world.client.metrics().reconnections), (2, 2));
}

#[tokio::test]
async fn of_two_ways_back_at_once_one_is_taken_and_the_other_refused_by_name() {
    let mut world = World::new().await;
    world.cut().await;
    let streams = [world.dial(), world.dial()];
    let [first, second] = streams.map(|stream| world.client.reconnect(stream));
    let (first, second) = tokio::join!(first, second);
    let (taken, refused) = if first.is_ok() { (first, second) } else { (second, first) };
    taken.unwrap();
    assert!(matches!(refused.unwrap_err(), Error::Reconnect(ReconnectFailure::NotResumable)));
    assert!(world.client.request("keepalive@openssh.com", &[]).await.is_ok());
    // With a stream there is nothing to come back from.
    let stream = world.dial();
    let error = world.client.reconnect(stream).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
}

#[tokio::test]
async fn only_clients_come_back() {
    let mut world = World::new().await;
    world.cut().await;
    lost(&world.server).await;
    let stream = world.dial();
    let error = world.server.reconnect(stream).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
}

#[tokio::test]
async fn who_waits_for_what_cannot_be_is_told_at_once() {
    let algorithms = Algorithms::insecure_without_any_security();
    for sides in [Sides::default(), Sides { algorithms, ..Sides::default() }] {
        let (client, server) = sessions(&sides).await;
        for session in [&client, &server] {
            let error = timeout(PATIENCE, session.reconnect_enabled()).await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
        }
    }
}

#[test]
fn failures_to_come_back_have_the_numbers_of_the_reference() {
    use ReconnectFailure as F;
    let numbered = [
        (F::UnknownServer, 1),
        (F::SessionNotFound, 2),
        (F::InvalidClientToken, 3),
        (F::ServerDroppedMessages, 4),
        (F::UnknownClient, 101),
        (F::DifferentHostKey, 102),
        (F::InvalidServerToken, 103),
        (F::ClientDroppedMessages, 104),
    ];
    for (failure, number) in numbered {
        assert_eq!(failure.code(), number, "{failure}");
        assert!(Error::Reconnect(failure).to_string().contains(&failure.to_string()));
    }
}
