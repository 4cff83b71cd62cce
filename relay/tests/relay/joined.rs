//! Two channels that the relay has joined: how the end of one becomes that of the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use relay::dial::{Dialer, Proxies};
use relay::host::{Event, Host, Protocol};
use serde_json::json;
use ssh_core::channel::ExitStatus;
use ssh_core::config::Limits;
use ssh_core::crypto::rustcrypto::PROVIDER;
use ssh_core::keys::{Curve, KeyKind, KeyPair, SigningKey};
use ssh_core::session::{Incoming, OpenFailureReason};
use ssh_core::{Channel, OpenError, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::common::{PATIENCE, TestRelay, echo, start};
use crate::sessions::{CLIENT_V2, HOST_V2, channels, fields, host, session, session_with};

const SOON: Duration = Duration::from_secs(15);

/// A host that forwards port 3000, and its channels.
async fn forwarding(relay: &TestRelay) -> (Session, mpsc::UnboundedReceiver<Channel>) {
    let host = host(relay, HOST_V2).await;
    host.request("tcpip-forward", &fields(3000, false)).await.unwrap().unwrap();
    let channels = channels(&host);
    (host, channels)
}

async fn client(relay: &TestRelay) -> Session {
    session(relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await
}

async fn open_port(client: &Session, port: u16) -> Option<Channel> {
    let opened = client.open_channel_with("forwarded-tcpip", &fields(port.into(), true)).await;
    opened.ok().map(|(channel, _)| channel)
}

async fn open(client: &Session) -> Channel {
    open_port(client, 3000).await.unwrap()
}

/// A host of ours that forwards these ports, without encryption between the ends, and counts the connections that fail.
async fn our_host(relay: &TestRelay, ports: &[u16], failed: &Arc<AtomicUsize>) -> Host {
    let pair = KeyPair::generate(&PROVIDER, KeyKind::Ecdsa(Curve::P256), 0).unwrap();
    let count = Arc::clone(failed);
    let config = relay::host::Config {
        url: format!("ws://{}/t/abc/host", relay.address),
        token: Some(Zeroizing::new(relay.token(Some("abc"), "host")).into()),
        protocol: Protocol::V2,
        allow_plain: true,
        dialer: Dialer::new(None, Proxies::default()).unwrap(),
        provider: &PROVIDER,
        ports: ports.iter().copied().collect(),
        on_event: Arc::new(move |event| {
            if matches!(event, Event::Failed { .. }) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }),
    };
    let host = Host::start(config, SigningKey::new(&pair.private, &PROVIDER).unwrap()).await.unwrap();
    // Clients may come once it is told of the last one.
    let told = async {
        let client = client(relay).await;
        let mut shown = BTreeSet::new();
        let mut incoming = client.incoming();
        while shown.len() < ports.len() {
            if let Some(Incoming::Request(request)) = incoming.next().await {
                shown.insert(request.fields().to_vec());
                request.accept(&[]);
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("its ports are not shown");
    host
}

/// What clients give up counts against each of them, and not against the host's session, which carries the channels of all:
/// nobody ends another's streams by opening and closing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_open_and_close_together_end_nobody_elses_stream() {
    /// Two are more than one peer may, and either is less.
    const EACH: usize = 4900;
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    // Nobody listens there, so that the host refuses.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (working, deaf) = (echo().await, bound.local_addr().unwrap().port());
    let failed = Arc::default();
    let _host = our_host(&relay, &[working, deaf], &failed).await;
    let quiet = client(&relay).await;
    let mut stream = open_port(&quiet, working).await.unwrap();
    stream.write_all(b"before").await.unwrap();
    let mut answer = [0; 6];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    let loud = async || {
        let client = client(&relay).await;
        // Fewer at once than a session has.
        let all = futures::stream::iter(0..EACH).map(|_| open_port(&client, deaf)).buffer_unordered(200);
        let refused = all.filter(|opened| std::future::ready(opened.is_none())).count().await;
        assert!(!client.is_closed(), "it is not too much for one");
        refused
    };
    let begun = Instant::now();
    let refused = tokio::join!(loud(), loud());
    println!("{refused:?} refused in {:?}", begun.elapsed());
    assert_eq!(refused, (EACH, EACH));
    assert_eq!(failed.load(Ordering::Relaxed), 2 * EACH, "they did not get to the host");
    stream.write_all(b"behind").await.unwrap();
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("it stalls").unwrap();
    assert_eq!(&answer, b"behind");
}

/// All clients together fill a host's session no further than it goes, and are told so one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_has_so_many_channels_and_no_more() {
    const MOST: usize = 16 * 1024;
    const EACH: usize = 1024;
    let relay = start(|config| config.limits.clients_per_tunnel = 100).await;
    relay.tunnel("abc", json!({})).await;
    let with = |channels: usize| {
        let mut limits = Limits::default();
        limits.channels = channels;
        limits
    };
    let (host_token, token) = (relay.token(Some("abc"), "host"), relay.token(Some("abc"), "connect"));
    let stream = relay.upgrade("/t/abc/host", HOST_V2, &host_token).await.unwrap();
    let host = session_with(stream, with(2 * MOST)).await.unwrap();
    host.request("tcpip-forward", &fields(3000, false)).await.unwrap().unwrap();
    let mut taken = channels(&host);
    let mut clients = Vec::new();
    for _ in 0..MOST / EACH {
        let stream = relay.upgrade("/t/abc/client", CLIENT_V2, &token).await.unwrap();
        let client = session_with(stream, with(EACH)).await.unwrap();
        let opened = futures::stream::iter(0..EACH).map(|_| open(&client)).buffer_unordered(200);
        let opened: Vec<_> = opened.collect().await;
        clients.push((client, opened));
    }
    let late = client(&relay).await;
    let refused = late.open_channel_with("forwarded-tcpip", &fields(3000, true)).await.unwrap_err();
    let OpenError::Refused(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.reason, OpenFailureReason::RESOURCE_SHORTAGE);
    // Where one goes, there is room.
    drop(taken.recv().await.unwrap());
    let again = async {
        while open_port(&late, 3000).await.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
}

/// Whoever has ended its own way and then goes is missed at once, by a silent peer too: nobody may pile up channels at a host by
/// connecting, ending and leaving.
#[tokio::test]
async fn who_goes_after_the_end_of_its_data_is_missed() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    for host_goes in [false, true] {
        for with_close in [false, true] {
            let (host, mut channels) = forwarding(&relay).await;
            let client = client(&relay).await;
            let near = open(&client).await;
            let far = channels.recv().await.unwrap();
            let (mut goes, mut stays, session) =
                if host_goes { (far, near, host.clone()) } else { (near, far, client.clone()) };
            goes.write_all(b"the last words").await.unwrap();
            goes.send_eof().unwrap();
            let mut read = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stays.read_to_end(&mut read)).await;
            ended.expect("no end comes through").unwrap();
            assert_eq!(read, b"the last words");
            let early = tokio::time::timeout(Duration::from_millis(200), stays.closed()).await;
            assert!(early.is_err(), "an end is no close");
            stays.write_all(b"goes the other way still").await.unwrap();
            let mut answer = [0; 24];
            tokio::time::timeout(PATIENCE, goes.read_exact(&mut answer)).await.unwrap().unwrap();
            if with_close {
                drop(goes);
            } else {
                session.close();
            }
            let closed = tokio::time::timeout(SOON, stays.closed()).await;
            assert!(closed.is_ok(), "it is not closed: host goes: {host_goes}, with a close: {with_close}");
        }
    }
}

/// What breaks on one side is no end that looks whole on the other, whether it is told or shows.
#[tokio::test]
async fn what_breaks_on_one_side_breaks_on_the_other() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    for host_breaks in [false, true] {
        for is_told in [false, true] {
            let (host, mut channels) = forwarding(&relay).await;
            let client = client(&relay).await;
            let near = open(&client).await;
            let far = channels.recv().await.unwrap();
            let (mut breaks, mut stays, session) =
                if host_breaks { (far, near, host.clone()) } else { (near, far, client.clone()) };
            breaks.write_all(b"half of").await.unwrap();
            let mut half = [0; 7];
            tokio::time::timeout(PATIENCE, stays.read_exact(&mut half)).await.unwrap().unwrap();
            if is_told {
                // RFC 4254 §6.10: ABRT, no core, and words in no language.
                let signal = b"\0\0\0\x04ABRT\0\0\0\0\x05reset\0\0\0\0";
                breaks.notify("exit-signal", signal).unwrap();
                drop(breaks);
            } else {
                session.close();
            }
            let ended = tokio::time::timeout(SOON, stays.closed()).await.expect("it is not closed");
            let Some(ExitStatus::Signal { name, message }) = ended else {
                panic!("it looks whole: {ended:?}, host breaks: {host_breaks}, told: {is_told}")
            };
            assert_eq!((&*name, message.contains("reset")), ("ABRT", is_told), "{message}");
        }
    }
}
