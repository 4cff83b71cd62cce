//! Channels that are opened together with their first request.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use futures::StreamExt as _;
use ssh_core::config::{Algorithms, Extensions};
use ssh_core::session::{Incoming, OpenFailureReason};
use ssh_core::{OpenError, Session};
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Runs commands: `refuse` is refused, whatever else is told back.
async fn serve(session: Session) {
    while let Ok(offer) = session.next_channel(None).await {
        if offer.kind() == "refuse" {
            offer.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "not here");
            continue;
        }
        let mut channel = offer.accept().unwrap();
        tokio::spawn(async move {
            while let Some(request) = channel.next_request().await {
                if request.name == "forget" {
                    return;
                }
                let accepted = request.name != "refuse";
                channel.answer(&request, accepted).unwrap();
                if accepted {
                    channel.write_all(&request.fields).await.unwrap();
                    channel.shutdown().await.unwrap();
                }
            }
        });
    }
}

fn without() -> Extensions {
    let mut extensions = Extensions::default();
    extensions.open_channel_request = false;
    extensions
}

fn all_sides() -> Vec<Sides> {
    let both = Sides::default();
    vec![
        both.clone(),
        Sides { client_extensions: without(), ..both.clone() },
        Sides { server_extensions: without(), ..both.clone() },
        Sides { client_extensions: without(), server_extensions: without(), ..both.clone() },
        // No EXT_INFO: nobody knows, and it is tried.
        Sides { algorithms: Algorithms::insecure_without_any_security(), ..both.clone() },
        Sides {
            algorithms: Algorithms::insecure_without_any_security(),
            server_extensions: without(),
            ..both
        },
    ]
}

#[tokio::test]
async fn the_request_is_answered_whatever_the_peer_knows() {
    for sides in all_sides() {
        let (client, server) = sessions(&sides).await;
        tokio::spawn(serve(server));
        let mut channel =
            client.open_channel_and_request("session", b"", "exec", b"\0\0\0\x02ls").await.unwrap();
        let mut said = Vec::new();
        channel.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"\0\0\0\x02ls");

        let refused = client.open_channel_and_request("session", b"", "refuse", b"").await;
        assert!(matches!(refused, Err(OpenError::RequestDenied)), "{refused:?}");
        let refused = client.open_channel_and_request("refuse", b"", "exec", b"").await;
        let Err(OpenError::Refused(failure)) = refused else { panic!("{refused:?}") };
        assert_eq!(failure.text, "not here");
        // A channel that goes away without an answer leaves none outstanding.
        client.open_channel_and_request("session", b"", "forget", b"").await.unwrap_err();
        let reply = tokio::time::timeout(std::time::Duration::from_secs(5), async {
            let mut channel = client.open_channel_and_request("session", b"", "exec", b"x").await.unwrap();
            let mut said = Vec::new();
            channel.read_to_end(&mut said).await.unwrap();
            said
        });
        assert_eq!(reply.await.unwrap(), b"x");
    }
}

#[tokio::test]
async fn it_takes_one_round_trip_if_both_know_it() {
    for (sides, rides_along) in [
        (Sides::default(), true),
        (Sides { server_extensions: without(), ..Sides::default() }, false),
        (Sides { client_extensions: without(), ..Sides::default() }, false),
    ] {
        let (client, server) = sessions(&sides).await;
        // It refuses whatever the server asks.
        let mut asked = client.incoming();
        tokio::spawn(async move { while asked.next().await.is_some() {} });
        let opening = tokio::spawn(async move {
            let opened = client.open_channel_and_request("session", b"", "exec", b"").await;
            (client, opened)
        });
        // The channel is held undecided: whatever comes now was sent without waiting.
        let offer = server.next_channel(None).await.unwrap();
        server.request("ping", b"").await.unwrap();
        let channel = offer.accept().unwrap();
        let first = futures::poll!(std::pin::pin!(channel.next_request()));
        assert_eq!(first.is_ready(), rides_along);
        if !rides_along {
            opening.abort();
            continue;
        }
        let std::task::Poll::Ready(Some(request)) = first else { panic!("no request") };
        channel.answer(&request, true).unwrap();
        let (_client, opened) = opening.await.unwrap();
        opened.unwrap();
    }
}

#[tokio::test]
async fn extensions_are_told() {
    let (client, server) = sessions(&Sides::default()).await;
    // A request and its answer: whatever came before has been seen then.
    let (a, b) = tokio::join!(client.request("ping", b""), async {
        let Some(Incoming::Request(request)) = server.incoming().next().await else { panic!("no request") };
        request.refuse();
    });
    a.unwrap();
    let () = b;
    for session in [client, server] {
        let listed = session.peer_extensions().unwrap();
        let names: Vec<&str> = listed.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["server-sig-algs", "open-channel-request@microsoft.com", "can-change-port"]);
    }
}
