//! What comes before a WebSocket stands: bad requests, bad upgrades, too many of them.

use std::time::Duration;

use crate::common::{ADMIN, Answer, Hands, NOON, PATIENCE, lines, start};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

const HOST: &str = "tunnel-relay-host";
const CLIENT: &str = "tunnel-relay-client";

/// Rows "no or unknown subprotocol" and "no / wrong token" of the threat model.
#[tokio::test]
async fn bad_upgrades_are_refused_before_the_101() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    let changed = async |name: &str, line: Option<&str>| -> Answer {
        let mut all = relay.upgrade_lines("/t/abc/host", HOST, &token);
        all.retain(|known| !known.starts_with(name));
        all.extend(line.map(str::to_owned));
        relay.raw(lines(&all).as_bytes()).await
    };
    for (name, line, status) in [
        ("Upgrade", None, 426),
        ("Upgrade", Some("Upgrade: h2c"), 426),
        ("Connection", None, 426),
        ("Connection", Some("Connection: close"), 426),
        ("Sec-WebSocket-Version", None, 426),
        ("Sec-WebSocket-Version", Some("Sec-WebSocket-Version: 8"), 426),
        ("Sec-WebSocket-Key", None, 400),
        ("Sec-WebSocket-Key", Some("Sec-WebSocket-Key: short"), 400),
        ("Sec-WebSocket-Key", Some("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"), 400),
        ("none", Some("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
        ("Sec-WebSocket-Protocol", None, 400),
        ("Sec-WebSocket-Protocol", Some("Sec-WebSocket-Protocol: chat, tunnel-relay-client"), 400),
        ("Sec-WebSocket-Protocol", Some("Sec-WebSocket-Protocol: Tunnel-Relay-Host"), 400),
        ("Authorization", None, 401),
        ("Authorization", Some("Authorization: tunnel nonsense"), 401),
        ("Authorization", Some("Authorization: tunnel null"), 401),
    ] {
        let answer = changed(name, line).await;
        assert_eq!(answer.status, status, "{name} {line:?}: {answer:?}");
        answer.problem();
        assert_eq!(answer.header("sec-websocket-version"), (status == 426).then_some("13"), "{line:?}");
    }
    let mut post = relay.upgrade_lines("/t/abc/host", HOST, &token);
    post[0] = "POST /t/abc/host HTTP/1.1".into();
    assert_eq!(relay.raw(lines(&post).as_bytes()).await.status, 405);
    let mut old = relay.upgrade_lines("/t/abc/host", HOST, &token);
    old[0] = "GET /t/abc/host HTTP/1.0".into();
    assert_eq!(relay.raw(lines(&old).as_bytes()).await.status, 400);
    // Wrong scope, another tunnel's token, no such tunnel.
    let refused = async |path: &str, token: &str| relay.upgrade(path, HOST, token).await.unwrap_err().status;
    assert_eq!(refused("/t/abc/host", &relay.token(Some("abc"), "connect")).await, 403);
    assert_eq!(refused("/t/abc/host", &relay.token(Some("other"), "host")).await, 404);
    assert_eq!(refused("/t/nope/host", &relay.token(Some("other"), "host")).await, 404);
    assert_eq!(refused("/t/abc/client", &relay.token(Some("abc"), "host")).await, 403);
}

/// Row "token in URL" of the threat model: what stands there is seen by everybody on the way and in every log, so it counts
/// for nothing; a token that has been cut or has expired counts for nothing either.
#[tokio::test]
async fn a_token_counts_whole_in_time_and_in_its_header() {
    let hands = Hands::default();
    let relay = start(|config| config.clock = hands.clock()).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    let asked = async |query: &str, token: Option<&str>| {
        let mut all = relay.upgrade_lines(&format!("/t/abc/host{query}"), HOST, "");
        all.retain(|line| !line.starts_with("Authorization"));
        all.extend(token.map(|token| format!("Authorization: tunnel {token}")));
        relay.raw(lines(&all).as_bytes()).await.status
    };
    for name in ["token", "access_token", "authorization", "t"] {
        assert_eq!(asked(&format!("?{name}={token}"), None).await, 401, "{name}");
    }
    let in_path = relay.ask("GET", &format!("/t/{token}/host"), &[], None).await;
    assert_ne!(in_path.status, 101);
    assert!(!in_path.body.contains(&token), "{in_path:?}");
    let cut = &token[..token.len() - 1];
    let (head, signature) = token.rsplit_once('.').unwrap();
    for bad in [cut, &token[1..], head, &format!("{head}."), &format!("{head}.{}", &signature[..10]), ""] {
        assert_eq!(asked("", Some(bad)).await, 401, "{bad:?}");
    }
    assert_eq!(asked("", Some(&token)).await, 101);
    // 60 s of leeway, and not one more.
    let expired = relay.token_for("ada", Some("abc"), "host", Duration::ZERO);
    for (past, status) in [(59, 101), (60, 401), (86_400, 401)] {
        hands.set(NOON + past);
        assert_eq!(asked("", Some(&expired)).await, status, "{past} s past its end");
    }
}

/// Whoever has a token for something else learns nothing about which tunnels there are.
#[tokio::test]
async fn somebody_elses_tunnel_looks_like_none() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("other"), "host connect manage");
    for (protocol, path) in [(HOST, "host"), (CLIENT, "client")] {
        let there = relay.upgrade(&format!("/t/abc/{path}"), protocol, &token).await.unwrap_err();
        let nowhere = relay.upgrade(&format!("/t/xyz/{path}"), protocol, &token).await.unwrap_err();
        assert_eq!((there.status, &there.body), (404, &nowhere.body));
    }
}

