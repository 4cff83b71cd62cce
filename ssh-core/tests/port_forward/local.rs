//! Local forwards: where they listen, when they stop, and how many connections they carry.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use ssh_core::OpenError;
use ssh_core::services::port_forward::{ForwardError, ForwardPolicy, PermitTarget, PortForwarding};
use ssh_core::session::OpenFailureReason;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{answering, ask, ask_at, dead_port, pair, permit, sessions, start, until_nobody_listens};

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
    until_nobody_listens(again.local_addr()).await;
}

#[tokio::test]
async fn a_refused_connection_is_reset_and_both_sides_say_why() {
    let permitted = answering(1).await;
    let (_kept, dead) = dead_port();
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
async fn listeners_end_with_the_session() {
    let target = answering(1).await;
    let pair = pair(ForwardPolicy::allow_all()).await;
    let local = pair.client.local(0, "127.0.0.1", target.port()).await.unwrap();
    let remote = pair.client.remote("127.0.0.1", 0, "127.0.0.1", target.port()).await.unwrap();
    pair.server.session().close();
    pair.client.closed().await;
    until_nobody_listens(local.local_addr()).await;
    until_nobody_listens((Ipv4Addr::LOCALHOST, remote.port()).into()).await;
    assert!(pair.client.local(0, "127.0.0.1", 1).await.is_err());
    assert!(pair.client.remote("localhost", 0, "127.0.0.1", 1).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_on_one_loopback_is_taken() {
    let Ok(taken) = TcpListener::bind("[::1]:0").await else { return eprintln!("SKIPPED: no IPv6 here") };
    let pair = pair(ForwardPolicy::deny_all()).await;
    let port = taken.local_addr().unwrap().port();
    let error = pair.client.local(port, "127.0.0.1", 1).await.unwrap_err();
    assert!(matches!(error, ForwardError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
}
