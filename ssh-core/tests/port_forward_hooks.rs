//! What an application puts into port forwarding: events of ports, factories, hooks, switches.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use ssh_core::config::Extensions;
use ssh_core::services::port_forward::{
    Bind, ConnectingHook, ForwardError, ForwardPolicy, ForwardedPortConnecting, ForwardedStream,
    ListenerFactory, MessageFactory, PortChange, PortForwarding, PortForwardingBuilder, PortSide, PortStream,
    Target,
};
use ssh_core::session::Incoming;
use ssh_core::{Channel, Session};
use support::Sides;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

async fn sessions(extensions: Extensions) -> (Session, Session) {
    support::sessions(&Sides { client_extensions: extensions, ..Sides::default() }).await
}

/// Both sides; the first is the client's, which has asked for nothing.
async fn pair(
    client: impl FnOnce(PortForwardingBuilder) -> PortForwardingBuilder,
    server: impl FnOnce(PortForwardingBuilder) -> PortForwardingBuilder,
) -> (PortForwarding, PortForwarding) {
    let (a, b) = sessions(Extensions::default()).await;
    let server = server(PortForwarding::builder(b).policy(ForwardPolicy::allow_all())).start();
    (client(PortForwarding::builder(a)).start(), server)
}

/// A target that answers a greeting.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    port
}

async fn ask(port: u16, text: &[u8]) -> io::Result<Vec<u8>> {
    let asked = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await?;
        socket.write_all(text).await?;
        socket.shutdown().await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        Ok(answer)
    };
    timeout(SOON, asked).await.unwrap()
}

#[tokio::test]
async fn each_port_is_told_of_on_both_sides() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = |log: &Arc<Mutex<Vec<_>>>, who| {
        let log = Arc::clone(log);
        move |builder: PortForwardingBuilder| {
            builder.on_port(move |event| log.lock().push((who, event.side, event.change, event.port.port())))
        }
    };
    let (client, server) = pair(sink(&log, "client"), sink(&log, "server")).await;
    let first = client.remote("127.0.0.1", 0, "127.0.0.1", 9).await.unwrap();
    let port = first.port();
    assert_eq!(client.requested_ports(), [Target::new("127.0.0.1", port)]);
    let second = client.remote("127.0.0.2", port, "127.0.0.1", 9).await.unwrap();
    assert!(second.cancel().await.unwrap());
    assert!(first.cancel().await.unwrap());
    assert!(client.requested_ports().is_empty() && server.forwarded_ports().is_empty());
    let changes = [PortChange::Added, PortChange::Updated, PortChange::Updated, PortChange::Removed];
    for (who, side) in [("client", PortSide::Local), ("server", PortSide::Remote)] {
        let seen: Vec<_> = log.lock().iter().filter(|event| event.0 == who).cloned().collect();
        assert_eq!(seen, changes.map(|change| (who, side, change, port)));
    }
    log.lock().clear();
    let _left = client.remote("127.0.0.1", 0, "127.0.0.1", 9).await.unwrap();
    client.session().close();
    server.closed().await;
    let removed = async {
        while !log.lock().iter().any(|event| (event.0, event.2) == ("server", PortChange::Removed)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, removed).await.unwrap();
}

#[tokio::test]
async fn a_busy_port_is_changed_for_who_copes_with_it() {
    let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let asked = busy.local_addr().unwrap().port();
    let target = echo().await;
    let (client, _server) = pair(|it| it, |it| it).await;
    let forward = client.remote("127.0.0.1", asked, "127.0.0.1", target).await.unwrap();
    assert_ne!(forward.port(), asked);
    assert_eq!(ask(forward.port(), b"hello").await.unwrap(), b"hello");

    let mut extensions = Extensions::default();
    extensions.can_change_port = false;
    let (a, b) = sessions(extensions).await;
    let _server = PortForwarding::start(b, ForwardPolicy::allow_all());
    let client = PortForwarding::start(a, ForwardPolicy::deny_all());
    let refused = client.remote("127.0.0.1", asked, "127.0.0.1", target).await;
    assert!(matches!(refused, Err(ForwardError::RefusedByPeer { .. })));

    // Another port needs a permission too.
    let (a, b) = sessions(Extensions::default()).await;
    let only = ForwardPolicy::deny_all().permit_listen(format!("127.0.0.1:{asked}").parse().unwrap());
    let _server = PortForwarding::start(b, only);
    let client = PortForwarding::start(a, ForwardPolicy::deny_all());
    let refused = client.remote("127.0.0.1", asked, "127.0.0.1", target).await;
    assert!(matches!(refused, Err(ForwardError::RefusedByPeer { .. })));
}

