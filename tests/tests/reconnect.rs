//! Sessions through the driver whose streams are cut again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use ssh_core::client::{self, ConnectError, Credential, Reconnect};
use ssh_core::config::Algorithms;
use ssh_core::crypto::default_provider;
use ssh_core::error::{ApiMisuse, ReconnectFailure};
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{self, DetachedLimits, DetachedSessions, ResumeAttempt, ResumePolicy};
use ssh_core::session::{Incoming, SessionEvent};
use ssh_core::{Channel, Error, Session};
use tests::outcome::Outcome;
use tests::traffic::{Ending, exchange};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::AbortHandle;

/// A server, and a network to it that can be cut.
#[derive(Clone)]
struct World {
    config: Arc<server::Config>,
    sessions: DetachedSessions,
    accepted: Arc<Mutex<Vec<Session>>>,
    handed_over: Arc<AtomicUsize>,
    wire: Arc<Mutex<Option<AbortHandle>>>,
    down: Arc<AtomicBool>,
}

impl World {
    fn new(sessions: DetachedSessions) -> Self {
        Self::with_key(sessions, host_key())
    }

    fn with_key(sessions: DetachedSessions, key: SigningKey) -> Self {
        let config = server::Config::builder(server::danger::AcceptEverybody).host_key(key);
        Self {
            config: config.detached_sessions(sessions.clone()).build().unwrap(),
            sessions,
            accepted: Arc::default(),
            handed_over: Arc::default(),
            wire: Arc::default(),
            down: Arc::default(),
        }
    }

    /// A new connection, which takes the place of the one that [`cut`](Self::cut) would cut.
    fn dial(&self) -> std::io::Result<DuplexStream> {
        if self.down.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (near, mut left) = tokio::io::duplex(20_000);
        let (mut right, far) = tokio::io::duplex(20_000);
        let wire = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
        });
        *self.wire.lock() = Some(wire.abort_handle());
        let world = self.clone();
        tokio::spawn(async move {
            match server::accept(far, Arc::clone(&world.config)).await {
                Ok(session) => {
                    world.accepted.lock().push(session.clone());
                    echo(session).await;
                }
                Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {
                    world.handed_over.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        });
        Ok(near)
    }

    fn cut(&self) {
        if let Some(wire) = self.wire.lock().take() {
            wire.abort();
        }
    }

    fn policy(&self) -> Reconnect {
        let world = self.clone();
        Reconnect::new(move |_| {
            let stream = world.dial();
            async move { stream.map_err(ConnectError::from) }
        })
        .first_delay(Duration::from_millis(2))
        .max_delay(Duration::from_millis(20))
    }

    async fn connect(&self, policy: Reconnect) -> Session {
        let config = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .authenticate(Credential::password("sesame"))
            .reconnect(policy)
            .build()
            .unwrap();
        client::connect(self.dial().unwrap(), config).await.unwrap()
    }
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
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
                // Until the client has read everything.
                writer.closed().await;
            });
        }
    }
}

async fn until(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it took more than 20 s");
}