#[tokio::test]
async fn the_answer_names_the_protocol_and_nothing_else() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    for (offer, chosen) in [
        ("tunnel-relay-host-v2-dev, tunnel-relay-host", "tunnel-relay-host-v2-dev"),
        ("tunnel-relay-host,tunnel-relay-host-v2-dev", "tunnel-relay-host"),
        ("chat, tunnel-relay-host", "tunnel-relay-host"),
    ] {
        let mut all = relay.upgrade_lines("/t/abc/host", offer, &token);
        // A Java SDK asks for compression, which is never agreed to.
        all.push("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits".into());
        let answer = relay.raw(lines(&all).as_bytes()).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), Some(chosen));
        // RFC 6455 §1.3.
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("sec-websocket-extensions"), None);
    }
    // A browser has no header: its token is the last protocol, and is never given back.
    for (last, status) in [(token.as_str(), 101), ("nonsense", 401)] {
        let mut all = relay.upgrade_lines("/t/abc/host", &format!("{HOST}, {last}"), "");
        all.retain(|line| !line.starts_with("Authorization"));
        let answer = relay.raw(lines(&all).as_bytes()).await;
        assert_eq!(answer.status, status);
        assert!(!answer.head.contains(last) && !answer.body.contains(last));
    }
}

/// Row "foreign or `null` Origin" of the threat model.
#[tokio::test]
async fn foreign_pages_and_names_are_refused_before_anything_is_looked_at() {
    let relay = start(|config| config.origins = vec!["https://editor.example".into()]).await;
    let admin = format!("Bearer {ADMIN}");
    let get = async |lines: &str| {
        let text =
            format!("GET /tunnels HTTP/1.1\r\n{lines}Authorization: {admin}\r\nConnection: close\r\n\r\n");
        relay.raw(text.as_bytes()).await.status
    };
    let own = relay.address;
    for (lines, status) in [
        (format!("Host: {own}\r\n"), 200),
        (format!("Host: localhost:{}\r\n", own.port()), 200),
        (format!("Host: {own}\r\nOrigin: http://{own}\r\n"), 200),
        (format!("Host: {own}\r\nOrigin: https://editor.example\r\n"), 200),
        (format!("Host: {own}\r\nOrigin: https://evil.example\r\n"), 403),
        (format!("Host: {own}\r\nOrigin: null\r\n"), 403),
        (format!("Host: {own}\r\nOrigin: http://{own}\r\nOrigin: https://evil.example\r\n"), 403),
        ("Host: evil.example\r\n".into(), 421),
        (format!("Host: evil.example:{}\r\n", own.port()), 421),
        (String::new(), 400),
        (format!("Host: {own}\r\nHost: evil.example\r\n"), 400),
    ] {
        assert_eq!(get(&lines).await, status, "{lines:?}");
    }
    relay.tunnel("abc", json!({})).await;
    let mut upgrade = relay.upgrade_lines("/t/abc/host", HOST, "nonsense");
    upgrade.push("Origin: https://evil.example".into());
    assert_eq!(relay.raw(lines(&upgrade).as_bytes()).await.status, 403, "the token is not even looked at");
}

