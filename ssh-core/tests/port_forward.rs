//! Every kind of forward over loopback TCP, between two sessions of this crate.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use ssh_core::client::{self, danger::AcceptAnyHostKey};
use ssh_core::config::Algorithms;
use ssh_core::server::{self, danger::AcceptEverybody};
use ssh_core::services::port_forward::{
    Bind, ForwardError, ForwardEvent, ForwardPolicy, PermitListen, PermitTarget, PortForwarding, Resolver,
};
use ssh_core::session::OpenFailureReason;
use ssh_core::{OpenError, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

type Events = Arc<Mutex<Vec<String>>>;

struct Pair {
    client: PortForwarding,
    server: PortForwarding,
    client_events: Events,
    server_events: Events,
}

async fn sessions() -> (Session, Session) {
    let (a, b) = tokio::io::duplex(1 << 20);
    // What is forwarded does not depend on the cipher.
    let algorithms = Algorithms::insecure_without_any_security();
    let client = client::Config::builder("ada").verify_host_key(AcceptAnyHostKey);
    let client = client.algorithms(algorithms.clone()).build().unwrap();
    let server = server::Config::builder(AcceptEverybody).algorithms(algorithms).build().unwrap();
    let (client, server) = tokio::join!(client::connect(a, client), server::accept(b, server));
    (client.unwrap(), server.unwrap())
}

fn start(session: Session, policy: ForwardPolicy) -> (PortForwarding, Events) {
    let events = Events::default();
    let sink = Arc::clone(&events);
    let callback = move |event: ForwardEvent| sink.lock().push(event.to_string());
    (PortForwarding::builder(session).policy(policy).on_event(callback).start(), events)
}

async fn pair(server_policy: ForwardPolicy) -> Pair {
    let (client, server) = sessions().await;
    let (client, client_events) = start(client, ForwardPolicy::deny_all());
    let (server, server_events) = start(server, server_policy);
    Pair { client, server, client_events, server_events }
}

/// Reads a request to its end, then answers with it `times` times over.
async fn answering(times: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = Vec::new();
                socket.read_to_end(&mut request).await.unwrap();
                for _ in 0..times {
                    socket.write_all(&request).await.unwrap();
                }
                socket.shutdown().await.unwrap();
            });
        }
    });
    address
}

/// A port on which nobody listens.
async fn dead_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Sends a request, ends it, and reads the answer to its end.
async fn ask(mut socket: TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.write_all(request).await?;
    socket.shutdown().await?;
    let mut answer = Vec::new();
    timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await??;
    Ok(answer)
}

async fn ask_at(port: u16, request: &[u8]) -> io::Result<Vec<u8>> {
    ask(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?, request).await
}

fn permit(text: &str) -> ForwardPolicy {
    ForwardPolicy::deny_all().permit_open(text.parse().unwrap())
}

#[tokio::test]
async fn a_client_that_has_ended_its_request_gets_the_whole_answer() {
    let target = answering(1024).await;
    let pair = pair(permit(&target.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let request: Vec<u8> = (0..10_240_u32).map(|i| (i % 251) as u8).collect();
    let answer = ask_at(forward.local_addr().port(), &request).await.unwrap();
    assert_eq!(answer.len(), 10 << 20);
    assert!(answer.chunks(request.len()).all(|chunk| chunk == request));
}

#[tokio::test]
async fn localhost_has_a_twin_and_an_address_has_none() {
    let target = answering(1).await;
    let pair = pair(permit(&target.to_string())).await;
    let both = pair.client.local(("localhost", 0), "127.0.0.1", target.port()).await.unwrap();
    let twin = (std::net::Ipv6Addr::LOCALHOST, both.local_addr().port());
    // Not every machine has IPv6.
    if TcpListener::bind("[::1]:0").await.is_ok() {
        assert_eq!(ask(TcpStream::connect(twin).await.unwrap(), b"x").await.unwrap(), b"x");
    }
    let one = pair.client.local(("127.0.0.1", 0), "127.0.0.1", target.port()).await.unwrap();
    assert!(TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, one.local_addr().port())).await.is_err());
}