/// Sends `len` bytes through an echo, all of which have to come back.
async fn round_trip(session: Session, seed: u64, len: u64) -> Outcome {
    let channel = session.open_channel("session").await?;
    exchange(Box::new(channel), seed, len, Ending::HalfClose).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_survive_a_connection_that_is_cut_all_the_time() {
    const CUTS: usize = 40;
    let world = World::new(DetachedSessions::default());
    let session = world.connect(world.policy()).await;
    let counted = tokio::spawn(count_events(session.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let cutter = tokio::spawn({
        let (world, done, session) = (world.clone(), Arc::clone(&done), session.clone());
        async move {
            let mut cuts = 0;
            while !done.load(Ordering::Relaxed) && cuts < CUTS {
                tokio::time::sleep(Duration::from_millis(3 + (cuts as u64 * 7) % 23)).await;
                let before = session.reconnections();
                world.cut();
                cuts += 1;
                if cuts.is_multiple_of(3) {
                    // A busy machine may need longer for a handshake than the cuts leave it.
                    until(|| session.reconnections() > before).await;
                }
                if cuts.is_multiple_of(5) {
                    let _ = session.rekey();
                }
            }
            cuts
        }
    });
    let trips = (0..6).map(|seed| tokio::spawn(round_trip(session.clone(), seed, 3_000_000)));
    let all = tokio::time::timeout(Duration::from_secs(120), futures::future::join_all(trips)).await;
    done.store(true, Ordering::Relaxed);
    for trip in all.expect("it took more than two minutes") {
        trip.unwrap().unwrap();
    }
    let cuts = cutter.await.unwrap();
    assert!(cuts > 5, "only {cuts} cuts: the transfer was too fast to prove anything");
    until(|| session.disconnected().is_none()).await;
    assert!(session.reconnections() > 3, "{}", session.reconnections());
    assert_eq!(world.accepted.lock().len(), 1, "every other connection was handed over");
    session.close();
    let seen = tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the end").unwrap();
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
    until(|| world.sessions.is_empty()).await;
}

/// How often a session was lost, tried for and found, until it is over.
async fn count_events(session: Session) -> [usize; 3] {
    let (mut events, mut seen) = (session.events(), [0; 3]);
    drop(session);
    while let Some(event) = events.next().await {
        seen[match event {
            SessionEvent::Disconnected(_) => 0,
            SessionEvent::Reconnecting { .. } => 1,
            SessionEvent::Reconnected => 2,
            SessionEvent::KeepAliveSucceeded { .. }
            | SessionEvent::KeepAliveFailed { .. }
            | SessionEvent::Progress(_)
            | SessionEvent::ReconnectEnabled => continue,
            other => panic!("{other:?}"),
        }] += 1;
    }
    seen
}

#[tokio::test]
async fn an_application_can_bring_the_stream_itself() {
    let world = World::new(DetachedSessions::default());
    let config = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("sesame"))
        .offer_reconnect(Default::default())
        .build()
        .unwrap();
    let session = client::connect(world.dial().unwrap(), config).await.unwrap();
    until(|| session.is_reconnect_enabled()).await;
    let mut channel = session.open_channel("session").await.unwrap();
    channel.write_all(b"before").await.unwrap();
    let mut read = [0; 6];
    channel.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"before");
    let wire = world.wire.lock().take();
    let early = session.reconnect(world.dial().unwrap()).await.unwrap_err();
    *world.wire.lock() = wire;
    assert!(matches!(early, Error::Reconnect(ReconnectFailure::NotResumable)), "{early}");
    for _ in 0..3 {
        let before = session.metrics();
        world.cut_all(&session).await;
        channel.write_all(b"during").await.unwrap();
        session.reconnect(world.dial().unwrap()).await.unwrap();
        channel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"during");
        // The counts go on where those of the lost stream ended.
        let after = session.metrics();
        assert!(after.bytes_sent > before.bytes_sent && after.bytes_received > before.bytes_received);
        assert!(
            after.messages_sent > before.messages_sent && after.messages_received > before.messages_received
        );
        assert_eq!(after.reconnections, before.reconnections + 1);
    }
    assert_eq!(session.reconnections(), 3);
    assert!(session.latency().is_some_and(|latency| latency.samples > 0));
}

impl World {
    /// Cuts, and waits until the client knows.
    async fn cut_all(&self, session: &Session) {
        self.cut();
        until(|| session.disconnected().is_some()).await;
    }
}

#[tokio::test]
async fn what_cannot_get_better_ends_the_session_with_its_cause() {
    // The server no longer has it.
    let world = World::new(DetachedSessions::default());
    let session = world.connect(world.policy()).await;
    until(|| world.accepted.lock().len() == 1).await;
    world.down.store(true, Ordering::Relaxed);
    world.cut();
    until(|| world.sessions.waiting() == 1).await;
    world.accepted.lock()[0].close();
    until(|| world.sessions.is_empty()).await;
    world.down.store(false, Ordering::Relaxed);
    let end = tokio::time::timeout(Duration::from_secs(10), session.closed()).await.unwrap();
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::SessionNotFound)), "{end}");

    // Somebody else answers.
    let world = World::new(DetachedSessions::default());
    let other = World::with_key(world.sessions.clone(), host_key());
    let policy = Reconnect::new(move |_| {
        let stream = other.dial();
        async move { stream.map_err(ConnectError::from) }
    });
    let session = world.connect(policy).await;
    world.cut();
    let end = tokio::time::timeout(Duration::from_secs(10), session.closed()).await.unwrap();
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::DifferentHostKey)), "{end}");

    // The application has had enough.
    let world = World::new(DetachedSessions::default());
    let session = world.connect(world.policy().attempts(3)).await;
    world.down.store(true, Ordering::Relaxed);
    world.cut();
    let end = tokio::time::timeout(Duration::from_secs(10), session.closed()).await.unwrap();
    assert!(matches!(end, Error::Io(_)), "{end}");
}

#[derive(Debug)]
struct Revoked(Arc<AtomicBool>);

impl ResumePolicy for Revoked {
    fn may_resume<'a>(&'a self, attempt: ResumeAttempt<'a>) -> BoxFuture<'a, bool> {
        assert_eq!(attempt.user, "ada");
        assert_eq!(attempt.principal.map(|principal| &*principal.name), Some("ada"));
        std::future::ready(!self.0.load(Ordering::Relaxed)).boxed()
    }
}

#[tokio::test]
async fn a_user_who_was_revoked_meanwhile_does_not_come_back() {
    let revoked = Arc::new(AtomicBool::new(false));
    let policy = Revoked(Arc::clone(&revoked));
    let world = World::new(DetachedSessions::with_policy(DetachedLimits::default(), policy));
    let session = world.connect(world.policy()).await;
    let mut channel = session.open_channel("session").await.unwrap();
    world.cut();
    channel.write_all(b"x").await.unwrap();
    channel.read_u8().await.unwrap();
    revoked.store(true, Ordering::Relaxed);
    world.cut();
    let end = tokio::time::timeout(Duration::from_secs(10), session.closed()).await.unwrap();
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::SessionNotFound)), "{end}");
    until(|| world.sessions.is_empty()).await;
}

