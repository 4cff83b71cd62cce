//! Coming back.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use ssh_core::config::Algorithms;
use ssh_core::error::{ReconnectFailure, Timeout};
use ssh_core::session::{Incoming, SessionEvent};
use ssh_core::{Error, Session, client, server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

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

/// A stream of which nothing arrives any more once it is told to, in either direction, though it stays open.
fn deaf_wire() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, tokio::sync::watch::Sender<bool>) {
    let (near, left) = tokio::io::duplex(64 * 1024);
    let (right, far) = tokio::io::duplex(64 * 1024);
    let deaf = tokio::sync::watch::Sender::new(false);
    let ((left_in, left_out), (right_in, right_out)) = (tokio::io::split(left), tokio::io::split(right));
    for (mut from, mut to) in [(left_in, right_out), (right_in, left_out)] {
        let deaf = deaf.subscribe();
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if !*deaf.borrow() && to.write_all(&buffer[..n]).await.is_err() {
                    break;
                }
            }
        });
    }
    (near, far, deaf)
}

const WAIT: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn on_news_of_the_network_a_silent_peer_is_lost_early_and_another_is_not() {
    let ([config, _], client_config) = resumable();
    let (near, far, deaf) = deaf_wire();
    let accepted = tokio::spawn(server::accept(far, config));
    let client = client::connect(near, client_config).await.unwrap();
    let server = accepted.await.unwrap().unwrap();
    client.reconnect_enabled().await.unwrap();

    let start = Instant::now();
    client.network_changed(WAIT).await.unwrap();
    assert!(start.elapsed() < WAIT && client.disconnected().is_none());

    deaf.send_replace(true);
    // The application writes, which the stream takes: that is no sign of life.
    let _channel = client.open_channel("one-way").now_or_never();
    let start = Instant::now();
    let error = client.network_changed(WAIT).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(Timeout::KeepAlive)), "{error}");
    assert!((WAIT..WAIT * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(client.disconnected().is_some());
    // Once there is no stream, there is nobody to ask.
    client.network_changed(WAIT).await.unwrap();
    assert!(server.disconnected().is_none() && client.closed().now_or_never().is_none());
}

/// What comes is a sign of life, for as long as it comes, even if the answer is far behind it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_has_much_to_say_is_not_silent() {
    let ([config, _], client_config) = resumable();
    let (near, left) = tokio::io::duplex(64 * 1024);
    let (right, far) = tokio::io::duplex(64 * 1024);
    let slow = tokio::sync::watch::Sender::new(false);
    let ((mut left_in, mut left_out), (mut right_in, mut right_out)) =
        (tokio::io::split(left), tokio::io::split(right));
    tokio::spawn(async move { tokio::io::copy(&mut left_in, &mut right_out).await });
    let is_slow = slow.subscribe();
    tokio::spawn(async move {
        let mut buffer = vec![0; 400];
        while let Ok(n @ 1..) = right_in.read(&mut buffer).await {
            if *is_slow.borrow() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            left_out.write_all(&buffer[..n]).await.unwrap();
        }
    });
    let accepted = tokio::spawn(server::accept(far, config));
    let client = client::connect(near, client_config).await.unwrap();
    let server = accepted.await.unwrap().unwrap();
    client.reconnect_enabled().await.unwrap();

    let mut incoming = server.incoming();
    let accepted = async {
        let Some(Incoming::Channel(offered)) = incoming.next().await else { panic!("no channel") };
        offered.accept().unwrap()
    };
    let (channel, mut flood) = tokio::join!(client.open_channel("flood"), accepted);
    slow.send_replace(true);
    tokio::spawn(async move { flood.write_all(&vec![7; 200_000]).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    client.network_changed(WAIT).await.unwrap();
    assert!(start.elapsed() > WAIT, "{:?}", start.elapsed());
    assert!(client.disconnected().is_none());
    drop(channel);
}

#[tokio::test(start_paused = true)]
async fn on_news_of_the_network_a_client_tries_at_once() {
    let dials = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let ([config, _], _) = resumable();
    let start = Instant::now();
    let reconnect = {
        let (dials, config) = (Arc::clone(&dials), Arc::clone(&config));
        client::Reconnect::new(move |attempt| {
            let number = dials.lock().len();
            dials.lock().push((start.elapsed(), attempt));
            let config = Arc::clone(&config);
            async move {
                match number {
                    0 => Err(std::io::Error::from(std::io::ErrorKind::NetworkUnreachable).into()),
                    // On its way through a network that is left.
                    1 => std::future::pending().await,
                    _ => {
                        let (near, far) = tokio::io::duplex(64 * 1024);
                        tokio::spawn(server::accept(far, config));
                        Ok(near)
                    }
                }
            }
        })
    };
    let hour = Duration::from_secs(3600);
    let reconnect =
        reconnect.first_delay(hour * 1000).max_delay(hour * 1000).attempt_timeout(hour).attempts(3);
    let (near, far, link) = wire();
    let accepted = tokio::spawn(server::accept(far, Arc::clone(&config)));
    let client = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .reconnect(reconnect)
        .build()
        .unwrap();
    let client = client::connect(near, client).await.unwrap();
    let _server = accepted.await.unwrap().unwrap();
    client.reconnect_enabled().await.unwrap();
    let mut events = client.events();
    link.abort();
    let mut announced = async |wanted| loop {
        match events.next().await.unwrap() {
            SessionEvent::Reconnecting { attempt, .. } => return assert_eq!(attempt, wanted),
            SessionEvent::Disconnected(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let dialled = async |count| {
        let dialled = async {
            while dials.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, dialled).await.unwrap_or_else(|_| panic!("{count}"));
    };
    for number in 1..=2 {
        announced(number).await;
        client.network_changed(WAIT).await.unwrap();
        dialled(usize::try_from(number).unwrap()).await;
    }
    // The second attempt is under way; what is made instead is the second again.
    client.network_changed(WAIT).await.unwrap();
    announced(2).await;
    dialled(3).await;
    while !matches!(events.next().await.unwrap(), SessionEvent::Reconnected) {}
    let dials = dials.lock().clone();
    assert_eq!(dials.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 2]);
    assert!(start.elapsed() < Duration::from_secs(60), "it waited: {dials:?}");
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