#[tokio::test]
async fn a_dropped_forward_listens_no_more_and_its_connections_go_on() {
    let target = answering(1).await;
    let pair = pair(permit(&target.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let port = forward.local_addr().port();
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(b"be").await.unwrap();
    while pair.client_events.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    forward.stop().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert_eq!(ask(socket, b"fore").await.unwrap(), b"before");
    drop(pair.client.local(port, "127.0.0.1", target.port()).await.unwrap());
    let again = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    drop(pair.client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(again.local_addr()).await.is_err());
}

#[tokio::test]
async fn a_refused_connection_is_reset_and_both_sides_say_why() {
    let (permitted, dead) = (answering(1).await, dead_port().await);
    let policy = permit(&permitted.to_string()).permit_open(PermitTarget::local_port(dead));
    let pair = pair(policy).await;
    for (target, reason, client, server) in [
        (dead, OpenFailureReason::CONNECT_FAILED, "connect failed: Connection refused", "cannot connect to"),
        (
            1,
            OpenFailureReason::ADMINISTRATIVELY_PROHIBITED,
            "administratively prohibited",
            "may not connect to",
        ),
    ] {
        let forward = pair.client.local(0, "127.0.0.1", target).await.unwrap();
        let error = ask_at(forward.local_addr().port(), b"x").await.unwrap_err();
        assert!(
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
            "{error}"
        );
        let told = pair.client_events.lock().pop().unwrap();
        assert!(told.contains(client) && told.contains(&format!("127.0.0.1:{target}")), "{told}");
        let told = pair.server_events.lock().pop().unwrap();
        assert!(told.contains(server), "{told}");
        let error = pair.client.open("127.0.0.1", target).await.unwrap_err();
        let ForwardError::Open { source: OpenError::Refused(failure), .. } = error else { panic!("{error}") };
        assert_eq!(failure.reason, reason);
        pair.client_events.lock().clear();
        pair.server_events.lock().clear();
    }
}

#[tokio::test]
async fn what_is_no_forward_is_refused_by_name() {
    let pair = pair(ForwardPolicy::allow_all()).await;
    let session = pair.client.session();
    for (kind, reason) in [
        ("session", OpenFailureReason::ADMINISTRATIVELY_PROHIBITED),
        ("x11", OpenFailureReason::UNKNOWN_CHANNEL_TYPE),
    ] {
        let Err(OpenError::Refused(failure)) = session.open_channel(kind).await else { panic!("{kind}") };
        assert_eq!(failure.reason, reason);
    }
    assert!(session.open_channel_with("direct-tcpip", b"\0\0\0\xff").await.is_err());
    for name in ["hostkeys-prove-00@openssh.com", "tcpip-forward", "cancel-tcpip-forward"] {
        assert!(session.request(name, b"\0\0").await.unwrap().is_none());
    }
}

/// Answers differently each time it is asked.
#[derive(Debug, Clone, Default)]
struct Rebinding {
    asked: Arc<AtomicUsize>,
    answers: Vec<Vec<SocketAddr>>,
}

impl Resolver for Rebinding {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok(self.answers[n % self.answers.len()].clone())).boxed()
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_the_address_checked_is_the_one_connected_to() {
    let forbidden = answering(1).await;
    let allowed_ip = Ipv4Addr::new(127, 0, 0, 2);
    let allowed = SocketAddr::from((allowed_ip, forbidden.port()));
    let resolver = Rebinding { answers: vec![vec![allowed], vec![forbidden]], ..Default::default() };
    let asked = Arc::clone(&resolver.asked);
    let pair = pair(permit(&allowed.to_string()).resolver(resolver)).await;
    // The first answer is permitted, but nobody listens there.
    let first = pair.client.open("rebind.example", forbidden.port()).await.unwrap_err().to_string();
    assert!(first.contains("connect failed"), "{first}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // The second is not permitted, whatever the name was before.
    let second = pair.client.open("rebind.example", forbidden.port()).await.unwrap_err().to_string();
    assert!(second.contains("administratively prohibited"), "{second}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // A port that no permit names is not worth a question.
    assert!(pair.client.open("rebind.example", 1).await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn of_a_names_addresses_only_the_permitted_are_tried_and_the_first_that_answers_serves() {
    let target = answering(1).await;
    let port = target.port();
    let at = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    let resolver = Rebinding { answers: vec![vec![at(9), at(8), at(1)]], ..Default::default() };
    let policy = permit(&at(8).to_string()).permit_open(at(1).to_string().parse().unwrap());
    let pair = pair(policy.resolver(resolver)).await;
    let forward = pair.client.local(0, "many.example", port).await.unwrap();
    assert_eq!(ask_at(forward.local_addr().port(), b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn remote_forwards_choose_report_and_cancel() {
    let target = answering(3).await;
    let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
    let forward = pair.client.remote("localhost", 0, "127.0.0.1", target.port()).await.unwrap();
    let port = forward.port();
    assert_eq!(ask_at(port, b"ab").await.unwrap(), b"ababab");
    // The same again is taken at the other side, and refused on this side before it is sent.
    let again = pair.client.remote("localhost", port, "127.0.0.1", 1).await.unwrap_err();
    assert!(matches!(again, ForwardError::AlreadyForwarded { .. }), "{again}");
    let taken = pair.client.remote("127.0.0.1", port, "127.0.0.1", 1).await.unwrap_err();
    assert!(matches!(taken, ForwardError::RefusedByPeer { .. }), "{taken}");
    assert!(pair.server_events.lock().last().unwrap().contains("cannot listen on 127.0.0.1"));
    assert!(forward.cancel().await.unwrap());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    // A port that is free again can be asked for by number; dropping cancels too.
    let forward = pair.client.remote("", port, "127.0.0.1", target.port()).await.unwrap();
    assert_eq!(forward.port(), port);
    drop(forward);
    let unknown = pair.client.session().request("cancel-tcpip-forward", b"\0\0\0\0\0\0\0\x07").await.unwrap();
    assert!(unknown.is_none());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn remote_forwards_need_permission_and_end_at_a_limit() {
    let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback()).max_listeners(2)).await;
    for host in ["0.0.0.0", "::", "*", "name.example"] {
        let refused = pair.client.remote(host, 0, "127.0.0.1", 1).await.unwrap_err();
        assert!(matches!(refused, ForwardError::RefusedByPeer { .. }), "{refused}");
    }
    let first = pair.client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.unwrap();
    let _second = pair.client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.unwrap();
    assert!(pair.client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.is_err());
    drop(first);
    let _third = pair.client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.unwrap();
    // The other way round nothing is permitted at all.
    assert!(pair.server.remote("127.0.0.1", 0, "127.0.0.1", 1).await.is_err());
    assert!(pair.server.open("127.0.0.1", 1).await.is_err());
}

#[tokio::test]
async fn a_dead_target_of_a_remote_forward_resets_the_connection() {
    let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
    let forward = pair.client.remote("localhost", 0, "127.0.0.1", dead_port().await).await.unwrap();
    let error = ask_at(forward.port(), b"x").await.unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
    let told = pair.server_events.lock().pop().unwrap();
    assert!(told.contains("connect failed: Connection refused"), "{told}");
}

#[tokio::test]
async fn connections_that_nobody_asked_for_are_refused() {
    let pair = pair(ForwardPolicy::allow_all()).await;
    let fields = b"\0\0\0\x09localhost\0\0\0\x50\0\0\0\0\0\0\0\0";
    let Err(OpenError::Refused(failure)) =
        pair.server.session().open_channel_with("forwarded-tcpip", fields).await
    else {
        panic!("it was accepted");
    };
    assert_eq!(failure.reason, OpenFailureReason::ADMINISTRATIVELY_PROHIBITED);
    assert!(pair.client_events.lock()[0].contains("nobody asked for"));
}

#[tokio::test]
async fn a_connection_that_overtakes_the_answer_waits_for_it() {
    use futures::StreamExt as _;
    use ssh_core::session::Incoming;

    let target = answering(1).await;
    let (client, server) = sessions().await;
    let client = PortForwarding::start(client, ForwardPolicy::deny_all());
    let peer = tokio::spawn(async move {
        let Some(Incoming::Request(request)) = server.incoming().next().await else { panic!("no request") };
        let fields = b"\0\0\0\x01?\0\0\x10\x00\0\0\0\0\0\0\0\0";
        let open = server.open_channel_with("forwarded-tcpip", fields);
        tokio::pin!(open);
        assert!(timeout(Duration::from_millis(100), open.as_mut()).await.is_err(), "decided too early");
        // Another port than was asked for.
        request.accept(&[0, 0, 0x10, 0, b'!']);
        let (mut channel, _) = open.await.unwrap();
        channel.write_all(b"late").await.unwrap();
        channel.shutdown().await.unwrap();
        let mut answer = Vec::new();
        channel.read_to_end(&mut answer).await.unwrap();
        answer
    });
    let forward = client.remote("localhost", 0, "127.0.0.1", target.port()).await.unwrap();
    assert_eq!(forward.port(), 0x1000);
    assert_eq!(peer.await.unwrap(), b"late");
}

#[tokio::test]
async fn two_hundred_connections_at_once() {
    let target = answering(1).await;
    let pair = pair(permit(&target.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let port = forward.local_addr().port();
    let asking = (0..200_u32).map(|i| async move {
        let request = i.to_be_bytes().repeat(20_000);
        assert!(ask_at(port, &request).await.unwrap() == request);
    });
    timeout(Duration::from_secs(60), futures::future::join_all(asking)).await.unwrap();
}

#[tokio::test]
async fn connections_over_the_limit_are_reset_and_the_others_go_on() {
    let target = answering(1).await;
    let (client, server) = sessions().await;
    let (client, events) = start(client, ForwardPolicy::deny_all().max_connections(1));
    let _server = PortForwarding::start(server, permit(&target.to_string()));
    let forward = client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let first = TcpStream::connect(forward.local_addr()).await.unwrap();
    while events.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(ask_at(forward.local_addr().port(), b"x").await.is_err());
    assert!(events.lock().last().unwrap().contains("too many connections"));
    assert_eq!(ask(first, b"y").await.unwrap(), b"y");
}

#[tokio::test]
async fn a_proxy_speaks_socks_and_http() {
    let (target, dead) = (answering(1).await, dead_port().await);
    let resolver = Rebinding { answers: vec![vec![target]], ..Default::default() };
    let policy = permit(&target.to_string()).permit_open(PermitTarget::local_port(dead)).resolver(resolver);
    let pair = pair(policy).await;
    let proxy = pair.client.dynamic(0).await.unwrap().local_addr();
    let dynamic = pair.client.dynamic(Bind::new("", 0)).await.unwrap();
    // The first was dropped, and with it its port.
    assert_ne!(proxy, dynamic.local_addr());
    let proxy = dynamic.local_addr().port();

    let socks4 = |port: u16| [&b"\x04\x01"[..], &port.to_be_bytes(), b"\x7f\0\0\x01me\0"].concat();
    let socks4a = |port: u16| [&b"\x04\x01"[..], &port.to_be_bytes(), b"\0\0\0\x01\0a.example\0"].concat();
    let socks5 = |port: u16| [&b"\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01"[..], &port.to_be_bytes()].concat();
    let socks5_name =
        |port: u16| [&b"\x05\x01\0\x05\x01\0\x03\x09a.example"[..], &port.to_be_bytes()].concat();
    let http = |port: u16| format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    /// A request for a port; what success, a refused connection and a prohibited one look like.
    type Row<'a> = (&'a dyn Fn(u16) -> Vec<u8>, &'a [u8], &'a [u8], &'a [u8]);
    let table: [Row<'_>; 5] = [
        (&socks4, b"\0\x5a\0\0\0\0\0\0", b"\0\x5b", b"\0\x5b"),
        (&socks4a, b"\0\x5a\0\0\0\0\0\0", b"\0\x5b", b"\0\x5b"),
        (&socks5, b"\x05\0\x05\0\0\x01\0\0\0\0\0\0", b"\x05\0\x05\x05\0\x01", b"\x05\0\x05\x02\0\x01"),
        (&socks5_name, b"\x05\0\x05\0\0\x01\0\0\0\0\0\0", b"\x05\0\x05\x05\0\x01", b"\x05\0\x05\x02\0\x01"),
        (&http, b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.1 502 ", b"HTTP/1.1 403 "),
    ];
    for (request, granted, refused, prohibited) in table {
        // With what is to be sent right behind, and in another packet.
        let early = [&request(target.port())[..], b"hello"].concat();
        assert_eq!(ask_at(proxy, &early).await.unwrap(), [granted, b"hello"].concat());
        let mut socket = TcpStream::connect(("127.0.0.1", proxy)).await.unwrap();
        socket.write_all(&request(target.port())).await.unwrap();
        let mut reply = vec![0; granted.len()];
        socket.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, granted);
        assert_eq!(ask(socket, b"hello").await.unwrap(), b"hello");

        assert!(ask_at(proxy, &request(1)).await.unwrap().starts_with(prohibited));
        // The test's resolver leads elsewhere than to the dead port of this machine.
        let is_name = request(dead).windows(9).any(|window| window == b"a.example");
        if !is_name {
            assert!(ask_at(proxy, &request(dead)).await.unwrap().starts_with(refused));
        }
    }
    assert_eq!(ask_at(proxy, b"\x16\x03\x01").await.unwrap(), b"");
    assert!(pair.client_events.lock().last().unwrap().contains("neither SOCKS nor HTTP"));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_client_that_dawdles_is_cut_off() {
    let pair = pair(ForwardPolicy::deny_all()).await;
    let dynamic = pair.client.dynamic(0).await.unwrap();
    let mut socket = TcpStream::connect(dynamic.local_addr()).await.unwrap();
    socket.write_all(b"CONNECT ").await.unwrap();
    assert!(socket.read(&mut [0; 1]).await.is_err());
    assert!(pair.client_events.lock()[0].contains("in time"));
}

#[tokio::test]
async fn streams_are_carried_without_a_socket() {
    let target = answering(2).await;
    let pair = pair(permit(&target.to_string())).await;
    let mut out = Vec::new();
    pair.client.stdio("127.0.0.1", target.port(), &b"abc"[..], &mut out).await.unwrap();
    assert_eq!(out, b"abcabc");
}

#[tokio::test]
async fn listeners_end_with_the_session() {
    let target = answering(1).await;
    let pair = pair(ForwardPolicy::allow_all()).await;
    let local = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let remote = pair.client.remote("127.0.0.1", 0, "127.0.0.1", target.port()).await.unwrap();
    pair.server.session().close();
    pair.client.closed().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(local.local_addr()).await.is_err());
    assert!(TcpStream::connect(("127.0.0.1", remote.port())).await.is_err());
    assert!(pair.client.local(0, "127.0.0.1", 1).await.is_err());
    assert!(pair.client.remote("localhost", 0, "127.0.0.1", 1).await.is_err());
}

#[tokio::test]
async fn a_lost_session_is_no_clean_end_of_a_connection() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", address.port()).await.unwrap();
    let mut near = TcpStream::connect(forward.local_addr()).await.unwrap();
    let (mut far, _) = target.accept().await.unwrap();
    far.write_all(b"half of it").await.unwrap();
    near.read_exact(&mut [0; 10]).await.unwrap();
    pair.server.session().close();
    for socket in [&mut near, &mut far] {
        let end = timeout(Duration::from_secs(5), socket.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_off_is_reset_and_not_ended() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", address.port()).await.unwrap();
    let mut near = TcpStream::connect(forward.local_addr()).await.unwrap();
    let (mut far, _) = target.accept().await.unwrap();
    near.write_all(b"half of it").await.unwrap();
    far.read_exact(&mut [0; 10]).await.unwrap();
    // As when a command is told to end.
    drop((forward, pair));
    for socket in [&mut near, &mut far] {
        let end = timeout(Duration::from_secs(5), socket.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_reset_passes_through_both_ways() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    let forward = pair.client.local(0, "127.0.0.1", address.port()).await.unwrap();
    for near_resets in [true, false] {
        let mut near = TcpStream::connect(forward.local_addr()).await.unwrap();
        let (mut far, _) = target.accept().await.unwrap();
        near.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0]).await.unwrap();
        let (resetting, mut other) = if near_resets { (near, far) } else { (far, near) };
        resetting.set_zero_linger().unwrap();
        drop(resetting);
        let end = timeout(Duration::from_secs(5), other.read(&mut [0; 1])).await.unwrap();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "near resets: {near_resets}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_far_side_while_its_input_stays_open() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = target.local_addr().unwrap();
    let pair = pair(permit(&address.to_string())).await;
    tokio::spawn(async move {
        for reset in [false, true] {
            let (mut socket, _) = target.accept().await.unwrap();
            socket.write_all(b"hello").await.unwrap();
            // Until it has arrived: a reset may overtake it.
            socket.read_exact(&mut [0]).await.unwrap();
            if reset {
                socket.set_zero_linger().unwrap();
            }
        }
    });
    for reset in [false, true] {
        let (mut near_input, input) = tokio::io::duplex(64);
        let (mut near_output, output) = tokio::io::duplex(64);
        let run = pair.client.stdio("127.0.0.1", address.port(), input, output);
        let talk = async {
            near_output.read_exact(&mut [0; 5]).await.unwrap();
            near_input.write_all(b"x").await.unwrap();
        };
        let (ended, ()) = timeout(Duration::from_secs(5), async { tokio::join!(run, talk) }).await.unwrap();
        assert_eq!(matches!(ended, Err(ForwardError::Reset { .. })), reset, "{ended:?}");
        assert_eq!(ended.is_ok(), !reset);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_on_one_loopback_is_taken() {
    let Ok(taken) = TcpListener::bind("[::1]:0").await else { return eprintln!("SKIPPED: no IPv6 here") };
    let pair = pair(ForwardPolicy::deny_all()).await;
    let port = taken.local_addr().unwrap().port();
    let error = pair.client.local(port, "127.0.0.1", 1).await.unwrap_err();
    assert!(matches!(error, ForwardError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
}

#[tokio::test]
async fn ports_that_the_peer_forwards_are_waited_for_and_connected_to() {
    let Pair { client, server, .. } =
        pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
    let target = answering(2).await;
    let error = server.connect_to_forwarded_port(1).await.unwrap_err();
    assert!(matches!(error, ForwardError::NotForwarded { port: 1 }), "{error}");

    let mut ports = server.watch_forwarded_ports();
    assert_eq!(ports.next().await, []);
    let forward = client.remote("localhost", 0, "127.0.0.1", target.port()).await.unwrap();
    let port = forward.port();
    timeout(Duration::from_secs(5), server.wait_for_forwarded_port(port)).await.unwrap().unwrap();
    let listed: Vec<_> = ports.next().await.iter().map(|target| target.port()).collect();
    assert_eq!(listed, [port]);

    let mut channel = server.connect_to_forwarded_port(port).await.unwrap();
    channel.write_all(b"hello").await.unwrap();
    channel.shutdown().await.unwrap();
    let mut answer = String::new();
    channel.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "hellohello");

    assert!(forward.cancel().await.unwrap());
    assert_eq!(ports.next().await, []);
    client.session().close();
    assert!(server.wait_for_forwarded_port(port).await.is_err());
}