#[tokio::test]
async fn waiting_sessions_are_few_and_have_an_end() {
    let mut limits = DetachedLimits::default();
    limits.count = 2;
    // Long enough for three of them to be lost one after the other.
    limits.offer.lifetime = Duration::from_secs(8);
    let world = World::new(DetachedSessions::new(limits));
    let mut sessions = Vec::new();
    for n in 1..=3 {
        sessions.push(world.connect(world.policy().attempts(1)).await);
        until(|| world.accepted.lock().len() == n).await;
        world.down.store(true, Ordering::Relaxed);
        world.cut();
        until(|| world.sessions.waiting() == n.min(2)).await;
        // Its one attempt must not find a server.
        tokio::time::timeout(Duration::from_secs(10), sessions[n - 1].closed()).await.expect("an end");
        world.down.store(false, Ordering::Relaxed);
    }
    let first = world.accepted.lock()[0].clone();
    let end = tokio::time::timeout(Duration::from_secs(10), first.closed()).await.expect("evicted");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Evicted)), "{end}");
    let third = world.accepted.lock()[2].clone();
    let end = tokio::time::timeout(Duration::from_secs(30), third.closed()).await.expect("expired");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Expired)), "{end}");
    until(|| world.sessions.is_empty()).await;
}

/// A channel from the server, whose writes stay with it once the client has gone.
async fn channel_to(session: &Session, server: &Session) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(server.open_channel("session"), session.accept_channel(None));
    (opened.unwrap(), accepted.unwrap())
}

#[tokio::test]
async fn what_waiting_sessions_hold_has_an_end() {
    const HELD: usize = 600 * 1024;
    let mut limits = DetachedLimits::default();
    limits.bytes = HELD + 200 * 1024;
    let world = World::new(DetachedSessions::new(limits));
    let lose = async |n: usize| {
        let client = world.connect(world.policy().attempts(1)).await;
        until(|| world.accepted.lock().len() == n).await;
        let server = world.accepted.lock()[n - 1].clone();
        let (channel, far) = channel_to(&client, &server).await;
        world.down.store(true, Ordering::Relaxed);
        world.cut();
        until(|| server.disconnected().is_some()).await;
        tokio::time::timeout(Duration::from_secs(10), client.closed()).await.expect("an end");
        world.down.store(false, Ordering::Relaxed);
        (server, channel, far)
    };
    let (first, mut to_first, _far) = lose(1).await;
    to_first.write_all(&vec![7; HELD]).await.unwrap();
    assert!(!first.is_closed() && world.sessions.waiting() == 1);
    // The second is welcome as long as it holds little; nobody joins any more when it holds much.
    let (second, mut to_second, _far) = lose(2).await;
    to_second.write_all(&vec![7; 100 * 1024]).await.unwrap();
    assert_eq!(world.sessions.waiting(), 2);
    to_second.write_all(&vec![7; 400 * 1024]).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(10), first.closed()).await.expect("evicted");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Evicted)), "{end}");
    assert!(!second.is_closed() && world.sessions.waiting() == 1);
    // One alone may not hold more either.
    let written = to_second.write_all(&vec![7; 500 * 1024]).await;
    let end = tokio::time::timeout(Duration::from_secs(10), second.closed()).await.expect("evicted");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Evicted)), "{end} {written:?}");
}

#[tokio::test]
async fn a_user_has_only_so_many_waiting_sessions() {
    let mut limits = DetachedLimits::default();
    limits.count_per_user = 1;
    let world = World::new(DetachedSessions::new(limits));
    for n in 1..=2 {
        let client = world.connect(world.policy().attempts(1)).await;
        until(|| world.accepted.lock().len() == n).await;
        world.down.store(true, Ordering::Relaxed);
        world.cut();
        tokio::time::timeout(Duration::from_secs(10), client.closed()).await.expect("an end");
        world.down.store(false, Ordering::Relaxed);
    }
    let first = world.accepted.lock()[0].clone();
    let end = tokio::time::timeout(Duration::from_secs(10), first.closed()).await.expect("evicted");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Evicted)), "{end}");
    assert!(!world.accepted.lock()[1].is_closed());
}

#[test]
fn sessions_without_keys_cannot_be_resumed() {
    let misuse = |error: Error| matches!(error, Error::ApiMisuse(ApiMisuse::ReconnectWithoutKeys));
    let client = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .algorithms(Algorithms::insecure_without_any_security())
        .offer_reconnect(Default::default());
    assert!(misuse(client.build().unwrap_err()));
    let server = server::Config::builder(server::danger::AcceptEverybody)
        .algorithms(Algorithms::insecure_without_any_security())
        .detached_sessions(DetachedSessions::default());
    assert!(misuse(server.build().unwrap_err()));
}
