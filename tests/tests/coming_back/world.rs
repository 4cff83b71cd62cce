//! A server, and ways to it that fail.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ssh_core::Session;
use ssh_core::client::{self, ConnectError, Reconnect};
use ssh_core::config::Algorithms;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{self, DetachedSessions};
use ssh_core::session::ReconnectOffer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

use super::PATIENCE;

/// A server whose sessions can be had.
#[derive(Clone)]
pub(super) struct World {
    pub(super) config: Arc<server::Config>,
    pub(super) sessions: DetachedSessions,
    accepted: mpsc::UnboundedSender<Session>,
    last_wire: Arc<Mutex<Option<Wire>>>,
}

/// A connection that fails in whatever way is wanted.
#[derive(Clone)]
pub(super) struct Wire {
    /// Both sides see its end.
    pub(super) end: Arc<Notify>,
    /// The client sees its end, the server does not.
    pub(super) cut: Arc<Notify>,
    /// What the server says does not arrive for as long as this holds.
    pub(super) deaf: Arc<watch::Sender<bool>>,
}

/// When a client becomes deaf to what the server says.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Deaf {
    Never,
    /// To everything behind the server's NEWKEYS.
    WhenKeysAreThere,
}

impl World {
    pub(super) fn new(sessions: DetachedSessions) -> (Self, mpsc::UnboundedReceiver<Session>) {
        let provider = default_provider();
        let key = provider.signatures.generate(KeyKind::Ed25519, 0).unwrap();
        let config = server::Config::builder(server::danger::AcceptEverybody)
            .host_key(SigningKey::new(&key, provider).unwrap())
            .algorithms(quick())
            .detached_sessions(sessions.clone())
            .build()
            .unwrap();
        let (accepted, receiver) = mpsc::unbounded_channel();
        (Self { config, sessions, accepted, last_wire: Arc::default() }, receiver)
    }

    pub(super) fn dial(&self) -> (DuplexStream, Wire) {
        self.dial_with(Deaf::Never)
    }

    pub(super) fn dial_with(&self, deaf: Deaf) -> (DuplexStream, Wire) {
        let (near, left) = tokio::io::duplex(64 * 1024);
        // What is on its way to somebody who is deaf is little.
        let (right, far) = tokio::io::duplex(if deaf == Deaf::Never { 64 * 1024 } else { 16 });
        let wire =
            Wire { end: Arc::default(), cut: Arc::default(), deaf: Arc::new(watch::Sender::new(false)) };
        tokio::spawn(wire.clone().run(left, right, deaf));
        let world = self.clone();
        tokio::spawn(async move {
            if let Ok(session) = server::accept(far, world.config).await {
                world.accepted.send(session).unwrap();
            }
        });
        *self.last_wire.lock() = Some(wire.clone());
        (near, wire)
    }

    /// A session that the test brings back.
    pub(super) async fn connect(&self, offer: ReconnectOffer) -> (Session, Wire) {
        let config = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .algorithms(quick())
            .offer_reconnect(offer);
        let (stream, wire) = self.dial();
        let session = client::connect(stream, config.build().unwrap()).await.unwrap();
        timeout(PATIENCE, session.reconnect_enabled()).await.unwrap().unwrap();
        (session, wire)
    }

    /// A session that comes back by itself.
    pub(super) async fn connect_for_good(&self) -> Session {
        let world = self.clone();
        let policy = Reconnect::new(move |_| {
            let (stream, _) = world.dial();
            async move { Ok::<_, ConnectError>(stream) }
        });
        self.connect_by(policy).await
    }

    /// A session that comes back by itself like this, without much of a delay.
    pub(super) async fn connect_by(&self, policy: Reconnect) -> Session {
        let policy = policy.first_delay(Duration::from_millis(1)).max_delay(Duration::from_millis(10));
        let config = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .algorithms(quick())
            .reconnect(policy);
        client::connect(self.dial().0, config.build().unwrap()).await.unwrap()
    }

    /// The last connection ends.
    pub(super) fn end_last(&self) {
        if let Some(wire) = self.last_wire.lock().take() {
            wire.end.notify_one();
        }
    }
}

impl Wire {
    async fn run(self, left: DuplexStream, right: DuplexStream, deaf: Deaf) {
        let (mut from_client, mut to_client) = tokio::io::split(left);
        let (mut from_server, mut to_server) = tokio::io::split(right);
        let up = async {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
                if to_server.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
            let _ = to_server.shutdown().await;
        };
        let down = async {
            let (mut buffer, mut heard) = (vec![0; 64 * 1024], self.deaf.subscribe());
            // What the server says in the clear, for as long as it is looked at.
            let mut clear = (deaf == Deaf::WhenKeysAreThere).then(Vec::new);
            loop {
                let _ = heard.wait_for(|deaf| !*deaf).await;
                let read = tokio::select! {
                    _ = heard.changed() => continue,
                    // Byte by byte, so that nothing behind what is waited for is read with it.
                    read = from_server.read(&mut buffer[..if clear.is_some() { 1 } else { 64 * 1024 }]) => read,
                };
                let Ok(n @ 1..) = read else { break };
                if let Some(said) = &mut clear {
                    said.extend_from_slice(&buffer[..n]);
                    if ends_with_new_keys(said) {
                        self.deaf.send_replace(true);
                        clear = None;
                    }
                }
                if to_client.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
            let _ = to_client.shutdown().await;
        };
        tokio::select! {
            _ = futures::future::join(up, down) => return,
            () = self.end.notified() => return,
            () = self.cut.notified() => {}
        }
        drop((from_client, to_client));
        // The server goes on believing in it.
        let _hold = (from_server, to_server);
        std::future::pending::<()>().await;
    }
}

/// Whether this is a version line and whole packets in the clear, of which the last is SSH_MSG_NEWKEYS.
fn ends_with_new_keys(said: &[u8]) -> bool {
    let Some(end) = said.iter().position(|byte| *byte == b'\n') else { return false };
    let mut rest = &said[end + 1..];
    while let Some((length, packet)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if packet.len() < length {
            return false;
        }
        // Behind the length of the padding.
        if packet[1] == 21 {
            return true;
        }
        rest = &packet[length..];
    }
    false
}

/// Handshakes are not what is tested.
pub(super) fn quick() -> Algorithms {
    Algorithms::default().with_kex("curve25519-sha256").unwrap()
}

pub(super) async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it took too long");
}

pub(super) async fn lose(session: &Session, wire: &Wire) {
    wire.cut.notify_one();
    until(|| session.disconnected().is_some()).await;
}
