//! A relay that means ill: it carries the bytes of clients and hosts as a relay does, and changes what it is told to.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::relay::websocket_stream::WebSocketStream;
use futures::StreamExt as _;
use ssh_core::config::Algorithms;
use ssh_core::session::{Incoming, IncomingChannel, OpenFailureReason};
use ssh_core::{Session, server};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::endpoint::listen;
use crate::outcome::{Failure, Outcome, STEP, within};

/// A relay on a port of its own, until it is dropped. Every name is that of a tunnel, and everybody may do everything.
pub struct EvilRelay {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    task: AbortHandle,
}

/// What it does.
#[derive(Clone, Default)]
pub struct Evil {
    /// The sub-protocol that it answers clients with, whatever they have offered; an empty one for none.
    pub sub_protocol: Option<&'static str>,
    /// The tunnel whose host clients are led to, whichever they wanted.
    pub tunnel: Option<&'static str>,
    /// The port of the host that connections of v2 are led to.
    pub port: Option<u16>,
    /// The wish for encryption is taken out of what the host is told.
    pub strips_wish: bool,
    /// The client is told that the host does without encryption.
    pub strips_answer: bool,
    /// Who is at the other end in the host's place.
    pub impostor: Option<Arc<server::Config>>,
    /// The bytes that are played to clients in the host's place.
    pub recorded: Option<Vec<u8>>,
    /// What is done to bytes.
    pub tamper: Option<Tamper>,
}

/// Is given each piece of a stream between a client and its host, and gives what is passed on in its place.
pub type Tamper = Arc<dyn Fn(Piece) -> Vec<u8> + Send + Sync>;

/// Bytes on their way.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Which client's, from 0.
    pub stream: usize,
    /// Whether a client has sent them.
    pub to_host: bool,
    /// How many came before in this direction.
    pub offset: u64,
    /// They.
    pub bytes: Vec<u8>,
}

struct Shared {
    evil: Mutex<Evil>,
    hosts: watch::Sender<HashMap<String, HostEnd>>,
    streams: AtomicUsize,
    /// Ends the links of clients.
    cut: watch::Sender<u64>,
}

#[derive(Clone)]
struct HostEnd {
    session: Session,
    ports: BTreeSet<u16>,
}

impl EvilRelay {
    /// Starts it; it does nothing evil yet.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start() -> Outcome<Self> {
        let (listener, port) = listen().await?;
        let shared = Arc::new(Shared {
            evil: Mutex::default(),
            hosts: watch::Sender::default(),
            streams: AtomicUsize::new(0),
            cut: watch::Sender::default(),
        });
        let for_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&for_task);
                // A connection that breaks is what the tests are about.
                tokio::spawn(async move { drop(serve(&shared, stream).await) });
            }
        });
        Ok(Self { port, shared, task: task.abort_handle() })
    }

    /// Does this from now on, to who comes.
    pub fn be(&self, evil: Evil) {
        *lock(&self.shared.evil) = evil;
    }

    /// Breaks the links of all clients.
    pub fn cut_clients(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Waits until this tunnel has a host.
    ///
    /// # Errors
    /// When none comes.
    pub async fn has_host(&self, tunnel: &str) -> Outcome {
        let mut hosts = self.shared.hosts.subscribe();
        let found = async { Ok(hosts.wait_for(|hosts| hosts.contains_key(tunnel)).await.map(drop)?) };
        within(STEP, "waiting for a host", found).await
    }
}

impl Drop for EvilRelay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(evil: &Mutex<Evil>) -> std::sync::MutexGuard<'_, Evil> {
    evil.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An upgrade, taken apart.
struct Upgrade {
    tunnel: String,
    is_host: bool,
    offered: String,
    key: String,
}

impl Upgrade {
    async fn read(stream: &mut TcpStream) -> Outcome<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            let found = lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let path = head.split(' ').nth(1).unwrap_or_default();
        let path = path.strip_prefix("/t/").and_then(|path| path.split_once('/'));
        let (tunnel, role) = path.ok_or_else(|| Failure::new(format!("no path: {head}")))?;
        let (offered, key) = (header("sec-websocket-protocol"), header("sec-websocket-key"));
        Ok(Self { tunnel: tunnel.to_owned(), is_host: role == "host", offered, key })
    }
}

