//! Streams that outlive what is below them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use securestream::client::Reconnect;
use securestream::ssh_core::session::ReconnectOffer;
use securestream::{ApiMisuse, Error, ReconnectFailure, SecureStream, StreamEvent};
use support::{World, exchange, host_key, in_time, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn reads_and_writes_wait_for_the_next_stream() {
    let (world, mut streams) = World::new();
    let mut near = world.connect().await;
    let mut far = streams.recv().await.unwrap();
    let (mut near_events, mut far_events) = (near.events(), far.events());
    let mut read = [0; 6];
    for round in 1..=3 {
        near.write_all(b"before").await.unwrap();
        world.cut();
        until(|| near.session().disconnected().is_some() && far.session().disconnected().is_some()).await;
        assert!(!near.is_closed() && !far.is_closed());
        // Nothing comes, and nothing fails.
        near.write_all(b"during").await.unwrap();
        far.write_all(b"answer").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), near.read(&mut read)).await.is_err());
        near.reconnect(world.dial()).await.unwrap();
        for expected in [b"before", b"during"] {
            in_time(far.read_exact(&mut read)).await.unwrap();
            assert_eq!(&read, expected);
        }
        in_time(near.read_exact(&mut read)).await.unwrap();
        assert_eq!(&read, b"answer");
        for events in [&mut near_events as &mut (dyn futures::Stream<Item = _> + Unpin), &mut far_events] {
            assert!(matches!(in_time(events.next()).await, Some(StreamEvent::Disconnected(Error::Io(_)))));
            assert!(matches!(in_time(events.next()).await, Some(StreamEvent::Reconnected)));
        }
        assert_eq!(near.session().reconnections(), round);
    }
    assert!(streams.recv().now_or_never().is_none(), "the server has one stream, not four");
    until(|| world.resumed.load(Ordering::Relaxed) == 3).await;
    near.close();
    for events in [&mut near_events as &mut (dyn futures::Stream<Item = _> + Unpin), &mut far_events] {
        assert!(matches!(in_time(events.next()).await, Some(StreamEvent::Closed(_))));
        assert!(in_time(events.next()).await.is_none());
    }
    until(|| world.sessions.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_stream_is_cut_all_the_time() {
    const LENGTH: usize = 12_000_000;
    const CUTS: u64 = 60;
    const WINDOW: usize = 256 * 1024;
    let (world, mut streams) = World::new();
    let mut offer = ReconnectOffer::default();
    offer.window = WINDOW;
    let config = world.builder().reconnect(dialling(&world).offer(offer)).build().unwrap();
    let near = SecureStream::client(world.dial(), config).await.unwrap();
    let far = streams.recv().await.unwrap();
    let session = near.session().clone();
    let done = Arc::new(AtomicBool::new(false));
    let cutter = tokio::spawn({
        let (world, done, session) = (world.clone(), Arc::clone(&done), session.clone());
        async move {
            let mut cuts = 0_u64;
            while !done.load(Ordering::Relaxed) && cuts < CUTS {
                // Often in the middle of reconnecting, but not always.
                if cuts.is_multiple_of(3) {
                    until(|| session.disconnected().is_none()).await;
                }
                tokio::time::sleep(Duration::from_millis(5 + (cuts * 17) % 61)).await;
                world.cut();
                cuts += 1;
                if cuts.is_multiple_of(4) {
                    let _ = session.rekey();
                }
            }
            cuts
        }
    });
    in_time(exchange(near, far, LENGTH)).await;
    done.store(true, Ordering::Relaxed);
    let cuts = cutter.await.unwrap();
    assert!(cuts > 5 && session.reconnections() > 3, "{cuts} cuts, {} reconnects", session.reconnections());
}

#[tokio::test]
async fn writers_wait_when_nobody_acknowledges() {
    const WINDOW: usize = 64 * 1024;
    let (world, mut streams) = World::new();
    let mut offer = ReconnectOffer::default();
    offer.window = WINDOW;
    let config = world.builder().offer_reconnect(offer).build().unwrap();
    let mut near = SecureStream::client(world.dial(), config).await.unwrap();
    let mut far = streams.recv().await.unwrap();
    until(|| near.session().is_reconnect_enabled()).await;
    world.cut();
    until(|| near.session().disconnected().is_some()).await;
    let mut written = 0;
    let block = [9; 1000];
    while let Ok(n) = tokio::time::timeout(Duration::from_millis(50), near.write(&block)).await {
        written += n.unwrap();
        assert!(written <= 2 * WINDOW, "{written} bytes were taken without anybody to send them to");
    }
    assert!(written >= WINDOW / 4, "only {written} bytes");
    near.reconnect(world.dial()).await.unwrap();
    let mut read = vec![0; written];
    in_time(far.read_exact(&mut read)).await.unwrap();
    // What waited goes on, too.
    in_time(near.write_all(&block)).await.unwrap();
    in_time(far.read_exact(&mut read[..1000])).await.unwrap();
}

#[tokio::test]
async fn a_session_is_found_by_every_listener_that_shares_the_set() {
    let (world, mut streams) = World::new();
    let near = world.connect().await;
    let mut far = streams.recv().await.unwrap();
    // The same server in another process, so to say.
    let (mut other, mut others) = World::new();
    other.config = world.config.clone();
    world.cut();
    until(|| near.session().disconnected().is_some()).await;
    near.reconnect(other.dial()).await.unwrap();
    let (_, mut writer) = tokio::io::split(near);
    writer.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    in_time(far.read_exact(&mut read)).await.unwrap();
    assert!(others.recv().now_or_never().is_none());
}

#[tokio::test]
async fn another_server_is_refused() {
    let (world, mut streams) = World::new();
    let mut near = world.connect().await;
    let far = streams.recv().await.unwrap();
    let (other, _others) = World::sharing(world.sessions.clone(), host_key());
    world.cut();
    until(|| near.session().disconnected().is_some()).await;
    let error = near.reconnect(other.dial()).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::DifferentHostKey)), "{error}");
    // That will not get better.
    assert!(near.is_closed());
    assert!(in_time(near.read(&mut [0; 8])).await.is_err());
    drop(far);
    until(|| world.sessions.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_says_so() {
    let (world, mut streams) = World::new();
    let near = world.connect().await;
    let far = streams.recv().await.unwrap();
    world.cut();
    until(|| near.session().disconnected().is_some() && far.session().disconnected().is_some()).await;
    drop(far);
    until(|| world.sessions.is_empty()).await;
    let error = near.reconnect(world.dial()).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::SessionNotFound)), "{error}");
    assert!(near.is_closed());
}

