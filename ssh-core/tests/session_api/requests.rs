//! Requests and opens.

use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::config::Limits;
use ssh_core::error::ApiMisuse;
use ssh_core::session::OpenFailureReason;
use ssh_core::{Error, OpenError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::support::{Sides, sessions};
use super::{PATIENCE, by_hand, channels};

#[tokio::test]
async fn requests_past_the_queue_are_refused_and_counted() {
    let mut limits = Limits::default();
    limits.pending_requests = 2;
    let (mut raw, _session, channel, id) = by_hand(limits, 1000, 1000).await;
    for _ in 0..5 {
        raw.request(id, b"x", true, &[]).await;
    }
    let wait = async {
        while channel.metrics().dropped_requests < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap();
    for _ in 0..2 {
        let request = channel.next_request().await.unwrap();
        channel.answer(&request, true).unwrap();
    }
    // All five are answered, in their order.
    for number in [99, 99, 100, 100, 100] {
        assert_eq!(raw.receive().await[0], number);
    }
    assert_eq!(channel.metrics().dropped_requests, 3);
}

#[tokio::test]
async fn an_undecided_request_holds_no_data_up() {
    let (client, server) = sessions(&Sides::default()).await;
    let (near, mut far) = channels(&client, &server).await;
    let asked = near.request("slow", &[]);
    let undecided = async {
        let request = far.next_request().await.unwrap();
        far.write_all(b"meanwhile").await.unwrap();
        (request, far)
    };
    tokio::pin!(asked);
    let (request, far) = tokio::select! {
        undecided = undecided => undecided,
        _ = &mut asked => panic!("nobody has answered"),
    };
    let mut reader = near.reader();
    let mut read = [0; 9];
    timeout(PATIENCE, reader.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"meanwhile");
    far.answer(&request, true).unwrap();
    assert!(asked.await.unwrap());
    near.close().unwrap();
}

#[tokio::test]
async fn what_is_dropped_is_refused() {
    let (client, server) = sessions(&Sides::default()).await;
    let serve = async {
        let mut incoming = server.incoming();
        drop(incoming.next().await.unwrap());
        drop(incoming.next().await.unwrap());
    };
    let ask = async {
        assert_eq!(client.request("x", &[]).await.unwrap(), None);
        let refused = client.open_channel("x").await.unwrap_err();
        assert!(matches!(refused, OpenError::Refused(_)), "{refused}");
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_refused_open_says_reason_and_words() {
    let (client, server) = sessions(&Sides::default()).await;
    let refuse = async {
        let offer = server.next_channel(None).await.unwrap();
        offer.reject(OpenFailureReason::RESOURCE_SHORTAGE, "come back later");
    };
    let (refused, ()) = tokio::join!(client.open_channel("x"), refuse);
    let error = refused.unwrap_err();
    let OpenError::Refused(failure) = &error else { panic!("{error}") };
    assert_eq!(failure.reason, OpenFailureReason::RESOURCE_SHORTAGE);
    let text = error.to_string();
    assert!(text.contains("resource shortage") && text.contains("come back later"), "{text}");
    client.close();
    let error = client.open_channel("x").await.unwrap_err();
    assert!(matches!(error, OpenError::Session(Error::Closed)), "{error}");
}

/// Whoever asked for it has an answer, whatever was wrong with ours.
#[tokio::test]
async fn a_channel_that_cannot_be_confirmed_is_refused() {
    let (client, server) = sessions(&Sides::default()).await;
    let accepting = async {
        let offer = server.next_channel(None).await.unwrap();
        offer.accept_with(&[0; 40_000]).map(drop)
    };
    let run = async { tokio::join!(client.open_channel("x"), accepting) };
    let (opened, accepted) = timeout(PATIENCE, run).await.unwrap();
    assert!(matches!(accepted, Err(Error::ApiMisuse(ApiMisuse::TooLong))), "{accepted:?}");
    let Err(OpenError::Refused(failure)) = opened else { panic!("{opened:?}") };
    assert_eq!(failure.reason, OpenFailureReason::CONNECT_FAILED);
    let (_near, _far) = channels(&client, &server).await;
}
