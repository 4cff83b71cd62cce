//! What the document says of sessions and channels, a rule a test; a peer by hand where the wire has to be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use ssh_core::channel::ExitStatus;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::{ApiMisuse, DisconnectReason, ReconnectFailure};
use ssh_core::metrics::{ContourCollector, SessionContour};
use ssh_core::server::DetachedSessions;
use ssh_core::session::{OpenFailureReason, SessionEvent};
use ssh_core::{Channel, Error, OpenError, Session, client, server};
use support::raw::{Raw, message, string};
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A channel that a peer by hand has opened; its number 7 stands on the wire.
async fn by_hand(limits: Limits, window: u32, packet: u32) -> (Raw, Session, Channel, u32) {
    let (mut raw, session) = Raw::with_server(limits).await;
    let (channel, id) = tokio::join!(session.accept_channel(None), raw.open(b"session", window, packet));
    (raw, session, channel.unwrap(), id)
}

fn data(channel: u32, text: &[u8]) -> Vec<u8> {
    message(94, &[&channel.to_be_bytes(), &string(text)])
}

async fn channels(client: &Session, server: &Session) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    (opened.unwrap(), accepted.unwrap())
}

// ---- Sizes, and what was agreed ---------------------------------------------------------------------------

#[tokio::test]
async fn the_default_sizes_are_those_of_the_reference() {
    let (mut raw, session) = Raw::with_server(Limits::default()).await;
    raw.send(&message(90, &[&string(b"x"), &[0, 0, 0, 7], &[0, 1, 0, 0], &[0, 0, 4, 0]])).await;
    let _channel = session.accept_channel(None).await.unwrap();
    let confirmation = raw.next(91).await;
    assert_eq!(confirmation[9..13], (1024_u32 * 1024).to_be_bytes());
    assert_eq!(confirmation[13..17], (32 * 1024_u32).to_be_bytes());
}

#[tokio::test]
async fn a_channel_tells_what_was_agreed() {
    let mut limits = Limits::default();
    limits.channel_window = 4096;
    let (_raw, _session, channel, id) = by_hand(limits, 100_000, 900).await;
    assert_eq!((channel.kind(), channel.id()), ("session", id));
    let terms = channel.terms().unwrap();
    assert_eq!((terms.remote_id, terms.window_bytes, terms.packet_bytes), (7, 4096, 900));
}

// ---- Data and its end ---------------------------------------------------------------------------------------

#[tokio::test]
async fn data_of_before_anybody_read_is_read_in_order_and_the_end_behind_it() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    raw.send(&data(id, b"one ")).await;
    raw.send(&data(id, b"two")).await;
    raw.send(&message(96, &[&id.to_be_bytes()])).await;
    raw.send(&message(97, &[&id.to_be_bytes()])).await;
    // The close has come, and the data before it is still there.
    assert_eq!(timeout(Duration::from_secs(5), channel.closed()).await.unwrap(), None);
    let mut read = Vec::new();
    channel.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"one two");
    // Whoever asks late hears of it too, and hears the same.
    assert_eq!(channel.closed().now_or_never(), Some(None));
    assert_eq!(channel.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn both_kinds_of_data_share_one_window() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 10, 1000).await;
    let mut errors = channel.stderr_writer();
    channel.write_all(b"123456").await.unwrap();
    assert_eq!(errors.write(b"abcdef").await.unwrap(), 4);
    assert_eq!(raw.next(94).await, message(94, &[&[0, 0, 0, 7], &string(b"123456")]));
    assert_eq!(raw.next(95).await, message(95, &[&[0, 0, 0, 7], &[0, 0, 0, 1], &string(b"abcd")]));
    assert!(channel.write(b"x").now_or_never().is_none() && errors.write(b"x").now_or_never().is_none());
    raw.send(&message(93, &[&id.to_be_bytes(), &[0, 0, 0, 1]])).await;
    assert_eq!(timeout(Duration::from_secs(5), errors.write(b"ef")).await.unwrap().unwrap(), 1);
    assert!(channel.write(b"x").now_or_never().is_none());
}

