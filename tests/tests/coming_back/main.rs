//! Ways back that cross with something else: a server that has not noticed the loss, a caller that has lost its patience, a
//! session that ends, or one that is passed on to another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod by_hand;
mod failures;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::error::ReconnectFailure;
use ssh_core::server::{DetachedLimits, DetachedSessions, ResumeAttempt, ResumePolicy};
use ssh_core::session::{ReconnectOffer, SessionEvent};
use ssh_core::{Error, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use world::{Deaf, Wire, World, lose, until};

const PATIENCE: Duration = Duration::from_secs(20);

/// A session that never was without a stream takes nobody's place among those that are.
#[tokio::test]
async fn a_session_that_is_taken_over_alive_makes_nobody_give_way() {
    let mut limits = DetachedLimits::default();
    limits.count = 1;
    let (world, mut accepted) = World::new(DetachedSessions::new(limits));
    let (_first, wire) = world.connect(ReconnectOffer::default()).await;
    let waits = accepted.recv().await.unwrap();
    wire.end.notify_one();
    until(|| world.sessions.waiting() == 1).await;
    let (second, mut wire) = world.connect(ReconnectOffer::default()).await;
    let alive = accepted.recv().await.unwrap();
    timeout(PATIENCE, alive.reconnect_enabled()).await.unwrap().unwrap();
    let mut events = alive.events();
    for round in 1..=20 {
        lose(&second, &wire).await;
        assert!(alive.disconnected().is_none(), "the server believes in it");
        let (stream, next) = world.dial();
        second.reconnect(stream).await.unwrap();
        wire = next;
        assert_eq!(second.reconnections(), round);
        for lost in [true, false] {
            let next = async {
                // That it may be lost again is said of each stream.
                while let Some(event) = events.next().await {
                    if !matches!(event, SessionEvent::ReconnectEnabled) {
                        return Some(event);
                    }
                }
                None
            };
            let event = timeout(PATIENCE, next).await.unwrap();
            assert_eq!(matches!(event, Some(SessionEvent::Disconnected(_))), lost, "{event:?}");
            assert_eq!(matches!(event, Some(SessionEvent::Reconnected)), !lost, "{event:?}");
        }
    }
    assert!(!waits.is_closed(), "{:?}", waits.closed().now_or_never());
    assert_eq!(world.sessions.waiting(), 1);
    assert!(world.sessions.end_oldest() && waits.is_closed() && !alive.is_closed());
    assert!(!world.sessions.end_oldest());
}

/// What came for an application that does not read it is held like what waits for the peer.
#[tokio::test]
async fn what_was_not_read_is_a_part_of_what_a_waiting_session_holds() {
    const UNREAD: usize = 400 * 1024;
    let mut limits = DetachedLimits::default();
    limits.bytes = UNREAD / 2;
    let (world, mut accepted) = World::new(DetachedSessions::new(limits));
    let (session, wire) = world.connect(ReconnectOffer::default()).await;
    let server = accepted.recv().await.unwrap();
    let (opened, far) = tokio::join!(session.open_channel("session"), server.accept_channel(None));
    let (mut near, far) = (opened.unwrap(), far.unwrap());
    near.write_all(&vec![7; UNREAD]).await.unwrap();
    until(|| far.metrics().bytes_received == UNREAD as u64).await;
    wire.end.notify_one();
    let end = timeout(PATIENCE, server.closed()).await.expect("evicted");
    assert!(matches!(end, Error::Reconnect(ReconnectFailure::Evicted)), "{end}");
    until(|| world.sessions.is_empty()).await;
}

/// Thinks for ever as long as it is told to, and says that it was asked.
#[derive(Debug)]
struct Thinks(Arc<watch::Sender<bool>>, Arc<Notify>);

impl ResumePolicy for Thinks {
    fn may_resume<'a>(&'a self, _: ResumeAttempt<'a>) -> BoxFuture<'a, bool> {
        let mut thinks = self.0.subscribe();
        self.1.notify_one();
        async move { thinks.wait_for(|thinks| !*thinks).await.is_ok() }.boxed()
    }
}

/// Whoever gives up waiting for the server's answer may ask again where both sides count messages. Elsewhere nobody can tell
/// whether the server has gone on, and to guess might lose bytes or double them.
#[tokio::test]
async fn a_way_back_that_was_given_up_is_tried_again_or_is_the_end() {
    for count in [true, false] {
        let (thinks, asked) = (Arc::new(watch::Sender::new(false)), Arc::new(Notify::new()));
        let mut limits = DetachedLimits::default();
        limits.offer.count = count;
        let policy = Thinks(Arc::clone(&thinks), Arc::clone(&asked));
        let sessions = DetachedSessions::with_policy(limits.clone(), policy);
        let (world, mut accepted) = World::new(sessions);
        let (session, wire) = world.connect(limits.offer).await;
        let server = accepted.recv().await.unwrap();
        let (opened, far) = tokio::join!(session.open_channel("session"), server.accept_channel(None));
        let (mut near, mut far) = (opened.unwrap(), far.unwrap());
        near.write_all(b"before").await.unwrap();
        lose(&session, &wire).await;
        near.write_all(b"during").await.unwrap();

        // Nobody has been asked yet.
        let (silent, _held) = tokio::io::duplex(64 * 1024);
        assert!(timeout(Duration::from_millis(50), session.reconnect(silent)).await.is_err());
        assert!(!session.is_closed());
        // Somebody has.
        thinks.send_replace(true);
        let dropped = async {
            tokio::select! {
                back = session.reconnect(world.dial().0) => panic!("{back:?}"),
                () = asked.notified() => {}
            }
        };
        timeout(PATIENCE, dropped).await.unwrap();
        thinks.send_replace(false);
        if !count {
            let end = timeout(PATIENCE, session.closed()).await.unwrap();
            assert!(matches!(end, Error::Reconnect(ReconnectFailure::Unanswered)), "{end}");
            assert!(near.write_all(b"after").await.is_err());
            continue;
        }
        session.reconnect(world.dial().0).await.unwrap();
        let mut read = [0; 12];
        timeout(PATIENCE, far.read_exact(&mut read)).await.unwrap().unwrap();
        assert_eq!(&read, b"beforeduring");
    }
}

/// A session whose client is deaf on the connection that it comes back by, once the server has gone on there.
async fn deaf_way_back(
    world: &World,
    session: &Session,
    server: &Session,
) -> (tokio::task::JoinHandle<Result<(), Error>>, Wire) {
    let (stream, wire) = world.dial_with(Deaf::WhenKeysAreThere);
    let coming_back = tokio::spawn({
        let session = session.clone();
        async move { session.reconnect(stream).await }
    });
    let before = server.reconnections();
    until(|| server.reconnections() > before).await;
    (coming_back, wire)
}

/// The server ends a session while its next stream is still with the connection that brought it: the client hears of it.
#[tokio::test]
async fn a_session_that_ends_as_its_client_comes_back_says_so() {
    let (world, mut accepted) = World::new(DetachedSessions::default());
    let (session, wire) = world.connect(ReconnectOffer::default()).await;
    let server = accepted.recv().await.unwrap();
    lose(&session, &wire).await;
    let (coming_back, wire) = deaf_way_back(&world, &session, &server).await;
    server.close();
    tokio::time::sleep(Duration::from_millis(20)).await;
    wire.deaf.send_replace(false);
    let _ = timeout(PATIENCE, coming_back).await.expect("an answer").unwrap();
    let end = timeout(PATIENCE, session.closed()).await.expect("the end");
    assert!(matches!(end, Error::Disconnected { .. }), "{end}");
}

/// A connection whose client is deaf is let go of when the client comes back by another.
#[tokio::test]
async fn a_stuck_way_back_is_let_go_of_when_there_is_another() {
    let (world, mut accepted) = World::new(DetachedSessions::default());
    let (session, wire) = world.connect(ReconnectOffer::default()).await;
    let server = accepted.recv().await.unwrap();
    lose(&session, &wire).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let (coming_back, wire) = deaf_way_back(&world, &session, &server).await;
        coming_back.abort();
        let _ = coming_back.await;
        stuck.push(wire);
    }
    session.reconnect(world.dial().0).await.unwrap();
    // A wire each, and nothing of the server's.
    until(|| tasks() <= before + stuck.len() + 2).await;
    server.close();
    timeout(PATIENCE, session.closed()).await.unwrap();
}