#[tokio::test]
async fn only_clients_reconnect() {
    let (world, mut streams) = World::new();
    let near = world.connect().await;
    let far = streams.recv().await.unwrap();
    let early = near.reconnect(tokio::io::duplex(64).0).await.unwrap_err();
    assert!(matches!(early, Error::Reconnect(ReconnectFailure::NotResumable)), "{early}");
    world.cut();
    until(|| far.session().disconnected().is_some()).await;
    let error = far.reconnect(tokio::io::duplex(64).0).await.unwrap_err();
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::ReconnectByServer)), "{error}");
}

#[tokio::test]
async fn a_stream_that_fails_can_be_replaced_by_another() {
    let (world, mut streams) = World::new();
    let mut near = world.connect().await;
    let mut far = streams.recv().await.unwrap();
    world.cut();
    until(|| near.session().disconnected().is_some()).await;
    for _ in 0..2 {
        // Nobody is there.
        let (gone, _) = tokio::io::duplex(64);
        let error = near.reconnect(gone).await.unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    }
    // Nobody answers, and the application loses its patience.
    let (silent, _held) = tokio::io::duplex(64 * 1024);
    assert!(tokio::time::timeout(Duration::from_millis(50), near.reconnect(silent)).await.is_err());
    near.reconnect(world.dial()).await.unwrap();
    near.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    in_time(far.read_exact(&mut read)).await.unwrap();
}

#[tokio::test]
async fn the_end_of_data_survives_a_cut() {
    let (world, mut streams) = World::new();
    let mut near = world.connect().await;
    let mut far = streams.recv().await.unwrap();
    world.cut();
    until(|| near.session().disconnected().is_some()).await;
    near.write_all(b"the last").await.unwrap();
    near.shutdown().await.unwrap();
    near.reconnect(world.dial()).await.unwrap();
    let mut said = String::new();
    in_time(far.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "the last");
    far.write_all(b"word").await.unwrap();
    drop(far);
    said.clear();
    in_time(near.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "word");
}

// With one thread the timer would only be looked at when the login is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_while_connecting_is_an_error_or_none_at_all() {
    let (mut connected, mut failed) = (0, 0);
    for delay in (0..60).step_by(2) {
        let (world, mut streams) = World::new();
        let config = world.builder().reconnect(dialling(&world)).build().unwrap();
        let stream = world.dial();
        if delay == 0 {
            world.cut();
        }
        let connecting = tokio::spawn(SecureStream::client(stream, config));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        world.cut();
        let Ok(mut near) = in_time(connecting).await.unwrap() else {
            failed += 1;
            continue;
        };
        connected += 1;
        let mut far = in_time(streams.recv()).await.unwrap();
        near.write_all(b"hello").await.unwrap();
        let mut read = [0; 5];
        in_time(far.read_exact(&mut read)).await.unwrap();
    }
    // How many more there are depends on the machine.
    assert!(failed > 0, "nobody noticed that there was no connection at all");
    eprintln!("{connected} connected, {failed} did not");
}

/// Comes back at once.
fn dialling(world: &World) -> Reconnect {
    let dialler = world.clone();
    let policy = Reconnect::new(move |_| {
        let stream = dialler.dial();
        async move { Ok(stream) }
    });
    policy.first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(10))
}