async fn serve(shared: &Arc<Shared>, mut stream: TcpStream) -> Outcome {
    stream.set_nodelay(true)?;
    let asked = Upgrade::read(&mut stream).await?;
    let evil = lock(&shared.evil).clone();
    let chosen = match evil.sub_protocol {
        Some(chosen) if !asked.is_host => chosen,
        _ => &asked.offered,
    };
    let mut answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n".to_owned();
    answer.push_str(&format!("Sec-WebSocket-Accept: {}\r\n", derive_accept_key(asked.key.as_bytes())));
    if !chosen.is_empty() {
        answer.push_str(&format!("Sec-WebSocket-Protocol: {chosen}\r\n"));
    }
    stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    let stream = WebSocketStream::new(stream, Role::Server).await;
    if asked.is_host {
        let session = without_security(stream).await?;
        let end = HostEnd { session: session.clone(), ports: BTreeSet::new() };
        shared.hosts.send_modify(|hosts| drop(hosts.insert(asked.tunnel.clone(), end)));
        let take = |port| {
            shared.hosts.send_modify(|hosts| {
                if let Some(host) = hosts.get_mut(&asked.tunnel) {
                    host.ports.insert(port);
                }
            });
        };
        return take_requests(&session, take).await;
    }
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    let served = async {
        if chosen.contains("v2") {
            client_v2(shared, &asked.tunnel, stream).await
        } else {
            let number = shared.streams.fetch_add(1, Ordering::Relaxed);
            match far_end(&evil, &asked.tunnel, shared, None).await? {
                Far::Channel(far, _) => carry(stream, far, number, evil.tamper.as_ref()).await,
                Far::Other(far) => carry(stream, far, number, evil.tamper.as_ref()).await,
            }
        }
    };
    tokio::select! {
        ended = served => ended,
        _ = cut.changed() => Ok(()),
    }
}

/// The relay's end of a session with a host or a client.
async fn without_security<S>(stream: S) -> Outcome<Session>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let config = server::Config::builder(server::danger::AcceptEverybody)
        .algorithms(Algorithms::insecure_without_any_security())
        .build()?;
    Ok(server::accept(stream, config).await?)
}

/// Says yes to everything, and which ports were offered.
async fn take_requests(session: &Session, take: impl Fn(u16)) -> Outcome {
    let mut incoming = session.incoming();
    while let Some(item) = incoming.next().await {
        if let Incoming::Request(request) = item {
            if let Some(port) = port_of(request.fields()) {
                take(port);
            }
            request.accept(&[]);
        }
    }
    Ok(())
}

/// Where a port stands in requests and channels: behind `127.0.0.1` and its length.
const PORT: std::ops::Range<usize> = 13..17;

fn port_of(fields: &[u8]) -> Option<u16> {
    let port = u32::from_be_bytes(*fields.get(PORT)?.first_chunk()?);
    u16::try_from(port).ok()
}

/// What a client is led to.
enum Far {
    /// A channel of a host, with what its confirmation says.
    Channel(ssh_core::Channel, Vec<u8>),
    Other(tokio::io::DuplexStream),
}

/// `connection` is what a client of v2 has asked for.
async fn far_end(evil: &Evil, tunnel: &str, shared: &Shared, connection: Option<&[u8]>) -> Outcome<Far> {
    const PIPE: usize = 256 * 1024;
    if let Some(config) = &evil.impostor {
        let (near, far) = tokio::io::duplex(PIPE);
        let config = Arc::clone(config);
        tokio::spawn(async move {
            if let Ok(session) = server::accept(far, config).await {
                drop(take_requests(&session, |_| {}).await);
            }
        });
        return Ok(Far::Other(near));
    }
    if let Some(recorded) = evil.recorded.clone() {
        let (near, mut far) = tokio::io::duplex(PIPE);
        tokio::spawn(async move {
            let played = far.write_all(&recorded).await;
            let mut rest = Vec::new();
            drop((played, far.read_to_end(&mut rest).await));
        });
        return Ok(Far::Other(near));
    }
    let host = shared.hosts.borrow().get(evil.tunnel.unwrap_or(tunnel)).map(|host| host.session.clone());
    let host = host.ok_or_else(|| Failure::new(format!("{tunnel} has no host")))?;
    let (channel, confirmation) = match connection {
        None => host.open_channel_with("client-ssh-session-stream", &[]).await?,
        Some(fields) => host.open_channel_with("forwarded-tcpip", fields).await?,
    };
    Ok(Far::Channel(channel, confirmation.to_vec()))
}

