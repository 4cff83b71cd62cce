//! Hosts and clients of both versions on a relay, with our own SSH: who waits, who goes, and what a slow reader costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use relay::websocket_stream::WebSocketStream;
use serde_json::json;
use ssh_core::client::{self, danger::AcceptAnyHostKey};
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::{DisconnectReason, Error};
use ssh_core::session::Incoming;
use ssh_core::{Channel, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::common::{PATIENCE, TestRelay, read_answer, start};

pub const HOST: &str = "tunnel-relay-host";
pub const HOST_V2: &str = "tunnel-relay-host-v2-dev";
pub const CLIENT: &str = "tunnel-relay-client";
pub const CLIENT_V2: &str = "tunnel-relay-client-v2-dev";

pub async fn session(relay: &TestRelay, path: &str, protocol: &str, token: &str) -> Session {
    session_on(relay.upgrade(path, protocol, token).await.unwrap()).await.unwrap()
}

/// On an upgraded connection.
pub async fn session_on(stream: TcpStream) -> Result<Session, Error> {
    session_with(stream, Limits::default()).await
}

pub async fn session_with(stream: TcpStream, limits: Limits) -> Result<Session, Error> {
    let config = client::Config::builder("tunnel")
        .verify_host_key(AcceptAnyHostKey)
        .algorithms(Algorithms::insecure_without_any_security())
        .limits(limits)
        .build()
        .unwrap();
    client::connect(WebSocketStream::new(stream, Role::Client).await, config).await
}

pub async fn host(relay: &TestRelay, protocol: &str) -> Session {
    session(relay, "/t/abc/host", protocol, &relay.token(Some("abc"), "host")).await
}

/// Takes every channel that the relay opens.
pub fn channels(host: &Session) -> mpsc::UnboundedReceiver<Channel> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut incoming = host.incoming();
    tokio::spawn(async move {
        while let Some(item) = incoming.next().await {
            if let Incoming::Channel(offer) = item
                && let Ok(channel) = offer.accept()
            {
                let _ = sender.send(channel);
            }
        }
    });
    receiver
}

pub async fn ended(session: &Session) -> Error {
    tokio::time::timeout(PATIENCE, session.closed()).await.expect("it does not end")
}

#[track_caller]
pub fn assert_told(error: &Error, wanted: DisconnectReason) {
    let Error::Disconnected { reason, .. } = error else { panic!("{error:?}") };
    assert_eq!(*reason, wanted);
}

pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_client_that_came_first_is_served_when_its_host_comes() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "connect");
    let (client, host) = tokio::join!(relay.upgrade("/t/abc/client", CLIENT, &token), async {
        // Nobody is told that a client waits for its host; on loopback it has begun to by then.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let host = host(&relay, HOST).await;
        let channels = channels(&host);
        (host, channels)
    });
    client.unwrap();
    assert!(relay.relay.live_counts("abc").host);
    drop(host);
}

#[tokio::test]
async fn limits_of_clients_are_named() {
    for (limit, per_tunnel) in [("clients_per_tunnel", true), ("clients_per_owner", false)] {
        let relay = start(|config| {
            let limits = &mut config.limits;
            *(if per_tunnel { &mut limits.clients_per_tunnel } else { &mut limits.clients_per_owner }) = 1;
        })
        .await;
        relay.tunnel("abc", json!({})).await;
        let host = host(&relay, HOST).await;
        let _channels = channels(&host);
        let token = relay.token(Some("abc"), "connect");
        let first = relay.upgrade("/t/abc/client", CLIENT, &token).await.unwrap();
        let over = relay.upgrade("/t/abc/client", CLIENT, &token).await.unwrap_err();
        assert_eq!((over.status, over.header("retry-after")), (429, Some("5")));
        assert!(over.problem().contains(&format!("`{limit}` of 1")));
        drop(first);
        until("the place is not given back", || relay.relay.live_counts("abc").clients == 0).await;
        relay.upgrade("/t/abc/client", CLIENT, &token).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_of_v2_alone_has_no_way_to_a_host_of_v1() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST).await;
    let _channels = channels(&host);
    let token = relay.token(Some("abc"), "connect");
    let refused = relay.upgrade("/t/abc/client", CLIENT_V2, &token).await.unwrap_err();
    assert_eq!(refused.status, 400);
    assert!(refused.problem().contains("first version"));
    let both = format!("{CLIENT_V2}, {CLIENT}");
    relay.upgrade("/t/abc/client", &both, &token).await.unwrap();
}

