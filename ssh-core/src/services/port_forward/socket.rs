//! A connection on this side: TCP or a Unix socket.

use std::io;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::event::Target;
use super::hooks::{ForwardedPortConnecting, ForwardedStream, Hooks, Wrapped};
use super::pump::{self, Abort};
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
        let ended = match self {
            Self::Tcp(socket) => pump::pump(socket, channel).await,
            #[cfg(unix)]
            Self::Unix(socket) => pump::pump_unix(socket, channel).await,
        };
        tell_of(ended, target);
    }

    /// As [`run`](Self::run), through what the hook makes of the channel.
    pub(super) async fn run_through(
        self,
        hooks: &Hooks,
        connection: &ForwardedPortConnecting,
        channel: Channel,
        target: &Target,
    ) {
        let abort = Abort::unless_whole(&channel);
        match hooks.wrap(connection, channel).await {
            Some(ForwardedStream::Wrapped(stream)) => self.run_wrapped(stream, abort, target).await,
            Some(ForwardedStream::Channel(channel)) => {
                abort.take_back();
                self.run(channel, target).await;
            }
            None => self.reset(),
        }
    }

    /// As [`run`](Self::run), through what a hook has made of the channel; `abort` is the channel's.
    pub(super) async fn run_wrapped(self, stream: Box<dyn Wrapped>, abort: Abort, target: &Target) {
        let ended = match self {
            Self::Tcp(socket) => through_tcp(socket, stream, abort).await,
            #[cfg(unix)]
            Self::Unix(mut socket) => through(&mut socket, stream, abort).await,
        };
        tell_of(ended, target);
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

/// Until all has ended well, however this ends, it ends with a reset.
async fn through_tcp(mut socket: TcpStream, stream: Box<dyn Wrapped>, abort: Abort) -> io::Result<()> {
    let _ = socket.set_zero_linger();
    through(&mut socket, stream, abort).await?;
    SockRef::from(&socket).set_linger(None)
}

// Those that are named last are dropped first: the peer has to hear of a break before the channel closes.
async fn through<S>(socket: &mut S, mut stream: Box<dyn Wrapped>, abort: Abort) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut from_socket, mut to_socket) = tokio::io::split(socket);
    let (mut from_peer, mut to_peer) = tokio::io::split(&mut stream);
    let up = async {
        tokio::io::copy(&mut from_socket, &mut to_peer).await?;
        to_peer.shutdown().await
    };
    let down = async {
        tokio::io::copy(&mut from_peer, &mut to_socket).await?;
        abort.check_peer()?;
        to_socket.shutdown().await
    };
    futures::future::try_join(up, down).await?;
    abort.check_peer()?;
    abort.take_back();
    Ok(())
}

fn tell_of(ended: io::Result<()>, target: &Target) {
    match ended {
        Ok(()) => {
            tell!(PortForwardConnectionClosed, %target, "connection ended");
        }
        Err(error) => {
            tell!(PortForwardConnectionFailed, %target, %error, "connection broke");
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
