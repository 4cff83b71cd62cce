//! The numbered trace events: each is provoked, and its number asserted. Those that no peer can provoke are tested beside the
//! engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::HostKeyError;
use ssh_core::keys::HostKey;
use ssh_core::server::DetachedSessions;
use ssh_core::services::port_forward::{ForwardEvent, ForwardPolicy, PortForwarding, Target};
use ssh_core::session::OpenFailureReason;
use ssh_core::trace::TraceEvent as E;
use ssh_core::{Session, client, server};
use support::raw::{Raw, message, string};
use support::{Sides, client_config, server_config, sessions};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

thread_local! {
    /// What this thread has logged: a test's own, since its runtime has no other.
    static NUMBERS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

struct Numbers;

impl Subscriber for Numbers {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Number);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Number;

impl Visit for Number {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "event" {
            NUMBERS.with_borrow_mut(|numbers| numbers.push(value));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Numbers).unwrap());
}

fn has(event: E) -> bool {
    NUMBERS.with_borrow(|numbers| numbers.contains(&u64::from(event.id())))
}

/// Waits until it has been told.
async fn told(event: E) {
    let wait = async {
        while !has(event) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic_for(event));
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn panic_for(event: E) {
    panic!("{event:?} was not told, only {:?}", NUMBERS.with_borrow(Clone::clone));
}

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
    let place = |event: &E| {
        NUMBERS.with_borrow(|seen| seen.iter().position(|seen| *seen == u64::from(event.id())).unwrap())
    };
    let order: Vec<usize> = wanted[..6].iter().map(place).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn channel_data_is_told_of_when_asked_for() {
    listen();
    live(true).await;
    assert!(has(E::SendingChannelData) && has(E::ReceivingChannelData));
}

/// Fails in one way, once it is told to.
struct Failing {
    stream: tokio::io::DuplexStream,
    how: E,
    now: Arc<std::sync::atomic::AtomicBool>,
}

impl Failing {
    fn fails(&self, how: E) -> bool {
        self.how == how && self.now.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() && self.fails(E::StreamReadError) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Failing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.fails(E::StreamWriteError) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fails(E::StreamCloseError) {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn stream_fails(how: E) {
    listen();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(server::accept(far, server_config(&Sides::default())));
    let now = Arc::default();
    let stream = Failing { stream: near, how, now: Arc::clone(&now) };
    let client = client::connect(stream, client_config(&Sides::default())).await.unwrap();
    let _server = accepted.await.unwrap().unwrap();
    now.store(true, std::sync::atomic::Ordering::Relaxed);
    // Something to write, and for the other side something to answer.
    drop(
        tokio::time::timeout(Duration::from_millis(200), client.request("keepalive@openssh.com", &[])).await,
    );
    client.close();
    told(how).await;
}

#[tokio::test]
async fn a_read_that_fails_is_told() {
    stream_fails(E::StreamReadError).await;
}

#[tokio::test]
async fn a_write_that_fails_is_told() {
    stream_fails(E::StreamWriteError).await;
}

#[tokio::test]
async fn a_close_that_fails_is_told() {
    stream_fails(E::StreamCloseError).await;
}

#[tokio::test]
async fn a_packet_that_cannot_be_read_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    raw.stream.write_all(&[0xff; 8]).await.unwrap();
    told(E::ReceiveMessageFailed).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_acted_on_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    // Data for a channel that never was.
    raw.send(&message(94, &[&9_u32.to_be_bytes(), &string(b"x")])).await;
    told(E::HandleMessageFailed).await;
}

#[tokio::test]
async fn a_window_that_overflows_is_told() {
    listen();
    let (mut raw, server) = Raw::with_server(Limits::default()).await;
    let (_channel, id) = tokio::join!(server.accept_channel(None), raw.open(b"session", u32::MAX, 1000));
    raw.send(&message(93, &[&id.to_be_bytes(), &1_u32.to_be_bytes()])).await;
    told(E::ChannelWindowAdjustFailed).await;
}

#[derive(Debug)]
struct Nobody;

impl client::HostKeyVerifier for Nobody {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let error = HostKeyError { message: "not this one".into(), key: shown.key.clone() };
        Box::pin(async { Err(error) })
    }
}

impl server::Authenticator for Nobody {
    fn begin<'a>(&'a self, _: server::AuthStart<'a>) -> BoxFuture<'a, server::AuthOffer> {
        server::AuthOffer::ready([server::Method::None, server::Method::Password])
    }

    fn authenticate<'a>(&'a self, _: server::AuthAttempt<'a>) -> BoxFuture<'a, server::AuthDecision> {
        Box::pin(async { server::AuthDecision::Reject(server::RejectReason::InvalidUser) })
    }
}

#[tokio::test]
async fn a_refused_host_key_is_told() {
    listen();
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, server_config(&Sides::default())));
    let config = client::Config::builder("ada").verify_host_key(Nobody).build().unwrap();
    assert!(client::connect(near, config).await.is_err());
    told(E::ServerAuthenticationFailed).await;
}

async fn refused_login(attempts: u32) {
    listen();
    let mut limits = Limits::default();
    (limits.auth_attempts, limits.auth_failure_delay) = (attempts, Duration::ZERO);
    let provider = ssh_core::crypto::default_provider();
    let key = provider.signatures.generate(ssh_core::keys::KeyKind::Ed25519, 0).unwrap();
    let key = ssh_core::keys::SigningKey::new(&key, provider).unwrap();
    let config = server::Config::builder(Nobody).host_key(key).limits(limits).build().unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(server::accept(far, config));
    let client_config = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(client::Credential::password("wrong"))
        .build()
        .unwrap();
    assert!(client::connect(near, client_config).await.is_err());
    assert!(accepted.await.unwrap().is_err());
}