/// Row "smuggling" of the threat model: nothing that follows a doubtful request on its connection is answered.
#[tokio::test]
async fn doubtful_requests_end_the_connection() {
    let relay = start(|_| {}).await;
    let second = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", relay.address);
    let host = format!("Host: {}\r\n", relay.address);
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    let upgrade = lines(&relay.upgrade_lines("/t/abc/host", HOST, &token));
    let upgrade = upgrade.strip_suffix("\r\n").unwrap();
    for doubtful in [
        format!(
            "POST /tokens HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        format!(
            "POST /tokens HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"
        ),
        format!("POST /tokens HTTP/1.1\r\n{host}Content-Length: 4\r\nContent-Length: 5\r\n\r\n{{}}  "),
        format!("GET /healthz HTTP/1.1\r\n{host}{host}\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{host}X: a\r\n b\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{host}X: a\0b\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\n{host}X : a\r\n\r\n"),
        format!("GET /healthz HTTP/2.0\r\n{host}\r\n"),
        "SSH-2.0-client\r\n".into(),
        format!("{upgrade}Content-Length: 4\r\n\r\n\x02\x03ab"),
        format!("{upgrade}Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"),
        format!("{upgrade}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        stream.write_all(format!("{doubtful}{second}").as_bytes()).await.unwrap();
        let mut all = String::new();
        let _ =
            tokio::time::timeout(PATIENCE, stream.read_to_string(&mut all)).await.expect("it is not closed");
        assert!(!all.contains("ok\n"), "{doubtful:?}: {all}");
        assert!(all.matches("HTTP/1.1 ").count() <= 1, "{doubtful:?}: {all}");
        let alone = relay.raw(doubtful.as_bytes()).await;
        // The library drops a length beside chunks, and it is the end of the connection that keeps what follows from counting.
        let lost_its_length = doubtful.starts_with("POST") && doubtful.contains("chunked");
        assert_eq!(alone.status, if lost_its_length { 415 } else { 400 }, "{doubtful:?}: {alone:?}");
        // What follows unread may reset the connection, and take the answer along.
        assert!(
            all.is_empty() || all.starts_with(&format!("HTTP/1.1 {} ", alone.status)),
            "{doubtful:?}: {all}"
        );
    }
}

/// Row "headers" of the threat model.
#[tokio::test]
async fn headers_have_a_size_and_a_time() {
    let relay = start(|_| {}).await;
    let host = relay.address;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X: y\r\n".repeat(5000));
    let lines = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X: y\r\n".repeat(70));
    for (name, request) in [("long", &long), ("many", &many), ("70 lines", &lines)] {
        let mut stream = TcpStream::connect(host).await.unwrap();
        // The relay may close while it is still written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{name}: {answer}");
    }
    // 16 KiB in 64 lines, and hardly more: what is read to its end is answered for certain.
    for (lines, length, status) in [(60, 250, 200), (60, 280, 431), (64, 1, 200), (65, 1, 431)] {
        let line = format!("X: {}\r\n", "y".repeat(length - 1));
        // `Host` is one of them.
        let text = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{}\r\n", line.repeat(lines - 1));
        assert_eq!(relay.raw(text.as_bytes()).await.status, status, "{lines} lines, {} bytes", text.len());
    }
    // A line every now and then does not keep it open, and neither does silence.
    let relay = start(|config| config.limits.header_time = Duration::from_millis(400)).await;
    let host = relay.address;
    for drip in [false, true] {
        let mut stream = TcpStream::connect(host).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        let started = Instant::now();
        let mut byte = [0; 64];
        loop {
            if let Ok(read) = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await
                && !matches!(read, Ok(1..))
            {
                break;
            }
            if drip && stream.write_all(b"X: y\r\n").await.is_err() {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(5), "it is kept open (drip: {drip})");
        }
        assert!(started.elapsed() >= Duration::from_millis(300), "closed after {:?}", started.elapsed());
    }
}

/// A body that drips holds a connection no longer than any other request.
#[tokio::test]
async fn a_body_has_its_time() {
    let relay = start(|config| config.limits.request_time = Duration::from_millis(300)).await;
    let token = relay.token(None, "create");
    let head = format!(
        "PUT /tunnels/abc HTTP/1.1\r\nHost: {}\r\nAuthorization: tunnel {token}\r\nContent-Type: application/json\r\n\
         Content-Length: 20\r\n\r\n{{",
        relay.address
    );
    let answer = relay.raw(head.as_bytes()).await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{answer:?}");
    assert!(answer.problem().contains("in time"));
}

/// Rates and rules are about whoever is behind the operator's proxy, and only the operator's proxy says who that is.
#[tokio::test]
async fn a_proxy_says_who_is_behind_it() {
    for trusted in [false, true] {
        let relay = start(|config| {
            config.limits.requests_per_minute = 20;
            config.limits.connections_per_address = 2;
            if trusted {
                config.proxies = vec!["127.0.0.1/32".parse().unwrap()];
            }
        })
        .await;
        let rules = json!({"entries": [{"type": "IPAddressRanges", "subjects": ["203.0.113.0/24"], "scopes": ["connect"]}]});
        relay.tunnel("abc", json!({ "accessControl": rules })).await;
        let get = async |address: &str| {
            relay.ask("GET", "/tunnels/abc", &[("X-Forwarded-For", address)], None).await.status
        };
        let expected = if trusted { 200 } else { 401 };
        assert_eq!(get("203.0.113.7").await, expected);
        assert_eq!(get("203.0.113.7, 198.51.100.1").await, 401, "the client wrote the first one");
        let held: Vec<_> = futures::future::join_all((0..4).map(|_| TcpStream::connect(relay.address))).await;
        assert_eq!(get("203.0.113.8").await == 429, !trusted, "a proxy has many connections");
        drop(held);
        if trusted {
            for _ in 0..20 {
                get("203.0.113.9").await;
            }
            assert_eq!((get("203.0.113.9").await, get("203.0.113.10").await), (429, 200));
        }
    }
}

#[tokio::test]
async fn requests_of_an_address_are_counted() {
    let relay = start(|config| config.limits.requests_per_minute = 5).await;
    for _ in 0..5 {
        assert_eq!(relay.ask("GET", "/healthz", &[], None).await.status, 200);
    }
    let over = relay.ask("GET", "/healthz", &[], None).await;
    assert_eq!(over.status, 429);
    let seconds: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert!(over.problem().starts_with("the limit `requests_per_minute` of 5 is reached; try again in "));
}

#[tokio::test]
async fn connections_past_a_limit_are_told_so() {
    for (limit, per_address) in [("connections_per_address", true), ("connections", false)] {
        let relay = start(|config| {
            let limit = if per_address {
                &mut config.limits.connections_per_address
            } else {
                &mut config.limits.connections
            };
            *limit = 2;
        })
        .await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(relay.address).await.unwrap();
            let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", relay.address);
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(crate::common::read_answer(&mut stream).await.status, 200);
            held.push(stream);
        }
        let over = relay.ask("GET", "/healthz", &[], None).await;
        assert_eq!(
            (over.status, over.header("retry-after"), over.header("connection")),
            (429, Some("10"), Some("close"))
        );
        assert!(over.problem().contains(&format!("`{limit}` of 2")), "{over:?}");
        held.pop();
        let started = Instant::now();
        while relay.ask("GET", "/healthz", &[], None).await.status != 200 {
            assert!(started.elapsed() < PATIENCE, "the place is not given back");
        }
    }
}

/// An SDK that is told 503 comes back; one that got its 101 and then nothing does not.
#[tokio::test]
async fn a_client_waits_for_its_host_and_is_then_asked_back() {
    let relay = start(|config| config.limits.host_wait = Duration::from_millis(300)).await;
    relay.tunnel("abc", json!({})).await;
    let started = Instant::now();
    let refused =
        relay.upgrade("/t/abc/client", CLIENT, &relay.token(Some("abc"), "connect")).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert!(refused.problem().contains("no host"));
    // Nobody new is let in when it is about to stop.
    relay.relay.stop_admitting();
    for (path, protocol, scope) in [("/t/abc/client", CLIENT, "connect"), ("/t/abc/host", HOST, "host")] {
        let refused = relay.upgrade(path, protocol, &relay.token(Some("abc"), scope)).await.unwrap_err();
        assert_eq!(refused.status, 503);
        assert!(refused.problem().contains("about to stop"));
    }
}
