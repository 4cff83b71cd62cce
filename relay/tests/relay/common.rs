//! A relay in this process, and what is sent to it byte by byte.
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use relay::clock::WallClock;
use relay::config::AdminToken;
use relay::scopes::Scopes;
use relay::tokens::Grant;
use relay::websocket_stream::WebSocketStream;
use relay::{Config, Relay, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::Role;

pub const ADMIN: &str = "the-operators-secret";
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Nothing here takes longer on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestRelay {
    pub relay: Arc<Relay>,
    pub address: SocketAddr,
}

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The detail of a problem, whose form is checked.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{self:?}");
        body["detail"].as_str().unwrap_or_else(|| panic!("no detail: {self:?}")).to_owned()
    }
}

/// A clock that stands still, and is set, in seconds since 1970.
#[derive(Debug, Clone)]
pub struct Hands(Arc<AtomicU64>);

/// When [`Hands`] are let go.
pub const NOON: u64 = 1_800_000_000;

impl Default for Hands {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NOON)))
    }
}

impl Hands {
    pub fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    pub fn clock(&self) -> WallClock {
        let hands = Arc::clone(&self.0);
        WallClock::new(move || SystemTime::UNIX_EPOCH + Duration::from_secs(hands.load(Ordering::Relaxed)))
    }
}

pub async fn start(change: impl FnOnce(&mut Config)) -> TestRelay {
    let mut config = Config::default();
    config.admin_token = AdminToken::new(ADMIN);
    change(&mut config);
    let relay = Relay::new(config).unwrap();
    let server = Server::bind(Arc::clone(&relay), "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(server.run());
    TestRelay { relay, address }
}

impl TestRelay {
    /// Sends these bytes and reads until the relay closes, or has answered a whole request.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_answer(&mut stream).await
    }

    /// A request with these lines of headers.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            let body = body.to_string();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        } else {
            text.push_str("\r\n");
        }
        self.raw(text.as_bytes()).await
    }

    /// The operator's.
    pub async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = format!("Bearer {ADMIN}");
        self.ask(method, path, &[("Authorization", &token)], body).await
    }

    /// With a tunnel's token.
    pub async fn with(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let token = format!("tunnel {token}");
        self.ask(method, path, &[("Authorization", &token)], body).await
    }

    pub async fn tunnel(&self, id: &str, fields: Value) {
        let mut body = json!({ "tunnelId": id });
        body.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap_or_default());
        let made = self.admin("PUT", &format!("/tunnels/{id}"), Some(&body)).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    pub fn token(&self, tunnel: Option<&str>, scopes: &str) -> String {
        self.token_for("ada", tunnel, scopes, Duration::from_secs(600))
    }

    pub fn token_for(&self, subject: &str, tunnel: Option<&str>, scopes: &str, lifetime: Duration) -> String {
        let scopes = Scopes::parse(scopes).unwrap();
        let grant = match tunnel.map(|id| self.relay.store().tunnel(id)) {
            Some(Some(record)) => Grant::at(&record, subject, scopes),
            _ => Grant { tunnel: tunnel.map(Into::into), ..Grant::everywhere(subject, scopes) },
        };
        self.relay.tokens().issue(&grant, lifetime, self.relay.now()).unwrap().token.to_string()
    }

    pub fn token_id(&self, token: &str) -> String {
        self.relay.tokens().verify(token, self.relay.store(), self.relay.now()).unwrap().id
    }

    /// The lines of an upgrade, to be changed.
    pub fn upgrade_lines(&self, path: &str, protocol: &str, token: &str) -> Vec<String> {
        vec![
            format!("GET {path} HTTP/1.1"),
            format!("Host: {}", self.address),
            "Connection: Upgrade".into(),
            "Upgrade: websocket".into(),
            "Sec-WebSocket-Version: 13".into(),
            format!("Sec-WebSocket-Key: {KEY}"),
            format!("Sec-WebSocket-Protocol: {protocol}"),
            format!("Authorization: tunnel {token}"),
        ]
    }

    /// Upgrades; the connection if the answer is a 101.
    pub async fn upgrade(&self, path: &str, protocol: &str, token: &str) -> Result<TcpStream, Answer> {
        self.upgrade_on(TcpSocket::new_v4().unwrap(), path, protocol, token).await
    }

    pub async fn upgrade_on(
        &self,
        socket: TcpSocket,
        path: &str,
        protocol: &str,
        token: &str,
    ) -> Result<TcpStream, Answer> {
        let mut stream = socket.connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(lines(&self.upgrade_lines(path, protocol, token)).as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        if answer.status == 101 { Ok(stream) } else { Err(answer) }
    }

    /// A WebSocket of an SDK.
    pub async fn websocket(&self, path: &str, protocol: &str, token: &str) -> WebSocketStream<TcpStream> {
        let stream = self.upgrade(path, protocol, token).await.unwrap();
        WebSocketStream::new(stream, Role::Client).await
    }
}

pub fn lines(lines: &[String]) -> String {
    lines.join("\r\n") + "\r\n\r\n"
}

pub fn basic(password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("operator:{password}")))
}

/// Reads an answer and not a byte more: what follows a 101 is the WebSocket's.
pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    let read = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_ok() {
            answer.body = String::from_utf8_lossy(&body).into_owned();
        }
        answer
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the relay does not answer")
}

/// A port of this machine that sends back what it gets.
pub async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    port
}
