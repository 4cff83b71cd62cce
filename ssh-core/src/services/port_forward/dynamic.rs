//! Dynamic forwards: we listen as a proxy, the peer connects.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::bind::Bind;
use super::event::ForwardEvent;
use super::listener::Listening;
use super::proxy::{BadProxyRequest, Handshake, Request, Step};
use super::socket::Socket;
use super::{ForwardError, Shared, local};

/// A dynamic forward, from [`PortForwarding::dynamic`](super::PortForwarding::dynamic). Dropping it stops the
/// listening; connections go on.
#[derive(Debug)]
pub struct DynamicForward {
    address: SocketAddr,
    listeners: Vec<Listening>,
}

impl DynamicForward {
    /// Where it listens, with the port that the system chose if it was to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops the listening and waits until the port is free. Connections go on.
    ///
    /// # Cancel safety
    /// A dropped future has stopped the listening all the same; the port may be free a moment later.
    pub async fn stop(self) {
        for listener in self.listeners {
            listener.stop().await;
        }
    }
}

pub(super) async fn start(shared: &Arc<Shared>, bind: Bind) -> Result<DynamicForward, ForwardError> {
    let sockets = shared.hooks.listeners.listen(&bind, false).await;
    start_on(shared, sockets.map_err(|source| ForwardError::Bind { bind: bind.to_string(), source })?)
}

pub(super) fn start_on(
    shared: &Arc<Shared>,
    sockets: Vec<TcpListener>,
) -> Result<DynamicForward, ForwardError> {
    let (address, listeners) = local::start_listeners(shared, sockets, serve)?;
    Ok(DynamicForward { address, listeners })
}

async fn serve(shared: Arc<Shared>, mut socket: TcpStream, from: SocketAddr) {
    let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, shake_hands(&mut socket)).await;
    let tell = |reason| shared.events.emit(ForwardEvent::BadProxyRequest { from: from.to_string(), reason });
    match handshake {
        Ok(Ok(Ok(request))) => connect(shared, socket, from, request).await,
        Ok(Ok(Err((reply, reason)))) => {
            tell(reason);
            end_with(socket, reply).await;
        }
        // It went away.
        Ok(Err(_)) => {}
        Err(_) => {
            tell(BadProxyRequest::TooSlow);
            Socket::from(socket).reset();
        }
    }
}

/// The client's request, or how to refuse it.
async fn shake_hands(
    socket: &mut TcpStream,
) -> io::Result<Result<Request, (&'static [u8], BadProxyRequest)>> {
    let mut handshake = Handshake::default();
    let mut buffer = vec![0; handshake.room()];
    loop {
        match handshake.step() {
            Step::Read => {
                let room = buffer.get_mut(..handshake.room()).unwrap_or_default();
                let n = socket.read(room).await?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                handshake.feed(buffer.get(..n).unwrap_or_default());
            }
            Step::Send(reply) => socket.write_all(reply).await?,
            Step::Connect(request) => return Ok(Ok(request)),
            Step::Refuse(reply, reason) => return Ok(Err((reply, reason))),
        }
    }
}

async fn connect(shared: Arc<Shared>, mut socket: TcpStream, from: SocketAddr, request: Request) {
    let target = request.target.clone();
    let mut channel = match shared.open_direct(&target, &from.ip().to_string(), from.port()).await {
        Ok(channel) => channel,
        Err(error) => {
            shared.report_unopened(&from.to_string(), &target, &error);
            return end_with(socket, &request.failure(&error)).await;
        }
    };
    shared.events.emit(ForwardEvent::Connection { from: from.to_string(), target: target.clone() });
    if socket.write_all(request.success()).await.is_err() {
        return;
    }
    // What came behind the request is the first of what it is for.
    if channel.write_all(&request.early).await.is_ok() {
        Socket::from(socket).run(channel, &target).await;
    }
}

/// Sends the last words and makes sure that they arrive: closing with unread input would reset the connection.
async fn end_with(mut socket: TcpStream, reply: &[u8]) {
    let end = async {
        socket.write_all(reply).await?;
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(MAX_DRAINED), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(END_DEADLINE, end).await;
}

/// From the connection to the whole request.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// For a client that was refused to take note.
const END_DEADLINE: Duration = Duration::from_secs(2);
/// What a client that was refused may still send, in bytes.
const MAX_DRAINED: u64 = 64 * 1024;