async fn client_v2<S>(shared: &Arc<Shared>, tunnel: &str, stream: S) -> Outcome
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let session = without_security(stream).await?;
    let mut hosts = shared.hosts.subscribe();
    let offered =
        |hosts: &HashMap<String, HostEnd>| hosts.get(tunnel).is_some_and(|host| !host.ports.is_empty());
    let ports = hosts.wait_for(offered).await?.get(tunnel).map(|host| host.ports.clone());
    for port in ports.unwrap_or_default() {
        let mut fields = [&9_u32.to_be_bytes()[..], b"127.0.0.1"].concat();
        fields.extend(u32::from(port).to_be_bytes());
        session.notify("tcpip-forward", &fields)?;
    }
    let mut incoming = session.incoming();
    while let Some(item) = incoming.next().await {
        if let Incoming::Channel(offer) = item {
            let (shared, tunnel) = (Arc::clone(shared), tunnel.to_owned());
            // As it is now: connections may be made anew on a link that is kept.
            let evil = lock(&shared.evil).clone();
            tokio::spawn(async move { drop(connection(&shared, &evil, &tunnel, offer).await) });
        }
    }
    Ok(())
}

async fn connection(shared: &Shared, evil: &Evil, tunnel: &str, offer: IncomingChannel) -> Outcome {
    let mut fields = offer.fields().to_vec();
    if let (Some(port), Some(field)) = (evil.port, fields.get_mut(PORT)) {
        field.copy_from_slice(&u32::from(port).to_be_bytes());
    }
    if let (true, Some(wish)) = (evil.strips_wish, fields.last_mut()) {
        *wish = 0;
    }
    let (far, mut confirmation): (Box<dyn Both>, Vec<u8>) =
        match far_end(evil, tunnel, shared, Some(&fields)).await {
            Ok(Far::Channel(far, confirmation)) => (Box::new(far), confirmation),
            Ok(Far::Other(far)) => (Box::new(far), vec![1]),
            Err(failure) => {
                offer.reject(OpenFailureReason::CONNECT_FAILED, &failure.to_string());
                return Err(failure);
            }
        };
    if evil.strips_answer {
        confirmation = vec![0];
    }
    let number = shared.streams.fetch_add(1, Ordering::Relaxed);
    carry(offer.accept_with(&confirmation)?, far, number, evil.tamper.as_ref()).await
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// Carries bytes both ways until one ends.
async fn carry(
    client: impl AsyncRead + AsyncWrite + Unpin,
    host: impl AsyncRead + AsyncWrite + Unpin,
    stream: usize,
    tamper: Option<&Tamper>,
) -> Outcome {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_host, mut to_host) = tokio::io::split(host);
    tokio::select! {
        ended = one_way(&mut from_client, &mut to_host, stream, true, tamper) => ended,
        ended = one_way(&mut from_host, &mut to_client, stream, false, tamper) => ended,
    }
}

async fn one_way(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    stream: usize,
    to_host: bool,
    tamper: Option<&Tamper>,
) -> Outcome {
    let (mut offset, mut block) = (0, vec![0; 64 * 1024]);
    loop {
        let count = from.read(&mut block).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        let bytes = block.get(..count).unwrap_or_default().to_vec();
        let passed = match tamper {
            Some(tamper) => tamper(Piece { stream, to_host, offset, bytes }),
            None => bytes,
        };
        offset += count as u64;
        to.write_all(&passed).await?;
        to.flush().await?;
    }
}
