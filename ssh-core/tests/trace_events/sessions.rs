//! A session's life, its channels and requests, and what the peer asks.

use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::session::OpenFailureReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::raw::{Raw, message, string};
use super::support::{Sides, sessions};
use super::{E, has, listen, place, told};

/// A session with a channel, a refused one, refused requests, data, and an end.
async fn live(trace_channel_data: bool) {
    let mut limits = Limits::default();
    limits.trace_channel_data = trace_channel_data;
    let (client, server) = sessions(&Sides { limits, ..Sides::default() }).await;
    let serving = tokio::spawn(async move {
        let mut channel = server.next_channel(None).await.unwrap().accept().unwrap();
        let request = channel.next_request().await.unwrap();
        channel.answer(&request, false).unwrap();
        channel.write_all(b"data").await.unwrap();
        let refused = server.next_channel(None).await.unwrap();
        refused.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "no");
        // A request that nobody knows.
        drop(server.incoming().next().await);
        channel.close().unwrap();
        channel.closed().await;
        server
    });
    let mut channel = client.open_channel("session").await.unwrap();
    assert!(!channel.request("x", &[]).await.unwrap());
    let mut data = [0; 4];
    channel.read_exact(&mut data).await.unwrap();
    assert!(client.open_channel("session").await.is_err());
    assert_eq!(client.request("y", &[]).await.unwrap(), None);
    channel.close().unwrap();
    channel.closed().await;
    client.close();
    serving.await.unwrap().closed().await;
}

#[tokio::test]
async fn a_session_tells_its_life_in_numbers() {
    listen();
    live(false).await;
    let wanted = [
        E::SessionConnecting,
        E::ProtocolVersion,
        E::AlgorithmNegotiation,
        E::SessionEncrypted,
        E::SessionAuthenticating,
        E::SessionAuthenticated,
        E::ChannelOpened,
        E::ChannelOpenFailed,
        E::ChannelRequestFailed,
        E::SessionRequestFailed,
        E::ChannelEofReceived,
        E::ChannelClosed,
        E::SendingMessage,
        E::ReceivingMessage,
        E::SessionClosing,
    ];
    for event in wanted {
        assert!(has(event), "{event:?}");
    }
    assert!(!has(E::SendingChannelData) && !has(E::ReceivingChannelData));
    let order: Vec<usize> = wanted[..6].iter().map(|event| place(*event)).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn channel_data_is_told_of_when_asked_for() {
    listen();
    live(true).await;
    assert!(has(E::SendingChannelData) && has(E::ReceivingChannelData));
}

#[tokio::test]
async fn a_question_without_an_answer_is_told() {
    listen();
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(30));
    let (mut raw, server) = Raw::with_server(limits).await;
    let question = raw.next(80).await;
    assert!(question.windows(21).any(|name| name == b"keepalive@openssh.com"));
    assert!(!has(E::KeepAliveResponseNotReceived));
    told(E::KeepAliveResponseNotReceived).await;
    server.closed().await;
}

/// A peer may not know the question: to say so is as good a sign of life as any.
#[tokio::test]
async fn a_keepalive_that_is_refused_is_no_refused_request() {
    listen();
    let mut limits = Limits::default();
    limits.keepalive = Some(Duration::from_millis(30));
    let (mut raw, _server) = Raw::with_server(limits).await;
    raw.next(80).await;
    raw.send(&message(82, &[])).await;
    // Once this one is answered, that one has been looked at.
    raw.send(&message(80, &[&string(b"keepalive@openssh.com"), &[1]])).await;
    raw.next(82).await;
    assert!(!has(E::SessionRequestFailed));
}

#[tokio::test]
async fn a_question_of_the_peer_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    raw.send(&message(80, &[&string(b"keepalive@openssh.com"), &[1]])).await;
    assert_eq!(raw.next(82).await, [82]);
    assert!(has(E::KeepAliveRequestReceived));
}

/// Nobody pays for what nobody listens to: without security there are no keys to tell of.
#[tokio::test]
async fn without_keys_nothing_is_said_to_be_encrypted() {
    listen();
    let algorithms = Algorithms::insecure_without_any_security();
    let _sessions = sessions(&Sides { algorithms, ..Sides::default() }).await;
    assert!(has(E::SessionAuthenticated) && !has(E::SessionEncrypted));
}