/// A client of v2 is of no use with a host of v1, and does not stay without ports and without a word.
#[tokio::test]
async fn a_host_of_another_version_sends_clients_away_that_do_not_fit() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let _first = host(&relay, HOST_V2).await;
    until("no host", || relay.relay.live_counts("abc").host).await;
    let client = session(&relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await;
    let _second = host(&relay, HOST).await;
    assert_told(&ended(&client).await, DisconnectReason::CONNECTION_LOST);
    until("the client is still counted", || relay.relay.live_counts("abc").clients == 0).await;
}

#[tokio::test]
async fn a_second_host_ends_the_first_for_good() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    for protocol in [HOST, HOST_V2] {
        let first = host(&relay, protocol).await;
        until("the first host is not there", || relay.relay.live_counts("abc").host).await;
        let second = host(&relay, protocol).await;
        assert_told(&ended(&first).await, DisconnectReason::TOO_MANY_CONNECTIONS);
        drop(first);
        // Long enough for the relay to notice that the first has gone, which nobody is told.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(relay.relay.live_counts("abc").host, "the end of the first took the second along");
        drop(second);
        until("the host is still there", || !relay.relay.live_counts("abc").host).await;
    }
}

/// Rights that are withdrawn end what goes on with them, within five seconds.
#[tokio::test]
async fn rights_that_are_withdrawn() {
    for way in ["revoked", "denied", "deleted"] {
        let relay = start(|_| {}).await;
        relay.tunnel("abc", json!({})).await;
        let (host_token, connect) = (relay.token(Some("abc"), "host"), relay.token(Some("abc"), "connect"));
        let host = session(&relay, "/t/abc/host", HOST_V2, &host_token).await;
        let _channels = channels(&host);
        until("no host", || relay.relay.live_counts("abc").host).await;
        let v2 = session(&relay, "/t/abc/client", CLIENT_V2, &connect).await;
        let mut v1 = relay.websocket("/t/abc/client", CLIENT, &connect).await;
        match way {
            "revoked" => {
                for token in [&host_token, &connect] {
                    let path = format!("/tokens/{}", relay.token_id(token));
                    assert_eq!(relay.admin("DELETE", &path, None).await.status, 204);
                }
            }
            "denied" => {
                let rules = json!({"entries": [{"type": "Anonymous", "isDeny": true, "scopes": ["connect", "host"]}]});
                assert_eq!(relay.admin("PUT", "/tunnels/abc/access", Some(&rules)).await.status, 200);
            }
            _ => assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204),
        }
        assert_told(&ended(&host).await, DisconnectReason::BY_APPLICATION);
        assert_told(&ended(&v2).await, DisconnectReason::BY_APPLICATION);
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), v1.read_to_end(&mut rest)).await.expect(way).unwrap();
        let refused = relay.upgrade("/t/abc/client", CLIENT, &connect).await.unwrap_err().status;
        assert!(matches!(refused, 401 | 403 | 404), "{way}: {refused}");
    }
}

/// Row "open relay, phishing" of the threat model: whoever runs the relay ends an abuse in the middle of a transfer, and by taking
/// the tunnel and its maker's token, for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_cuts_a_live_transfer_at_once() {
    for way in ["deny", "delete"] {
        let relay = start(|_| {}).await;
        let maker = relay.token(None, "create manage host connect");
        assert_eq!(relay.with(&maker, "PUT", "/tunnels/abc", Some(&json!({}))).await.status, 201);
        let host = session(&relay, "/t/abc/host", HOST, &maker).await;
        let mut channels = channels(&host);
        let mut client = relay.websocket("/t/abc/client", CLIENT, &maker).await;
        let mut to_client = channels.recv().await.unwrap();
        tokio::spawn(async move { while to_client.write_all(&[7; 32 * 1024]).await.is_ok() {} });
        let mut block = vec![0; 256 * 1024];
        client.read_exact(&mut block).await.unwrap();
        let reader = tokio::spawn(async move {
            while let Ok(1..) = client.read(&mut block).await {}
            tokio::time::Instant::now()
        });
        let started = tokio::time::Instant::now();
        if way == "deny" {
            let rules =
                json!({"entries": [{"type": "Anonymous", "isDeny": true, "scopes": ["connect", "host"]}]});
            assert_eq!(relay.admin("PUT", "/tunnels/abc/access", Some(&rules)).await.status, 200);
        } else {
            let path = format!("/tokens/{}", relay.token_id(&maker));
            assert_eq!(relay.admin("DELETE", &path, None).await.status, 204);
            assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204);
        }
        let cut = tokio::time::timeout(PATIENCE, reader).await.expect("it goes on").unwrap();
        let took = cut.saturating_duration_since(started);
        assert!(took <= Duration::from_secs(5), "{way}: it went on for {took:?}");
        assert_told(&ended(&host).await, DisconnectReason::BY_APPLICATION);
        let again = relay.with(&maker, "PUT", "/tunnels/abc", Some(&json!({}))).await.status;
        assert_eq!(again, if way == "deny" { 200 } else { 401 }, "{way}");
    }
}

