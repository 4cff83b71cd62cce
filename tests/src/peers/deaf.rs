//! A peer that accepts connections and does not speak SSH.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::endpoint::listen;
use crate::outcome::Outcome;

/// A TCP server that says what `greet` says and then never a word; it hangs up at once if `greet` tells it to.
pub struct Deaf {
    /// Its address.
    pub target: String,
    task: AbortHandle,
}

impl Deaf {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(greet: impl Fn(&TcpStream) -> bool + Send + 'static) -> Outcome<Self> {
        let (listener, port) = listen().await?;
        let task = tokio::spawn(accept_all(listener, greet)).abort_handle();
        Ok(Self { target: format!("127.0.0.1:{port}"), task })
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_all(listener: TcpListener, greet: impl Fn(&TcpStream) -> bool) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        // So that a greeting can be sent at all.
        let _ = stream.writable().await;
        if greet(&stream) {
            let _ = stream.shutdown().await;
        }
        kept.push(stream);
    }
}