#[derive(Debug)]
struct Elsewhere(Mutex<Vec<(u16, bool)>>);

impl ListenerFactory for Elsewhere {
    fn listen<'a>(&'a self, bind: &'a Bind, can_change: bool) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        self.0.lock().push((bind.port(), can_change));
        async { Ok(vec![TcpListener::bind("127.0.0.1:0").await?]) }.boxed()
    }
}

#[tokio::test]
async fn the_factory_listens_for_both_kinds_of_forwards() {
    let (ours, theirs) = (Arc::new(Elsewhere(Mutex::default())), Arc::new(Elsewhere(Mutex::default())));
    let target = echo().await;
    let (client, _server) =
        pair(|it| it.listeners(Arc::clone(&ours)), |it| it.listeners(Arc::clone(&theirs))).await;
    let local = client.local(("127.0.0.1", 7), "127.0.0.1", target).await.unwrap();
    assert_eq!(ask(local.local_addr().port(), b"a").await.unwrap(), b"a");
    let remote = client.remote("127.0.0.1", 9, "127.0.0.1", target).await.unwrap();
    assert_eq!(ask(remote.port(), b"b").await.unwrap(), b"b");
    assert_eq!((&*ours.0.lock(), &*theirs.0.lock()), (&vec![(7, false)], &vec![(9, true)]));
}

#[derive(Debug)]
struct Appended;

impl MessageFactory for Appended {
    fn request(&self, _bind: &Target) -> Vec<u8> {
        b"token".to_vec()
    }

    fn channel_open(&self, _place: &Target) -> Vec<u8> {
        b"opened".to_vec()
    }

    fn success(&self, _port: u16) -> Vec<u8> {
        b"granted".to_vec()
    }
}

#[tokio::test]
async fn appended_fields_are_on_the_wire_and_do_no_harm() {
    let target = echo().await;
    let (client, _server) = pair(|it| it.messages(Appended), |it| it.messages(Appended)).await;
    let remote = client.remote("127.0.0.1", 0, "127.0.0.1", target).await.unwrap();
    assert_eq!(ask(remote.port(), b"a").await.unwrap(), b"a");
    let local = client.local(0, "127.0.0.1", target).await.unwrap();
    assert_eq!(ask(local.local_addr().port(), b"b").await.unwrap(), b"b");

    let (a, b) = sessions(Extensions::default()).await;
    let client = PortForwarding::builder(a).messages(Appended).start();
    let mut incoming = b.incoming();
    let (asked, seen) = tokio::join!(client.remote("", 5, "x", 1), async {
        match futures::StreamExt::next(&mut incoming).await {
            Some(Incoming::Request(request)) => {
                let fields = request.fields().to_vec();
                request.refuse();
                fields
            }
            _ => Vec::new(),
        }
    });
    assert!(asked.is_err());
    assert_eq!(seen, b"\0\0\0\0\0\0\0\x05token");
}

/// Rejects a port, and turns what comes from the peer upside down.
struct Hook {
    seen: Mutex<Vec<ForwardedPortConnecting>>,
    admits: bool,
}

impl ConnectingHook for Hook {
    fn admit<'a>(&'a self, connection: &'a ForwardedPortConnecting) -> BoxFuture<'a, bool> {
        self.seen.lock().push(connection.clone());
        futures::future::ready(self.admits).boxed()
    }

    fn wrap<'a>(
        &'a self,
        _connection: &'a ForwardedPortConnecting,
        mut channel: Channel,
    ) -> BoxFuture<'a, io::Result<ForwardedStream>> {
        async move {
            let (near, mut far) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                far.write_all(b"> ").await?;
                tokio::io::copy_bidirectional(&mut far, &mut channel).await
            });
            Ok(ForwardedStream::Wrapped(Box::new(near)))
        }
        .boxed()
    }
}

fn hook(admits: bool) -> Arc<Hook> {
    Arc::new(Hook { seen: Mutex::default(), admits })
}

