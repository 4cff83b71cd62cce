//! Closing a channel.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::channel::ExitStatus;
use ssh_core::config::Limits;
use ssh_core::error::ApiMisuse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::support::raw::{message, string};
use super::support::{Sides, sessions};
use super::{PATIENCE, by_hand, channels};

#[tokio::test]
async fn a_close_is_eof_and_close_and_happens_once() {
    let (mut raw, session, channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    assert!(!channel.is_closed());
    channel.close().unwrap();
    assert!(channel.is_closed());
    channel.close().unwrap();
    // It waits for the peer's.
    assert!(timeout(Duration::from_millis(50), channel.closed()).await.is_err());
    raw.send(&message(97, &[&id.to_be_bytes()])).await;
    assert_eq!(timeout(PATIENCE, channel.closed()).await.unwrap(), None);
    drop(channel);
    session.close();
    let numbers = [raw.receive().await[0], raw.receive().await[0], raw.receive().await[0]];
    assert_eq!(numbers, [96, 97, 1]);
}

/// Dev Tunnels' TypeScript and C# peers do not answer a close.
#[tokio::test]
async fn after_our_own_close_nobody_waits_for_a_peer_that_says_nothing() {
    let (mut raw, _session, channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    let (mut reader, mut stderr) = (channel.reader(), channel.take_stderr());
    raw.request(id, b"early", false, &[]).await;
    let early = timeout(PATIENCE, channel.next_request()).await.unwrap().unwrap();
    assert_eq!(early.name, "early");
    let (mut data, mut errors) = ([0; 8], [0; 8]);
    let waiting = async {
        tokio::join!(
            channel.next_request(),
            channel.request("x", &[]),
            reader.read(&mut data),
            stderr.read(&mut errors),
        )
    };
    let closing = async {
        tokio::task::yield_now().await;
        channel.close().unwrap();
    };
    let both = async { tokio::join!(waiting, closing) };
    let ((request, answer, data, errors), ()) = timeout(PATIENCE, both).await.expect("somebody waits on");
    assert!(request.is_none() && answer.is_err() && data.is_err() && errors.is_err());
    // Nor does who asks afterwards.
    let late = async { (channel.next_request().await, stderr.read(&mut [0; 8]).await) };
    let (request, errors) = timeout(PATIENCE, late).await.expect("somebody waits");
    assert!(request.is_none() && errors.is_err());
    assert!(channel.request("x", &[]).await.is_err());
}

#[tokio::test]
async fn a_channel_that_is_dropped_closes_without_eof() {
    let (mut raw, _session, channel, _) = by_hand(Limits::default(), 1000, 1000).await;
    drop(channel);
    assert_eq!(raw.receive().await[0], 97);
}

#[tokio::test]
async fn a_status_and_a_signal_go_ahead_of_the_close() {
    let (mut raw, _session, channel, _) = by_hand(Limits::default(), 1000, 1000).await;
    channel.close_with_status(3).unwrap();
    let status = [&[0, 0, 0, 7], &string(b"exit-status")[..], &[0], &[0, 0, 0, 3]];
    assert_eq!(raw.receive().await, message(98, &status));
    assert_eq!([raw.receive().await[0], raw.receive().await[0]], [96, 97]);
    let (client, server) = sessions(&Sides::default()).await;
    let (near, far) = channels(&client, &server).await;
    near.close_with_signal("TERM", "told to").unwrap();
    let (name, message) = ("TERM".to_owned(), "told to".to_owned());
    assert_eq!(far.closed().await, Some(ExitStatus::Signal { name, message }));
}

#[tokio::test]
async fn a_signal_wants_no_answer() {
    let (mut raw, _session, channel, _) = by_hand(Limits::default(), 1000, 1000).await;
    channel.send_signal("INT").unwrap();
    let signal = [&[0, 0, 0, 7], &string(b"signal")[..], &[0], &string(b"INT")];
    assert_eq!(raw.receive().await, message(98, &signal));
}

#[tokio::test]
async fn a_closed_channel_takes_nothing() {
    let (client, server) = sessions(&Sides::default()).await;
    let (mut near, far) = channels(&client, &server).await;
    far.close().unwrap();
    near.closed().await;
    let closed = |error: &Error| matches!(error, Error::ApiMisuse(ApiMisuse::ChannelClosed));
    let error = near.write_all(b"x").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert!(closed(error.get_ref().unwrap().downcast_ref().unwrap()));
    assert!(closed(&near.request("x", &[]).await.unwrap_err()));
    assert!(closed(&near.send_eof().unwrap_err()));
    assert!(near.is_closed() && !client.is_closed());
}