#[tokio::test]
async fn a_refused_client_is_told() {
    refused_login(5).await;
    told(E::ClientAuthenticationFailed).await;
    assert!(!has(E::AuthenticationError));
}

#[tokio::test]
async fn too_many_attempts_are_told() {
    refused_login(1).await;
    told(E::AuthenticationError).await;
}

type Link = tokio::task::JoinHandle<io::Result<(u64, u64)>>;

/// A client that can come back, its server, the task that carries its bytes, and two configurations of the server.
async fn resumable() -> (Session, Session, Link, [Arc<server::Config>; 2]) {
    listen();
    let provider = ssh_core::crypto::default_provider();
    let key = provider.signatures.generate(ssh_core::keys::KeyKind::Ed25519, 0).unwrap();
    // The second knows nothing of the sessions of the first.
    let configs = [(); 2].map(|()| {
        server::Config::builder(server::danger::AcceptEverybody)
            .host_key(ssh_core::keys::SigningKey::new(&key, provider).unwrap())
            .detached_sessions(DetachedSessions::default())
            .build()
            .unwrap()
    });
    let client_config = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .offer_reconnect(Default::default())
        .build()
        .unwrap();
    let (near, mut wire) = tokio::io::duplex(64 * 1024);
    let (mut other, far) = tokio::io::duplex(64 * 1024);
    let link = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire, &mut other).await });
    let accepted = tokio::spawn(server::accept(far, Arc::clone(&configs[0])));
    let client = client::connect(near, client_config).await.unwrap();
    let server = accepted.await.unwrap().unwrap();
    client.reconnect_enabled().await.unwrap();
    server.reconnect_enabled().await.unwrap();
    (client, server, link, configs)
}

async fn lose(client: &Session, link: &Link) {
    link.abort();
    while client.disconnected().is_none() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_lost_stream_and_the_way_back_are_told() {
    let (client, _server, link, [config, _]) = resumable().await;
    lose(&client, &link).await;
    told(E::SessionDisconnected).await;
    assert!(!has(E::ClientSessionReconnecting) && !has(E::ServerSessionReconnecting));
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, config));
    client.reconnect(near).await.unwrap();
    told(E::ClientSessionReconnecting).await;
    told(E::ServerSessionReconnecting).await;
    assert!(!has(E::ClientSessionReconnectFailed) && !has(E::ServerSessionReconnectFailed));
}

#[tokio::test]
async fn a_way_back_that_fails_is_told_on_both_sides() {
    let (client, _server, link, [_, other]) = resumable().await;
    lose(&client, &link).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, other));
    client.reconnect(near).await.unwrap_err();
    told(E::ServerSessionReconnectFailed).await;
    told(E::ClientSessionReconnectFailed).await;
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

#[tokio::test]
async fn a_question_of_the_peer_is_told() {
    listen();
    let (mut raw, _server) = Raw::with_server(Limits::default()).await;
    raw.send(&message(80, &[&string(b"keepalive@openssh.com"), &[1]])).await;
    assert_eq!(raw.next(82).await, [82]);
    assert!(has(E::KeepAliveRequestReceived));
}

#[test]
fn every_event_of_a_forward_has_a_number() {
    let target = || Target::new("host", 1);
    let error = || ssh_core::error::IoError::from(&io::Error::other("no"));
    let cases = [
        (ForwardEvent::ListenFailed { bind: target(), error: error() }, 9051),
        (ForwardEvent::ListenDenied { bind: target() }, 9052),
        (ForwardEvent::TargetDenied { target: target() }, 9053),
        (ForwardEvent::NotRequested { bind: target() }, 9053),
        (ForwardEvent::DialFailed { target: target(), error: error() }, 9055),
        (ForwardEvent::TooManyConnections { from: "x".into() }, 9055),
        (ForwardEvent::Listening { bind: target() }, 9152),
        (ForwardEvent::Connection { from: "x".into(), target: target() }, 9156),
    ];
    for (event, number) in cases {
        assert_eq!(event.trace_event().id(), number, "{event:?}");
    }
}

#[tokio::test]
async fn forwarded_connections_are_told() {
    listen();
    let (client, server) = sessions(&Sides::default()).await;
    let (ours, theirs) = (
        PortForwarding::start(client, ForwardPolicy::allow_all()),
        PortForwarding::start(server, ForwardPolicy::allow_all()),
    );
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let remote = ours.remote("127.0.0.1", 0, "127.0.0.1", port).await.unwrap();
    told(E::PortForwardServerListening).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", remote.port())).await.unwrap();
    let (mut accepted, _) = target.accept().await.unwrap();
    told(E::PortForwardConnectionAccepted).await;
    told(E::PortForwardConnectionOpened).await;
    stream.shutdown().await.unwrap();
    accepted.shutdown().await.unwrap();
    told(E::PortForwardConnectionClosed).await;
    // The peer refuses what it cannot connect to.
    drop(target);
    let local = ours.local("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap(), "127.0.0.1", port);
    let local = local.await.unwrap();
    drop(tokio::net::TcpStream::connect(local.local_addr()).await.unwrap());
    told(E::PortForwardConnectionFailed).await;
    told(E::PortForwardChannelOpenFailed).await;
    drop(theirs);
}

/// Nobody pays for what nobody listens to: without security there are no keys to tell of.
#[tokio::test]
async fn without_keys_nothing_is_said_to_be_encrypted() {
    listen();
    let algorithms = Algorithms::insecure_without_any_security();
    let _sessions = sessions(&Sides { algorithms, ..Sides::default() }).await;
    assert!(has(E::SessionAuthenticated) && !has(E::SessionEncrypted));
}
