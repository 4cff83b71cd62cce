//! Dynamic forwards: SOCKS and HTTP.

use ssh_core::services::port_forward::{Bind, ForwardPolicy, PermitListen, PermitTarget, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::resolving::Rebinding;
use super::{answering, ask, ask_at, dead_port, pair, permit};

#[tokio::test]
async fn a_proxy_speaks_socks_and_http() {
    let target = answering(1).await;
    let (_kept, dead) = dead_port();
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

/// The peer listens, and whoever connects there has this side connect to wherever it asks.
#[tokio::test]
async fn a_proxy_may_listen_at_the_peer() {
    let target = answering(2).await;
    let pair = pair(ForwardPolicy::deny_all().permit_listen(PermitListen::loopback())).await;
    let forward = pair.client.remote_dynamic(Target::new("localhost", 0)).await.unwrap();
    let port = target.port().to_be_bytes();
    // The first bytes for the target come with the request; SOCKS4, SOCKS5 by name, HTTP.
    let requests: [(Vec<u8>, &[u8]); 3] = [
        ([&[4, 1][..], &port, &[127, 0, 0, 1], b"me\0abc"].concat(), b"\0\x5a\0\0\0\0\0\0"),
        (
            [&b"\x05\x01\0\x05\x01\0\x03\x09localhost"[..], &port, b"abc"].concat(),
            b"\x05\0\x05\0\0\x01\0\0\0\0\0\0",
        ),
        (
            format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nabc", target.port()).into_bytes(),
            b"HTTP/1.1 200 Connection established\r\n\r\n",
        ),
    ];
    for (request, reply) in requests {
        let answer = ask_at(forward.port(), &request).await.unwrap();
        assert_eq!(answer, [reply, b"abcabc"].concat(), "{}", request.escape_ascii());
    }
    let (_kept, dead) = dead_port();
    let request = [&[5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1][..], &dead.to_be_bytes()].concat();
    assert_eq!(ask_at(forward.port(), &request).await.unwrap(), b"\x05\0\x05\x05\0\x01\0\0\0\0\0\0");
    assert_eq!(ask_at(forward.port(), b"\x05\x01\x02").await.unwrap(), b"\x05\xff");
    let told = pair.client_events.lock().join("\n");
    assert!(told.contains("Connection refused") && told.contains("without a password"), "{told}");
    assert!(forward.cancel().await.unwrap());
}