/// A session that is passed on to another loses nothing of it when its own stream is lost, again and again: neither data nor
/// requests nor their order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_outlives_the_streams_of_its_session() {
    const LENGTH: usize = 2_000_000;
    const REQUESTS: u32 = 200;
    /// So often it is cut at least.
    const RESUMED: u32 = 8;
    let (world, mut accepted) = World::new(DetachedSessions::default());
    let near = world.connect_for_good().await;
    let middle = accepted.recv().await.unwrap();
    let (other, mut others) = World::new(DetachedSessions::default());
    let far = other.connect_for_good().await;
    let other_middle = others.recv().await.unwrap();
    let pipe = tokio::spawn(async move { middle.pipe(&other_middle).await });
    let accepting = async {
        let offered = far.next_channel(None).await.unwrap();
        assert_eq!((offered.kind(), offered.fields()), ("x", &b"fields"[..]));
        offered.accept().unwrap()
    };
    let opening = async { tokio::join!(near.open_channel_with("x", b"fields"), accepting) };
    let (opened, mut there) = timeout(PATIENCE, opening).await.unwrap();
    let (mut here, _) = opened.unwrap();

    let done = Arc::new(AtomicUsize::new(0));
    let cutting = async {
        let mut cuts = 0_u64;
        while done.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(5 + (cuts * 7) % 23)).await;
            if cuts.is_multiple_of(2) { &world } else { &other }.end_last();
            cuts += 1;
        }
    };
    let sent: Vec<u8> = (0..LENGTH).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 11) as u8).collect();
    let (mut reader, mut writer) = (there.reader(), here.writer());
    let writing = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    };
    let reading = async {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert!(received == sent, "other bytes: {} of {LENGTH}", received.len());
        done.fetch_add(1, Ordering::Relaxed);
    };
    let resumed = || near.reconnections() + far.reconnections();
    let asking = async {
        let mut number = 0;
        while number < REQUESTS || resumed() < RESUMED {
            let answer = near.request("number", &number.to_be_bytes()).await.unwrap();
            assert_eq!(answer.as_deref(), Some(&number.to_be_bytes()[..]));
            number += 1;
        }
        done.fetch_add(1, Ordering::Relaxed);
    };
    let answering = async {
        let mut incoming = far.incoming();
        let mut number = 0_u32;
        while let Some(ssh_core::session::Incoming::Request(request)) = incoming.next().await {
            assert_eq!(request.fields(), number.to_be_bytes());
            let fields = request.fields().to_vec();
            request.accept(&fields);
            number += 1;
        }
        panic!("no request, but the end after {number}");
    };
    let all = async {
        tokio::select! {
            () = answering => {}
            _ = futures::future::join4(cutting, writing, reading, asking) => {}
        }
    };
    timeout(Duration::from_secs(100), all).await.expect("everything passes");
    there.write_all(b"and back").await.unwrap();
    there.close_with_status(7).unwrap();
    let mut back = Vec::new();
    timeout(PATIENCE, here.read_to_end(&mut back)).await.unwrap().unwrap();
    assert_eq!(back, b"and back");
    assert_eq!(here.closed().await, Some(ssh_core::channel::ExitStatus::Code(7)));
    far.close();
    timeout(PATIENCE, pipe).await.unwrap().unwrap();
    timeout(PATIENCE, near.closed()).await.unwrap();
}
