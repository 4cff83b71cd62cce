//! The end of a session.

use futures::{FutureExt as _, StreamExt as _};
use ssh_core::config::Limits;
use ssh_core::error::DisconnectReason;
use ssh_core::session::SessionEvent;
use ssh_core::{Error, OpenError, client, server};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::support::raw::{Raw, string};
use super::support::{self, Sides, sessions};
use super::{PATIENCE, by_hand, channels};

#[tokio::test]
async fn every_call_after_the_end_fails_at_once() {
    let (client, server) = sessions(&Sides::default()).await;
    let (mut near, _far) = channels(&client, &server).await;
    client.close();
    assert!(client.is_closed());
    let closed = |error: Error| matches!(error, Error::Closed);
    let at_once = "it does not wait";
    assert!(closed(client.request("x", &[]).now_or_never().expect(at_once).unwrap_err()));
    assert!(closed(client.notify("x", &[]).unwrap_err()));
    assert!(closed(client.rekey().unwrap_err()));
    assert!(closed(client.send_message(&[200]).unwrap_err()));
    assert!(closed(client.next_channel(None).now_or_never().expect(at_once).unwrap_err()));
    assert!(closed(client.closed().now_or_never().expect(at_once)));
    let opened = client.open_channel("x").now_or_never().expect(at_once).unwrap_err();
    assert!(matches!(opened, OpenError::Session(Error::Closed)));
    assert!(client.incoming().next().now_or_never().expect(at_once).is_none());
    assert!(closed(near.request("x", &[]).now_or_never().expect(at_once).unwrap_err()));
    assert!(closed(near.close().unwrap_err()));
    assert!(near.write(b"x").now_or_never().expect(at_once).is_err());
}

#[tokio::test]
async fn a_close_says_by_application_and_a_disconnect_what_it_is_told() {
    let (mut raw, session) = Raw::with_server(Limits::default()).await;
    session.close();
    let bye = raw.next(1).await;
    assert_eq!(bye[1..5], 11_u32.to_be_bytes());
    let (mut raw, session, mut channel, _) = by_hand(Limits::default(), 1000, 1000).await;
    session.disconnect(DisconnectReason::TOO_MANY_CONNECTIONS, "enough");
    session.close();
    let bye = raw.next(1).await;
    assert_eq!(bye[1..5], DisconnectReason::TOO_MANY_CONNECTIONS.0.to_be_bytes());
    assert_eq!(bye[5..15], string(b"enough"));
    // The first end counts, for the session and for its channels.
    let told = |error: &Error| matches!(error, Error::ClosedWith { text, .. } if &**text == "enough");
    assert!(told(&session.closed().await));
    let error = channel.write_all(b"x").await.unwrap_err();
    assert!(told(error.get_ref().unwrap().downcast_ref().unwrap()), "{error}");
}

#[tokio::test]
async fn everybody_who_waits_hears_why_the_peer_has_left() {
    let (client, server) = sessions(&Sides::default()).await;
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.closed().await })
        })
        .collect();
    tokio::task::yield_now().await;
    server.disconnect(DisconnectReason::PROTOCOL_ERROR, "nonsense");
    for waiting in waiting {
        let error = waiting.await.unwrap();
        let Error::Disconnected { reason, text } = &error else { panic!("{error}") };
        assert_eq!((*reason, &**text), (DisconnectReason::PROTOCOL_ERROR, "nonsense"));
        assert!(error.to_string().contains("nonsense"), "{error}");
    }
}

#[tokio::test]
async fn without_an_offer_a_lost_stream_is_the_end() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(server::accept(far, support::server_config(&Sides::default())));
    let (stream, mut wire) = tokio::io::duplex(64 * 1024);
    let mut near = near;
    let link = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire, &mut near).await });
    let client = client::connect(stream, support::client_config(&Sides::default())).await.unwrap();
    let _server = accepted.await.unwrap().unwrap();
    let events = client.events();
    link.abort();
    let error = timeout(PATIENCE, client.closed()).await.unwrap();
    assert!(matches!(error, Error::Io(_)), "{error}");
    let told: Vec<_> = events.collect().await;
    assert!(!told.iter().any(|event| matches!(event, SessionEvent::Disconnected(_))), "{told:?}");
}