#[tokio::test]
async fn stderr_of_before_anybody_took_it_is_read_first_and_stalls_nobody() {
    let (mut raw, _session, mut channel, id) = by_hand(limits_of(1000), 1000, 1000).await;
    let stderr = |text: &[u8]| message(95, &[&id.to_be_bytes(), &[0, 0, 0, 1], &string(text)]);
    raw.send(&stderr(b"first ")).await;
    raw.send(&data(id, b"x")).await;
    assert_eq!(channel.read_u8().await.unwrap(), b'x');
    let mut errors = channel.take_stderr();
    raw.send(&stderr(b"second")).await;
    let mut read = [0; 12];
    timeout(Duration::from_secs(5), errors.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"first second");

    // Nobody takes it: past half a window it is credited.
    let (mut raw, _session, _channel, id) = by_hand(limits_of(1000), 1000, 1000).await;
    let mut room = 1000;
    for _ in 0..30 {
        while room < 100 {
            let adjust = raw.next(93).await;
            room += u32::from_be_bytes(adjust[5..9].try_into().unwrap());
        }
        raw.send(&message(95, &[&id.to_be_bytes(), &[0, 0, 0, 1], &string(&[0; 100])])).await;
        room -= 100;
    }
}

fn limits_of(window: u32) -> Limits {
    let mut limits = Limits::default();
    (limits.channel_window, limits.max_channel_window) = (window, window);
    limits
}

#[tokio::test]
async fn extended_data_is_read_as_data_where_that_is_wanted() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    channel.read_extended_as_data();
    raw.send(&data(id, b"one ")).await;
    for (code, text) in [(1_u32, b"two "), (9, b"six ")] {
        raw.send(&message(95, &[&id.to_be_bytes(), &code.to_be_bytes(), &string(text)])).await;
    }
    let mut read = [0; 12];
    channel.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"one two six ");
}

// ---- Closing a channel -----------------------------------------------------------------------------------------

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
    assert_eq!(timeout(Duration::from_secs(5), channel.closed()).await.unwrap(), None);
    drop(channel);
    session.close();
    let numbers = [raw.receive().await[0], raw.receive().await[0], raw.receive().await[0]];
    assert_eq!(numbers, [96, 97, 1]);
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

// ---- Requests ---------------------------------------------------------------------------------------------------

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
    timeout(Duration::from_secs(5), wait).await.unwrap();
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
    timeout(Duration::from_secs(5), reader.read_exact(&mut read)).await.unwrap().unwrap();
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

// ---- The end of a session ---------------------------------------------------------------------------------------

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
    let error = timeout(Duration::from_secs(5), client.closed()).await.unwrap();
    assert!(matches!(error, Error::Io(_)), "{error}");
    assert!(std::error::Error::source(&error).is_some() || !error.to_string().is_empty());
    let told: Vec<_> = events.collect().await;
    assert!(!told.iter().any(|event| matches!(event, SessionEvent::Disconnected(_))), "{told:?}");
}

// ---- Coming back -------------------------------------------------------------------------------------------------

struct World {
    client: Session,
    server: Session,
    config: Arc<server::Config>,
    link: JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        let provider = ssh_core::crypto::default_provider();
        let key = provider.signatures.generate(ssh_core::keys::KeyKind::Ed25519, 0).unwrap();
        let key = ssh_core::keys::SigningKey::new(&key, provider).unwrap();
        let config = server::Config::builder(server::danger::AcceptEverybody)
            .host_key(key)
            .detached_sessions(DetachedSessions::default())
            .build()
            .unwrap();
        let client_config = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .offer_reconnect(Default::default())
            .build()
            .unwrap();
        let (near, far, link) = wire();
        let accepted = tokio::spawn(server::accept(far, Arc::clone(&config)));
        let client = client::connect(near, client_config).await.unwrap();
        let server = accepted.await.unwrap().unwrap();
        for session in [&client, &server] {
            timeout(Duration::from_secs(5), session.reconnect_enabled()).await.unwrap().unwrap();
            assert!(session.is_reconnect_enabled());
        }
        Self { client, server, config, link }
    }

    async fn cut(&self) {
        self.link.abort();
        while self.client.disconnected().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Another stream to the server.
    fn dial(&mut self) -> tokio::io::DuplexStream {
        let (near, far, link) = wire();
        self.link = link;
        tokio::spawn(server::accept(far, Arc::clone(&self.config)));
        near
    }
}

fn wire() -> (tokio::io::DuplexStream, tokio::io::DuplexStream, JoinHandle<()>) {
    let (near, mut left) = tokio::io::duplex(64 * 1024);
    let (mut right, far) = tokio::io::duplex(64 * 1024);
    let link = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
    });
    (near, far, link)
}

