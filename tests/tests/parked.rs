//! Sessions that wait for their clients, by the thousand, and those who would like to have them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{self, Credential};
use ssh_core::config::Algorithms;
use ssh_core::crypto::default_provider;
use ssh_core::error::ReconnectFailure;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{
    self, AuthAttempt, AuthDecision, AuthOffer, AuthStart, Authenticator, DetachedSessions, Method, Principal,
};
use ssh_core::session::Incoming;
use ssh_core::{Addresses, Error, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A server that knows where its clients come from.
#[derive(Clone)]
struct Server {
    config: Arc<server::Config>,
    sessions: DetachedSessions,
    handed_over: Arc<AtomicUsize>,
}

impl Server {
    fn new(key: SigningKey) -> Self {
        let sessions = DetachedSessions::default();
        let config = server::Config::builder(server::danger::AcceptEverybody).host_key(key);
        let config = config.detached_sessions(sessions.clone()).algorithms(quick()).build().unwrap();
        Self { config, sessions, handed_over: Arc::default() }
    }

    /// Serves an echo.
    fn accept(&self, stream: DuplexStream, source: Ipv4Addr) {
        let server = self.clone();
        let addresses = Addresses { peer: Some(SocketAddr::from((source, 5))), ..Addresses::default() };
        tokio::spawn(async move {
            match server::accept_from(stream, addresses, Arc::clone(&server.config)).await {
                Ok(session) => echo(session).await,
                Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {
                    server.handed_over.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        });
    }

    fn dial(&self, source: Ipv4Addr) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        self.accept(far, source);
        near
    }
}

/// Handshakes are not what is tested.
fn quick() -> Algorithms {
    Algorithms::default().with_kex("curve25519-sha256").unwrap()
}

fn host_key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

async fn echo(session: Session) {
    let mut incoming = session.incoming();
    while let Some(item) = incoming.next().await {
        if let Incoming::Channel(offer) = item {
            let channel = offer.accept().unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = channel.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    }
}

fn client(user: &str) -> Arc<client::Config> {
    client::Config::builder(user)
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("sesame"))
        .algorithms(quick())
        .offer_reconnect(Default::default())
        .build()
        .unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it took more than 30 s");
}

/// Logs in, and leaves without a word: the session waits.
async fn park(server: &Server, user: &str, source: Ipv4Addr) {
    let (login, driver) = client::connect_with_driver(server.dial(source), client(user)).unwrap();
    let driver = tokio::spawn(driver.run());
    let session = login.await.unwrap();
    until(|| session.is_reconnect_enabled()).await;
    driver.abort();
    let _ = driver.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_parked_sessions_are_as_many_as_are_allowed() {
    let server = Server::new(host_key());
    let many = futures::stream::iter(0..10_000_u32).for_each_concurrent(16, |number| {
        let server = server.clone();
        async move {
            park(&server, &format!("user {number}"), Ipv4Addr::from_bits(0x0a00_0000 + number)).await;
            assert!(server.sessions.waiting() <= 1024, "{} wait", server.sessions.waiting());
        }
    });
    tokio::time::timeout(Duration::from_secs(400), many).await.expect("parking takes too long");
    until(|| server.sessions.waiting() == 1024).await;
    // What was evicted is gone, not only out of a list.
    until(|| server.sessions.len() == 1024).await;
}

#[tokio::test]
async fn a_user_and_a_source_have_their_shares() {
    let server = Server::new(host_key());
    let source = |last: u8| Ipv4Addr::new(192, 0, 2, last);
    for number in 0..20 {
        park(&server, "ada", source(number)).await;
        until(|| server.sessions.waiting() == usize::from(number + 1).min(8)).await;
    }
    for number in 0..30_usize {
        park(&server, &format!("user {number}"), source(200)).await;
        until(|| server.sessions.waiting() == 8 + (number + 1).min(16)).await;
    }
    // The latest are those that stay, and others are not touched.
    until(|| server.sessions.len() == 24).await;
    park(&server, "bob", source(201)).await;
    until(|| server.sessions.waiting() == 25).await;
}

async fn resume(session: &Session, server: &Server, source: Ipv4Addr) -> Result<(), Error> {
    session.reconnect(server.dial(source)).await
}

/// A client whose stream can be taken away.
struct Cut {
    session: Session,
    wire: tokio::task::AbortHandle,
}

async fn connect(server: &Server, source: Ipv4Addr) -> Cut {
    let (near, mut left) = tokio::io::duplex(64 * 1024);
    let mut right = server.dial(source);
    let wire = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
    });
    let session = client::connect(near, client("eve")).await.unwrap();
    until(|| session.is_reconnect_enabled()).await;
    Cut { session, wire: wire.abort_handle() }
}

#[tokio::test]
async fn ten_wrong_tokens_a_minute_are_all_that_a_source_has() {
    let key = default_provider().signatures.generate(KeyKind::Ed25519, 0).unwrap();
    let key = || SigningKey::new(&key, default_provider()).unwrap();
    // Both are the same host, and only one has the sessions.
    let (one, other) = (Server::new(key()), Server::new(key()));
    let (bad, good) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let mut mine = Vec::new();
    for source in [bad, good] {
        let cut = connect(&other, source).await;
        cut.wire.abort();
        until(|| cut.session.disconnected().is_some()).await;
        mine.push((cut, source));
    }
    for number in 0..10 {
        let stranger = connect(&one, bad).await;
        stranger.wire.abort();
        until(|| stranger.session.disconnected().is_some()).await;
        let asked = resume(&stranger.session, &other, bad).await;
        assert!(
            matches!(asked, Err(Error::Reconnect(ReconnectFailure::SessionNotFound))),
            "{number}: {asked:?}"
        );
    }
    // Even what is its own it does not get any more; nobody else is touched.
    for (cut, source) in mine {
        let resumed = resume(&cut.session, &other, source).await;
        assert_eq!(resumed.is_ok(), source == good, "{source}: {resumed:?}");
    }
}

/// What the client said on the connection that it has given up arrives while it comes back on another: the server has to
/// stop reading the one before it answers on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_connections_are_fed_at_once_and_the_bytes_are_the_same() {
    const ROUNDS: usize = 1000;
    const PIECE: usize = 3000;
    /// What is held back is let go when nothing has come for so long.
    const PAUSE: Duration = Duration::from_millis(5);
    let server = Server::new(host_key());
    let source = Ipv4Addr::LOCALHOST;
    let dial = |delay: usize| {
        let (near, left) = tokio::io::duplex(64 * 1024);
        let right = server.dial(source);
        let (mut from_client, mut to_client) = tokio::io::split(left);
        let (mut from_server, mut to_server) = tokio::io::split(right);
        let give_up = Arc::new(tokio::sync::Notify::new());
        let given_up = Arc::clone(&give_up);
        tokio::spawn(async move {
            let back = tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
            let (mut rest, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
            // Only between two writes is it given up: half a write that is repeated would be another stream.
            loop {
                let read = tokio::select! {
                    () = given_up.notified() => break,
                    read = tokio::time::timeout(PAUSE, from_client.read(&mut buffer)) => read,
                };
                let now = match read {
                    Ok(Ok(n @ 1..)) => {
                        rest.extend_from_slice(&buffer[..n]);
                        // A part is always still on its way, as long as there is more behind it.
                        rest.len() - rest.len() / 3
                    }
                    Ok(_) => break,
                    Err(_) => rest.len(),
                };
                if to_server.write_all(&rest[..now]).await.is_err() {
                    return;
                }
                rest.drain(..now);
                let _ = to_server.flush().await;
            }
            // The client's side is gone, the server's is not.
            back.abort();
            drop(from_client);
            for piece in rest.chunks(50 + delay) {
                if to_server.write_all(piece).await.is_err() {
                    return;
                }
                for _ in 0..delay {
                    tokio::task::yield_now().await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        });
        (near, give_up)
    };
    let (stream, mut give_up) = dial(0);
    let session = client::connect(stream, client("ada")).await.unwrap();
    until(|| session.is_reconnect_enabled()).await;
    let channel = session.open_channel("session").await.unwrap();
    let (mut reader, mut writer) = channel.split();
    // The server's part of the channel is there, too.
    writer.write_all(b"x").await.unwrap();
    assert_eq!(reader.read_u8().await.unwrap(), b'x');
    let pattern = |round: usize| -> Vec<u8> {
        (0..PIECE).map(|at| ((round * PIECE + at).wrapping_mul(0x9e37_79b9) >> 13) as u8).collect()
    };
    let reading = tokio::spawn(async move {
        let mut piece = vec![0; PIECE];
        for round in 0..ROUNDS {
            reader.read_exact(&mut piece).await.unwrap();
            assert!(piece == pattern(round), "other bytes in round {round}");
        }
    });
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for round in 0..ROUNDS {
        writer.write_all(&pattern(round)).await.unwrap();
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        give_up.notify_one();
        until(|| session.disconnected().is_some()).await;
        let (stream, next) = dial(round % 7);
        session.reconnect(stream).await.unwrap();
        give_up = next;
    }
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("all bytes come back").unwrap();
    assert_eq!(session.reconnections(), u32::try_from(ROUNDS).unwrap());
    until(|| server.handed_over.load(Ordering::Relaxed) == ROUNDS).await;
    // Of all those connections nothing is left but the last, and whoever read from the channel has gone.
    until(|| tasks() < before).await;
}

/// One user's login goes wrong inside the application.
#[derive(Debug)]
struct Fragile;

impl Authenticator for Fragile {
    fn begin<'a>(&'a self, start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        assert!(start.user != "early", "a bug of the application");
        std::future::ready(AuthOffer::methods([Method::Password])).boxed()
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        assert!(attempt.user != "late", "a bug of the application");
        std::future::ready(AuthDecision::Accept(Principal::new(attempt.user))).boxed()
    }
}

#[tokio::test]
async fn a_panic_of_the_application_ends_its_own_connection_only() {
    let config = server::Config::builder(Fragile).host_key(host_key()).algorithms(quick()).build().unwrap();
    let connect = |user: &'static str| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let serving = tokio::spawn(server::accept(far, Arc::clone(&config)));
        (client::connect(near, client(user)), serving)
    };
    let (first, serving) = connect("ada");
    let first = first.await.unwrap();
    let served = serving.await.unwrap().unwrap();
    tokio::spawn(echo(served));
    for user in ["early", "late"] {
        let (login, serving) = connect(user);
        let login =
            tokio::time::timeout(Duration::from_secs(10), login).await.expect("the client hears of it");
        assert!(login.is_err(), "{user} came in");
        assert!(serving.await.unwrap_err().is_panic(), "it is counted as what it is");
        let mut channel = first.open_channel("session").await.unwrap();
        channel.write_all(b"x").await.unwrap();
        assert_eq!(channel.read_u8().await.unwrap(), b'x');
    }
    let (login, serving) = connect("bob");
    login.await.unwrap();
    assert!(serving.await.unwrap().is_ok());
}