#[tokio::test]
async fn the_hook_wraps_and_rejects_connections() {
    let target = echo().await;
    let incoming = hook(true);
    let (client, _server) = pair(|it| it.on_connecting(Arc::clone(&incoming)), |it| it).await;
    let remote = client.remote("127.0.0.1", 0, "127.0.0.1", target).await.unwrap();
    assert_eq!(ask(remote.port(), b"a").await.unwrap(), b"> a");
    let seen = incoming.seen.lock().clone();
    assert!(matches!(seen.as_slice(), [one] if one.is_incoming && one.port.port() == remote.port()));

    let outgoing = hook(false);
    let (client, server) = pair(|it| it, |it| it.on_connecting(Arc::clone(&outgoing))).await;
    let remote = client.remote("127.0.0.1", 0, "127.0.0.1", target).await.unwrap();
    assert!(ask(remote.port(), b"a").await.is_err());
    assert!(server.connect_to_forwarded_port(remote.port()).await.is_err());
    assert!(outgoing.seen.lock().iter().all(|one| !one.is_incoming));
    assert_eq!(outgoing.seen.lock().len(), 2);
}

/// Puts nothing around a channel but a box.
struct Boxed;

impl ConnectingHook for Boxed {
    fn wrap<'a>(
        &'a self,
        _connection: &'a ForwardedPortConnecting,
        channel: Channel,
    ) -> BoxFuture<'a, io::Result<ForwardedStream>> {
        futures::future::ready(Ok(ForwardedStream::Wrapped(Box::new(channel)))).boxed()
    }
}

#[tokio::test]
async fn what_breaks_behind_a_wrapped_stream_is_no_clean_end_of_it() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Breaks {
        Session,
        Near,
        Far,
        Forwarding,
    }
    for breaks in [Breaks::Session, Breaks::Near, Breaks::Far, Breaks::Forwarding] {
        let (client, server) = pair(|it| it.on_connecting(Boxed), |it| it.on_connecting(Boxed)).await;
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = client.remote("127.0.0.1", 0, "127.0.0.1", target.local_addr().unwrap().port());
        let remote = remote.await.unwrap();
        let mut near = TcpStream::connect(("127.0.0.1", remote.port())).await.unwrap();
        let (mut far, _) = target.accept().await.unwrap();
        for (from, to) in [(true, false), (false, true)] {
            let (from, to) = if from && !to { (&mut near, &mut far) } else { (&mut far, &mut near) };
            from.write_all(b"x").await.unwrap();
            timeout(SOON, to.read_u8()).await.unwrap().unwrap();
        }
        let sessions = (client.session().clone(), server.session().clone());
        let mut kept = Some(client);
        let mut left = match breaks {
            Breaks::Session => {
                server.session().close();
                vec![near, far]
            }
            Breaks::Near => {
                near.set_zero_linger().unwrap();
                drop(near);
                vec![far]
            }
            Breaks::Far => {
                far.set_zero_linger().unwrap();
                drop(far);
                vec![near]
            }
            Breaks::Forwarding => {
                kept = None;
                vec![near, far]
            }
        };
        for socket in &mut left {
            let end = timeout(SOON, socket.read(&mut [0])).await.unwrap();
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{breaks:?}");
        }
        drop((kept, sessions));
    }
}

#[tokio::test]
async fn the_switches() {
    let target = echo().await;
    // No listener, but the port is known.
    let (client, server) = pair(|it| it, |it| it.accept_local_connections(false)).await;
    assert!(client.remote("127.0.0.1", 0, "127.0.0.1", target).await.is_err());
    // Nobody else can listen there meanwhile.
    let kept = TcpSocket::new_v4().unwrap();
    kept.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let free = kept.local_addr().unwrap().port();
    let _forward = client.remote("127.0.0.1", free, "127.0.0.1", target).await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", free)).await.is_err());
    let mut channel = server.connect_to_forwarded_port(free).await.unwrap();
    channel.write_all(b"x").await.unwrap();
    assert_eq!(timeout(SOON, channel.read_u8()).await.unwrap().unwrap(), b'x');

    // Only forwarded ports.
    let (client, _server) = pair(|it| it, |it| it.accept_non_forwarded(false)).await;
    assert!(matches!(client.open("127.0.0.1", target).await, Err(ForwardError::Open { .. })));

    // Streams in place of connections.
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel::<PortStream>();
    let (client, _server) = pair(
        |it| {
            it.streams(move |stream| {
                let _ = sender.send(stream);
            })
        },
        |it| it,
    )
    .await;
    let forward = client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.unwrap();
    let mut socket = TcpStream::connect(("127.0.0.1", forward.port())).await.unwrap();
    let mut stream = timeout(SOON, streams.recv()).await.unwrap().unwrap();
    assert_eq!(stream.port.port(), forward.port());
    stream.channel.write_all(b"y").await.unwrap();
    assert_eq!(timeout(SOON, socket.read_u8()).await.unwrap().unwrap(), b'y');
}