/// Everybody is asked to come back, which reason 10 means to an SDK and no other.
#[tokio::test]
async fn a_relay_that_stops_sends_everybody_away() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST_V2).await;
    let _channels = channels(&host);
    until("no host", || relay.relay.live_counts("abc").host).await;
    let token = relay.token(Some("abc"), "connect");
    let v2 = session(&relay, "/t/abc/client", CLIENT_V2, &token).await;
    let mut v1 = relay.websocket("/t/abc/client", CLIENT, &token).await;
    assert_eq!(relay.relay.connected(), 3);
    relay.relay.drain();
    assert_told(&ended(&v2).await, DisconnectReason::CONNECTION_LOST);
    assert_told(&ended(&host).await, DisconnectReason::CONNECTION_LOST);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), v1.read_to_end(&mut rest)).await.unwrap().unwrap();
    until("somebody is still counted", || relay.relay.connected() == 0).await;
}

/// A host whose handshake goes on while the relay is told to stop is sent away too when it is done.
#[tokio::test]
async fn a_relay_that_stops_sends_away_who_is_in_its_handshake() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let stream = relay.upgrade("/t/abc/host", HOST, &relay.token(Some("abc"), "host")).await.unwrap();
    relay.relay.drain();
    let error = match session_on(stream).await {
        Ok(session) => ended(&session).await,
        Err(error) => error,
    };
    assert_told(&error, DisconnectReason::CONNECTION_LOST);
    until("it is still counted", || relay.relay.connected() == 0).await;
}

/// Writes to somebody who reads nothing, as long as that takes anything; the task goes on trying until the stream's end.
async fn flood(mut to: Channel) -> JoinHandle<()> {
    /// The windows of two sessions, what is between them, and the buffers of three sockets on loopback.
    const MOST: usize = 16 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let flood = tokio::spawn(async move {
        let block = vec![7; 32 * 1024];
        while to.write_all(&block).await.is_ok() {
            count.fetch_add(block.len(), Ordering::Relaxed);
        }
    });
    // Until nothing has moved for a while.
    let mut before = usize::MAX;
    while before != sent.load(Ordering::Relaxed) {
        before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    println!("a reader that reads nothing is owed {} KiB", before / 1024);
    assert!(before > 64 * 1024, "nothing was sent");
    assert!(before <= MOST, "{before} bytes are on their way");
    flood
}

/// A client of v1 that reads nothing stops its own stream of the host and no other. On its way for it is at most the
/// window of its channel, what sockets hold, and what the host's own side holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_holds_little_and_nobody_else_up() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST).await;
    let mut channels = channels(&host);
    let token = relay.token(Some("abc"), "connect");
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let slow = relay.upgrade_on(socket, "/t/abc/client", CLIENT, &token).await.unwrap();
    let flood = flood(channels.recv().await.unwrap()).await;

    let mut quick = relay.websocket("/t/abc/client", CLIENT, &token).await;
    let mut to_quick = channels.recv().await.unwrap();
    let expected = vec![3; 4 * 1024 * 1024];
    let send = expected.clone();
    let sender = tokio::spawn(async move {
        to_quick.write_all(&send).await.unwrap();
        to_quick
    });
    let mut received = vec![0; expected.len()];
    tokio::time::timeout(PATIENCE, quick.read_exact(&mut received)).await.expect("it is held up").unwrap();
    assert!(received == expected);
    drop(sender.await.unwrap());
    // The slow one's end ends its stream.
    drop(slow);
    tokio::time::timeout(PATIENCE, flood).await.expect("the channel is left open").unwrap();
}

