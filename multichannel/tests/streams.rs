//! Two ends over an in-memory stream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use multichannel::{Config, Error, MultiChannelStream, OpenError, OpenFailureReason, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn pair() -> (Arc<MultiChannelStream>, Arc<MultiChannelStream>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Arc::new(MultiChannelStream::client(near)), Arc::new(MultiChannelStream::server(far)))
}

#[tokio::test]
async fn each_waiter_gets_the_channels_of_its_type() {
    let (near, far) = pair();
    // More than could be told apart by a short list of wakers.
    let waiters: Vec<_> = (0..100)
        .map(|number| {
            let far = Arc::clone(&far);
            tokio::spawn(async move {
                let mut stream = far.accept_stream(Some(&format!("type {number}"))).await.unwrap();
                stream.write_u32(number).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
            })
        })
        .collect();
    for number in (0..100).rev() {
        let mut stream = near.open_stream(&format!("type {number}")).await.unwrap();
        assert_eq!(stream.read_u32().await.unwrap(), number);
    }
    for waiter in waiters {
        waiter.await.unwrap();
    }
}

#[tokio::test]
async fn a_waiter_that_gives_up_takes_nothing() {
    let (near, far) = pair();
    let (opened, waited) = tokio::join!(near.connect(), async {
        tokio::time::timeout(Duration::from_millis(20), far.accept_channel(None)).await
    });
    opened.unwrap();
    assert!(waited.is_err());
    let (opened, accepted) = tokio::join!(near.open_channel(""), far.accept_channel(Some("session")));
    opened.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_channel_can_be_refused() {
    let (near, far) = pair();
    let refusing = async {
        far.next_channel(None)
            .await
            .unwrap()
            .reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "not today");
    };
    let (opened, ()) = tokio::join!(near.open_channel("x"), refusing);
    let Err(OpenError::Refused(failure)) = opened else { panic!("{opened:?}") };
    assert_eq!(failure.text, "not today");
}

#[tokio::test]
async fn concurrent_connects_are_one() {
    let (near, far) = pair();
    let (a, b, c) = tokio::join!(near.connect(), near.connect(), far.connect());
    a.unwrap();
    b.unwrap();
    c.unwrap();
    near.connect().await.unwrap();
    assert!(!near.is_closed());
    assert!(near.session().unwrap().info().algorithms.is_none());
}

#[tokio::test]
async fn both_ends_hear_of_the_end() {
    let (near, far) = pair();
    let running = tokio::spawn({
        let far = Arc::clone(&far);
        async move { far.run_until_closed().await }
    });
    let waiting = tokio::spawn({
        let far = Arc::clone(&far);
        async move { far.accept_channel(Some("never")).await }
    });
    near.connect().await.unwrap();
    near.close();
    running.await.unwrap().unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(Error::Disconnected { .. })));
    assert!(near.is_closed() && far.is_closed());
    assert!(matches!(near.open_channel("").await, Err(OpenError::Session(Error::Closed))));
}

#[tokio::test]
async fn a_lost_stream_is_an_error() {
    let (near, far) = tokio::io::duplex(1024);
    let near = MultiChannelStream::client(near);
    drop(far);
    assert!(matches!(near.run_until_closed().await, Err(Error::Io(_))));
    assert!(near.is_closed());
}

#[tokio::test]
async fn closing_before_connecting_sends_nothing() {
    let (near, mut far) = tokio::io::duplex(1024);
    let near = MultiChannelStream::client(near);
    near.close();
    assert!(matches!(near.connect().await, Err(Error::Closed)));
    drop(near);
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
}

/// Whoever waits for the handshake is told, and neither end is left with a session that nobody can close.
#[tokio::test]
async fn closing_while_connecting_ends_both_ends() {
    let (near, far) = pair();
    let running = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.run_until_closed().await }
    });
    let connecting = tokio::spawn({
        let near = Arc::clone(&near);
        async move { near.connect().await }
    });
    tokio::task::yield_now().await;
    assert!(!near.is_closed());
    near.close();
    assert!(near.is_closed());
    let ends = async {
        let far = tokio::spawn(async move { far.run_until_closed().await });
        running.await.unwrap().unwrap();
        assert!(matches!(connecting.await.unwrap(), Err(Error::Closed)));
        // Whatever it saw of the handshake, it does not go on waiting.
        let _ = far.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(20), ends).await.expect("an end waits for ever");
    assert!(near.session().is_none());
}

/// The window is what bounds unread data, and it does not grow.
#[tokio::test]
async fn a_given_window_is_kept_to() {
    const WINDOW: u32 = 10_000;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let near = MultiChannelStream::client(near);
    let far = MultiChannelStream::new(far, Role::Server, &Config::default().channel_window(WINDOW));
    let (mut writer, mut reader) = {
        let (opened, accepted) = tokio::join!(near.open_stream(""), far.accept_stream(None));
        (opened.unwrap(), accepted.unwrap())
    };
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(200), writer.write(&[7; 4096])).await {
        sent += written.unwrap();
    }
    assert_eq!(sent, WINDOW as usize);
    let mut received = vec![0; sent];
    reader.read_exact(&mut received).await.unwrap();
    assert_eq!(received, vec![7; sent]);
    writer.write_all(&[8; 100]).await.unwrap();
    reader.read_exact(&mut received[..100]).await.unwrap();
    assert_eq!(received[..100], [8; 100]);
}
