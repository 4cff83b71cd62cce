//! Local forwards: we listen, the peer connects (RFC 4254 §7.2).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

use super::bind::Bind;
use super::event::{ForwardEvent, Target};
use super::listener::{Listening, listen};
use super::socket::Socket;
use super::{ForwardError, Shared};

/// A local forward, from [`PortForwarding::local`](super::PortForwarding::local). Dropping it stops the listening;
/// connections go on.
#[derive(Debug)]
pub struct LocalForward {
    address: SocketAddr,
    listeners: Vec<Listening>,
}

impl LocalForward {
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

pub(super) async fn start(
    shared: &Arc<Shared>,
    bind: Bind,
    target: Target,
) -> Result<LocalForward, ForwardError> {
    let sockets = shared.hooks.listeners.listen(&bind, false).await;
    start_on(shared, sockets.map_err(|source| ForwardError::Bind { bind: bind.to_string(), source })?, target)
}

pub(super) fn start_on(
    shared: &Arc<Shared>,
    sockets: Vec<TcpListener>,
    target: Target,
) -> Result<LocalForward, ForwardError> {
    let (address, listeners) = start_listeners(shared, sockets, move |shared, socket, from| {
        forward(shared, socket, from, target.clone())
    })?;
    Ok(LocalForward { address, listeners })
}

/// Takes the connections of all sockets; the first one's address.
pub(super) fn start_listeners<F, C>(
    shared: &Arc<Shared>,
    sockets: Vec<TcpListener>,
    on_connection: F,
) -> Result<(SocketAddr, Vec<Listening>), ForwardError>
where
    F: Fn(Arc<Shared>, TcpStream, SocketAddr) -> C + Clone + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let failed = |source| ForwardError::Bind { bind: "a socket".to_owned(), source };
    let first = sockets.first().ok_or_else(|| failed(std::io::ErrorKind::AddrNotAvailable.into()))?;
    let address = first.local_addr().map_err(failed)?;
    let mut listeners = Vec::new();
    for socket in sockets {
        let listening = listen(shared, socket, on_connection.clone());
        listeners.push(listening.ok_or_else(|| shared.over())?);
    }
    Ok((address, listeners))
}

async fn forward(shared: Arc<Shared>, socket: TcpStream, from: SocketAddr, target: Target) {
    match shared.open_direct(&target, &from.ip().to_string(), from.port()).await {
        Ok(channel) => {
            shared.events.emit(ForwardEvent::Connection { from: from.to_string(), target: target.clone() });
            Socket::from(socket).run(channel, &target).await;
        }
        Err(error) => {
            shared.report_unopened(&from.to_string(), &target, &error);
            Socket::from(socket).reset();
        }
    }
}
