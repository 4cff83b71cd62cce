//! Accepting connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Shared;
use super::event::ForwardEvent;
use super::socket::Socket;
use crate::trace::tell;

/// What connections come from.
pub(super) trait Accept: Send + Sync + 'static {
    /// A connection.
    type Stream: Into<Socket> + Send + 'static;
    /// Whoever connected.
    type From: fmt::Display + Send;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::From)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type From = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = Self::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((stream, SocketAddr::new(from.ip().to_canonical(), from.port())))
    }
}

/// A listener with its task. Dropping it stops the listening; connections go on.
#[derive(Debug)]
pub(super) struct Listening {
    task: AbortHandle,
    /// Errs when the listener is gone.
    gone: oneshot::Receiver<()>,
}

impl Listening {
    /// Stops the listening and waits until the port is free.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.gone).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a task that runs `on_connection` for each connection, in a task of its own. `None` if everything has been
/// stopped.
pub(super) fn listen<L, F, C>(shared: &Arc<Shared>, listener: L, on_connection: F) -> Option<Listening>
where
    L: Accept,
    F: Fn(Arc<Shared>, L::Stream, L::From) -> C + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let (held, gone) = oneshot::channel();
    // Fields drop in their order: the listener, and then what tells of it.
    let held = Held { listener, _held: held };
    let task = shared.listeners.spawn(accept(Arc::clone(shared), held, on_connection))?;
    Some(Listening { task, gone })
}

struct Held<L> {
    listener: L,
    _held: oneshot::Sender<()>,
}

async fn accept<L, F, C>(shared: Arc<Shared>, held: Held<L>, on_connection: F)
where
    L: Accept,
    F: Fn(Arc<Shared>, L::Stream, L::From) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, from) = match held.listener.accept().await {
            Ok(connection) => connection,
            // It was gone before we took it.
            Err(error) if is_of_connection(&error) => continue,
            Err(error) => {
                // Out of descriptors, most likely: trying again at once would only spin.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            shared.events.emit(ForwardEvent::TooManyConnections { from: from.to_string() });
            stream.into().reset();
            continue;
        };
        tell!(PortForwardConnectionAccepted, %from, "connection accepted");
        let connection = on_connection(Arc::clone(&shared), stream, from);
        shared.tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

/// Some systems call the options of a connection that is gone already invalid.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted | K::InvalidInput
    )
}

/// How long an accept that fails is left alone.
const PAUSE: Duration = Duration::from_millis(100);
