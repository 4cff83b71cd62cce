//! Remote forwards, and connections to them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::OpenError;
use ssh_core::services::port_forward::{
    Bind, ForwardError, ForwardPolicy, ListenerFactory, PermitListen, PortForwarding,
};
use ssh_core::session::OpenFailureReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Events, Pair, answering, ask_at, dead_port, pair, sessions};

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
    let told = pair.server_events.lock().pop().unwrap();
    assert!(told.contains("limit forwarded_ports"), "{told}");
    drop(first);
    let _third = pair.client.remote("127.0.0.1", 0, "127.0.0.1", 1).await.unwrap();
    // The other way round nothing is permitted at all.
    assert!(pair.server.remote("127.0.0.1", 0, "127.0.0.1", 1).await.is_err());
    assert!(pair.server.open("127.0.0.1", 1).await.is_err());
}

#[tokio::test]
async fn a_dead_target_of_a_remote_forward_resets_the_connection() {
    let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
    let (_kept, dead) = dead_port();
    let forward = pair.client.remote("localhost", 0, "127.0.0.1", dead).await.unwrap();
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

/// Takes its time, as a server does that asks somebody first.
#[derive(Debug)]
struct Slow(Duration);

impl ListenerFactory for Slow {
    fn listen<'a>(&'a self, bind: &'a Bind, _: bool) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        async move {
            tokio::time::sleep(self.0).await;
            bind.listen().await
        }
        .boxed()
    }
}

/// A request that the peer grants when whoever asked has given up, and the forwarding has gone: the session is kept, and
/// nobody would ever take the port back.
#[tokio::test]
async fn what_is_granted_too_late_is_taken_back_without_the_forwarding() {
    for fixed in [false, true] {
        let port = if fixed { free_port().await } else { 0 };
        let (near, far) = sessions().await;
        let events = Events::default();
        let sink = Arc::clone(&events);
        let server = PortForwarding::builder(far)
            .policy(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback()))
            .listeners(Slow(Duration::from_millis(200)))
            .on_port(move |event| sink.lock().push(format!("{:?}", event.change)))
            .start();
        let client = PortForwarding::start(near.clone(), ForwardPolicy::deny_all());
        let asked =
            timeout(Duration::from_millis(50), client.remote("127.0.0.1", port, "127.0.0.1", 1)).await;
        assert!(asked.is_err(), "{asked:?}");
        drop(client);
        let both = async {
            while *events.lock() != ["Added", "Removed"] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = timeout(Duration::from_secs(20), both).await;
        assert!(told.is_ok(), "port {port}: {:?} and {:?}", events.lock(), server.forwarded_ports());
        assert_eq!(server.forwarded_ports(), []);
        assert!(!near.is_closed());
    }
}

/// With or without the session: nobody would take what comes through it.
#[tokio::test]
async fn a_remote_forward_ends_with_its_forwarding() {
    for keeps_session in [true, false] {
        let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
        let kept = keeps_session.then(|| pair.client.session().clone());
        let port = free_port().await;
        let forward = pair.client.remote("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
        drop(pair.client);
        let ended = async {
            while let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)).await {
                let _ = timeout(Duration::from_millis(50), socket.read(&mut [0; 1])).await;
            }
        };
        timeout(Duration::from_secs(20), ended).await.unwrap();
        assert_eq!(pair.server.session().is_closed(), !keeps_session);
        if let Some(session) = kept {
            // Another forwarding of the session may have the port, and what is left of this one does not take it away.
            let again = PortForwarding::start(session, ForwardPolicy::deny_all());
            let second = again.remote("127.0.0.1", port, "127.0.0.1", 1).await.unwrap();
            assert!(!forward.cancel().await.unwrap());
            assert_eq!(pair.server.forwarded_ports().len(), 1);
            assert!(second.cancel().await.unwrap());
        }
    }
}

/// Below the range that the system takes ports from by itself, so that nobody takes it by chance.
async fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 1000).unwrap();
    loop {
        let port = 31_500 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 1000;
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return port;
        }
    }
}
