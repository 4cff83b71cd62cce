//! How a session tells of its keepalives.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::config::Limits;
use ssh_core::session::SessionEvent;
use support::{Sides, sessions};

#[tokio::test]
async fn answered_keepalives_are_counted() {
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(30));
    limits.keepalive_misses = 1000;
    let (client, _server) = sessions(&Sides { limits, ..Sides::default() }).await;
    let events = client.events().filter_map(|event| async move {
        match event {
            SessionEvent::KeepAliveSucceeded { count } => Some(count),
            _ => None,
        }
    });
    let counts: Vec<u32> =
        tokio::time::timeout(Duration::from_secs(20), events.take(1).collect()).await.unwrap();
    assert!(counts.iter().all(|count| *count >= 1));
}

/// The peer falls silent, but its stream stays open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_counted_until_it_is_the_end() {
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(200));
    limits.keepalive_misses = 3;
    let sides = Sides { limits, ..Sides::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // The whole of the server's runtime stands still from then on.
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let server = support::server_config(&sides);
    runtime.spawn(async move {
        let _session = ssh_core::server::accept(far, server).await.unwrap();
        let _ = gone.await;
        let _ = stopped.recv();
    });
    let client = ssh_core::client::connect(near, support::client_config(&sides)).await.unwrap();
    let counts = client.events().filter_map(|event| async move {
        match event {
            SessionEvent::KeepAliveFailed { count } => Some(count),
            _ => None,
        }
    });
    go.send(()).unwrap();
    let counts: Vec<u32> = tokio::time::timeout(Duration::from_secs(20), counts.collect()).await.unwrap();
    assert_eq!(counts, [1, 2, 3]);
    drop(stop);
    runtime.shutdown_background();
}
