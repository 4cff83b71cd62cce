//! A connection on this side: TCP or a Unix socket.

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::event::Target;
use super::hooks::ForwardedStream;
use super::pump;
use crate::channel::Channel;
use crate::trace::tell;

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    /// Moves bytes until both ways have ended. A failure is an ordinary end of a connection.
    pub(super) async fn run(self, channel: Channel, target: &Target) {
        self.run_through(ForwardedStream::Channel(channel), target).await;
    }

    /// As [`run`](Self::run), through what a hook made of the channel.
    pub(super) async fn run_through(self, stream: ForwardedStream, target: &Target) {
        let ended = match (self, stream) {
            (Self::Tcp(socket), ForwardedStream::Channel(channel)) => pump::pump(socket, channel).await,
            (Self::Tcp(mut socket), ForwardedStream::Wrapped(mut stream)) => {
                tokio::io::copy_bidirectional(&mut socket, &mut stream).await.map(drop)
            }
            #[cfg(unix)]
            (Self::Unix(socket), ForwardedStream::Channel(channel)) => pump::pump_unix(socket, channel).await,
            #[cfg(unix)]
            (Self::Unix(mut socket), ForwardedStream::Wrapped(mut stream)) => {
                tokio::io::copy_bidirectional(&mut socket, &mut stream).await.map(drop)
            }
        };
        match ended {
            Ok(()) => {
                tell!(PortForwardConnectionClosed, %target, "connection ended");
            }
            Err(error) => {
                tell!(PortForwardConnectionFailed, %target, %error, "connection broke");
            }
        }
    }

    /// Closes a connection so that the other side gets an error, and not an empty stream, where there is such a thing.
    pub(super) fn reset(self) {
        match self {
            // Without it the connection is closed all the same.
            Self::Tcp(stream) => drop(stream.set_zero_linger()),
            #[cfg(unix)]
            Self::Unix(_) => {}
        }
    }
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

#[cfg(unix)]
impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}