/// The same by v2, and in both directions: of two channels that are joined, one is not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_of_v2_holds_little_and_nobody_else_up() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST_V2).await;
    host.request("tcpip-forward", &fields(3000, false)).await.unwrap().unwrap();
    let mut channels = channels(&host);
    let token = relay.token(Some("abc"), "connect");
    for host_is_slow in [false, true] {
        let client = session(&relay, "/t/abc/client", CLIENT_V2, &token).await;
        let near = client.open_channel_with("forwarded-tcpip", &fields(3000, true)).await.unwrap().0;
        let far = channels.recv().await.unwrap();
        let (silent, loud) = if host_is_slow { (far, near) } else { (near, far) };
        let flood = flood(loud).await;

        let other = session(&relay, "/t/abc/client", CLIENT_V2, &token).await;
        for quick in [&client, &other] {
            let (mut near, _) =
                quick.open_channel_with("forwarded-tcpip", &fields(3000, true)).await.unwrap();
            let mut far = channels.recv().await.unwrap();
            let data = vec![3; 4 * 1024 * 1024];
            let (mut there, mut back) = (vec![0; data.len()], vec![0; data.len()]);
            let passing = async {
                tokio::try_join!(far.write_all(&data), near.read_exact(&mut back)).unwrap();
                tokio::try_join!(near.write_all(&data), far.read_exact(&mut there)).unwrap();
            };
            tokio::time::timeout(PATIENCE, passing).await.expect("it is held up");
            assert!(there == data && back == data);
        }
        drop(silent);
        tokio::time::timeout(PATIENCE, flood).await.expect("the channel is left open").unwrap();
    }
}

/// The fields of `tcpip-forward`, or those of a channel.
pub fn fields(port: u32, of_channel: bool) -> Vec<u8> {
    let mut fields = Vec::new();
    for port in [Some(port), of_channel.then_some(1)].into_iter().flatten() {
        fields.extend(9_u32.to_be_bytes());
        fields.extend(b"127.0.0.1");
        fields.extend(port.to_be_bytes());
    }
    fields
}

/// A host's session takes the ports that its tunnel may have, and a client of v2 is shown them.
#[tokio::test]
async fn ports_of_a_host_of_v2() {
    let relay = start(|config| config.limits.ports_per_tunnel = 1).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST_V2).await;
    let forward = |port: u32, token: &str| {
        let mut fields = Vec::new();
        for text in ["127.0.0.1", token] {
            if text == token {
                fields.extend(port.to_be_bytes());
            }
            fields.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            fields.extend(text.as_bytes());
        }
        fields
    };
    let token = relay.token(Some("abc"), "host");
    let others = relay.token(Some("other"), "host");
    for (port, token, taken) in [
        (3000, others.as_str(), false),
        (3000, "nonsense", false),
        (70_000, "", false),
        (0, "", false),
        (3000, &token, true),
        (3001, "", false),
    ] {
        let answer = host.request("tcpip-forward", &forward(port, token)).await.unwrap();
        assert_eq!(answer.is_some(), taken, "{port} {token}");
    }
    let client = session(&relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await;
    let shown = async {
        let mut incoming = client.incoming();
        loop {
            if let Some(Incoming::Request(request)) = incoming.next().await {
                assert_eq!((request.name(), request.fields()), ("tcpip-forward", &forward(3000, "")[..17]));
                return request.accept(&[]);
            }
        }
    };
    tokio::time::timeout(PATIENCE, shown).await.unwrap();
}

/// The relay that follows on the same data knows the tunnels and the tokens.
#[tokio::test]
async fn a_restart_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (token, revoked);
    {
        let relay = start(|config| config.data_dir = Some(folder.path().into())).await;
        relay.tunnel("abc", json!({"description": "kept"})).await;
        token = relay.token(Some("abc"), "connect");
        revoked = relay.token(Some("abc"), "connect");
        relay.relay.revoke(&relay.token_id(&revoked), u64::MAX).unwrap();
        let mode = std::fs::metadata(folder.path().join("relay.redb")).unwrap();
        #[cfg(unix)]
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        // The listener's task holds the store; copied, it is that of a relay that was killed.
        std::fs::copy(folder.path().join("relay.redb"), folder.path().join("copy")).unwrap();
    }
    let next = tempfile::tempdir().unwrap();
    std::fs::copy(folder.path().join("copy"), next.path().join("relay.redb")).unwrap();
    let relay = start(|config| config.data_dir = Some(next.path().into())).await;
    let tunnel = relay.with(&token, "GET", "/tunnels/abc", None).await;
    assert_eq!((tunnel.status, &tunnel.json()["description"]), (200, &json!("kept")));
    assert_eq!(relay.with(&revoked, "GET", "/tunnels/abc", None).await.status, 401);
}

/// One address that asks and asks does not keep another from being answered; both are this machine's.
#[tokio::test]
async fn a_noisy_address_is_the_only_one_that_waits() {
    let relay = start(|config| config.limits.requests_per_minute = 3).await;
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(relay.address).await.unwrap();
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", relay.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream).await.status
    };
    for _ in 0..10 {
        from("127.0.0.1").await;
    }
    assert_eq!((from("127.0.0.1").await, from("127.0.0.2").await), (429, 200));
}