#[tokio::test]
async fn a_server_hears_of_each_way_back() {
    let mut world = World::new().await;
    let mut events = world.server.events();
    for _ in 0..2 {
        assert!(world.client.disconnected().is_none());
        world.cut().await;
        let stream = world.dial();
        world.client.reconnect(stream).await.unwrap();
        let reconnected =
            async { while !matches!(events.next().await.unwrap(), SessionEvent::Reconnected) {} };
        timeout(Duration::from_secs(5), reconnected).await.unwrap();
    }
    assert_eq!((world.server.reconnections(), world.client.metrics().reconnections), (2, 2));
}

#[tokio::test]
async fn of_two_ways_back_at_once_one_is_taken_and_the_other_refused_by_name() {
    let mut world = World::new().await;
    world.cut().await;
    let streams = [world.dial(), world.dial()];
    let [first, second] = streams.map(|stream| world.client.reconnect(stream));
    let (first, second) = tokio::join!(first, second);
    let (taken, refused) = if first.is_ok() { (first, second) } else { (second, first) };
    taken.unwrap();
    assert!(matches!(refused.unwrap_err(), Error::Reconnect(ReconnectFailure::NotResumable)));
    assert!(world.client.request("keepalive@openssh.com", &[]).await.is_ok());
    // With a stream there is nothing to come back from.
    let stream = world.dial();
    let error = world.client.reconnect(stream).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
}

#[tokio::test]
async fn only_clients_come_back() {
    let mut world = World::new().await;
    world.cut().await;
    while world.server.disconnected().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let stream = world.dial();
    let error = world.server.reconnect(stream).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
}

#[tokio::test]
async fn who_waits_for_what_cannot_be_is_told_at_once() {
    let algorithms = Algorithms::insecure_without_any_security();
    for sides in [Sides::default(), Sides { algorithms, ..Sides::default() }] {
        let (client, server) = sessions(&sides).await;
        for session in [&client, &server] {
            let error =
                timeout(Duration::from_secs(5), session.reconnect_enabled()).await.unwrap().unwrap_err();
            assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
        }
    }
}

#[test]
fn failures_to_come_back_have_the_numbers_of_the_reference() {
    use ReconnectFailure as F;
    let numbered = [
        (F::UnknownServer, 1),
        (F::SessionNotFound, 2),
        (F::InvalidClientToken, 3),
        (F::ServerDroppedMessages, 4),
        (F::UnknownClient, 101),
        (F::DifferentHostKey, 102),
        (F::InvalidServerToken, 103),
        (F::ClientDroppedMessages, 104),
    ];
    for (failure, number) in numbered {
        assert_eq!(failure.code(), number, "{failure}");
        assert!(Error::Reconnect(failure).to_string().contains(&failure.to_string()));
    }
}

// ---- Metrics ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_collector_follows_a_session_with_its_latency_until_it_is_stopped() {
    let world = World::new().await;
    let before = world.client.metrics();
    let collector = ContourCollector::start(&world.client, SessionContour::default());
    for _ in 0..5 {
        assert_eq!(world.client.request("keepalive@openssh.com", &[7; 1000]).await.unwrap(), None);
    }
    let contour = collector.stop().await;
    let after = world.client.metrics();
    let [sent, received] =
        [contour.bytes_sent(), contour.bytes_received()].map(|all| all.iter().sum::<u64>());
    assert_eq!(sent, after.bytes_sent - before.bytes_sent);
    assert_eq!(received, after.bytes_received - before.bytes_received);
    assert!(sent > 5000);
    assert!(after.latency.unwrap().samples > 0);
    assert!(contour.latency_max_ms()[0] > 0.0, "{contour:?}");
    assert!(contour.latency_average_ms()[0] <= contour.latency_max_ms()[0]);
}

#[tokio::test]
async fn a_collector_ends_with_its_session() {
    let (client, _server) = sessions(&Sides::default()).await;
    let collector = ContourCollector::start(&client, SessionContour::new(2).unwrap());
    client.close();
    let contour = timeout(Duration::from_secs(5), collector.stop()).await.unwrap();
    assert_eq!((contour.max_intervals(), contour.interval_count()), (2, 1));
}
