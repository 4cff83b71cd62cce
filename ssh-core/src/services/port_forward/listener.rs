//! Accepting connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::event::ForwardEvent;
use super::{Shared, reset};

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
pub(super) fn listen<F, C>(shared: &Arc<Shared>, listener: TcpListener, on_connection: F) -> Option<Listening>
where
    F: Fn(Arc<Shared>, TcpStream, SocketAddr) -> C + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let (held, gone) = oneshot::channel();
    // Fields drop in their order: the listener, and then what tells of it.
    let socket = Socket { listener, _held: held };
    let task = shared.listeners.spawn(accept(Arc::clone(shared), socket, on_connection))?;
    Some(Listening { task, gone })
}

struct Socket {
    listener: TcpListener,
    _held: oneshot::Sender<()>,
}

async fn accept<F, C>(shared: Arc<Shared>, socket: Socket, on_connection: F)
where
    F: Fn(Arc<Shared>, TcpStream, SocketAddr) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, from) = match socket.listener.accept().await {
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
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            shared.events.emit(ForwardEvent::TooManyConnections { from: from.to_string() });
            reset(stream);
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
            continue;
        }
        let connection = on_connection(Arc::clone(&shared), stream, from);
        shared.tasks.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}

/// How long an accept that fails is left alone.
const PAUSE: Duration = Duration::from_millis(100);
