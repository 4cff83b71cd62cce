//! What an application can put into the forwarding of ports.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::bind::Bind;
use super::event::Target;
use crate::channel::Channel;

/// Listens for forwards, both our own and the peer's.
pub trait ListenerFactory: Send + Sync + fmt::Debug {
    /// Listens where `bind` says: at least one listener, all on the same port. With `can_change_port` that may be another
    /// port than the one asked for, because whoever asked copes with it (`can-change-port`).
    fn listen<'a>(
        &'a self,
        bind: &'a Bind,
        can_change_port: bool,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>>;
}

impl<T: ListenerFactory + ?Sized> ListenerFactory for Arc<T> {
    fn listen<'a>(
        &'a self,
        bind: &'a Bind,
        can_change_port: bool,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        (**self).listen(bind, can_change_port)
    }
}

/// Listens with the system's sockets; on a port of the system's choice if the one asked for is taken and may be changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemListeners;

impl ListenerFactory for SystemListeners {
    fn listen<'a>(
        &'a self,
        bind: &'a Bind,
        can_change_port: bool,
    ) -> BoxFuture<'a, io::Result<Vec<TcpListener>>> {
        async move {
            match bind.listen().await {
                Err(error) if can_change_port && error.kind() == io::ErrorKind::AddrInUse => {
                    bind.on_any_port().listen().await
                }
                listened => listened,
            }
        }
        .boxed()
    }
}

/// Appends fields to the messages of port forwarding, which peers that do not know them ignore. Unix sockets have none.
pub trait MessageFactory: Send + Sync + fmt::Debug {
    /// Behind `tcpip-forward` and `cancel-tcpip-forward` for this address.
    fn request(&self, _bind: &Target) -> Vec<u8> {
        Vec::new()
    }

    /// Behind the port in the answer that grants a forward.
    fn success(&self, _port: u16) -> Vec<u8> {
        Vec::new()
    }

    /// Behind the fields of a `direct-tcpip` or `forwarded-tcpip` channel: the target of the one, the port that is listened
    /// on of the other.
    fn channel_open(&self, _place: &Target) -> Vec<u8> {
        Vec::new()
    }
}

/// The messages of RFC 4254 §7.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainMessages;

impl MessageFactory for PlainMessages {}

/// A connection through a forwarded port, before any byte of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwardedPortConnecting {
    /// The port that is listened on.
    pub port: Target,
    /// Whether the peer listens, and has passed the connection on to this side.
    pub is_incoming: bool,
}

/// Decides about connections through forwarded ports, and may wrap their streams, for instance in TLS.
pub trait ConnectingHook: Send + Sync {
    /// Whether the connection may go on.
    fn admit<'a>(&'a self, _connection: &'a ForwardedPortConnecting) -> BoxFuture<'a, bool> {
        futures::future::ready(true).boxed()
    }

    /// What is moved to and from the socket in place of the channel. An error ends the connection.
    fn wrap<'a>(
        &'a self,
        _connection: &'a ForwardedPortConnecting,
        channel: Channel,
    ) -> BoxFuture<'a, io::Result<ForwardedStream>> {
        futures::future::ready(Ok(ForwardedStream::Channel(channel))).boxed()
    }
}

impl<T: ConnectingHook + ?Sized> ConnectingHook for Arc<T> {
    fn admit<'a>(&'a self, connection: &'a ForwardedPortConnecting) -> BoxFuture<'a, bool> {
        (**self).admit(connection)
    }

    fn wrap<'a>(
        &'a self,
        connection: &'a ForwardedPortConnecting,
        channel: Channel,
    ) -> BoxFuture<'a, io::Result<ForwardedStream>> {
        (**self).wrap(connection, channel)
    }
}

/// What carries a connection to the peer.
pub enum ForwardedStream {
    /// The channel itself.
    Channel(Channel),
    /// Something around it.
    Wrapped(Box<dyn Wrapped>),
}

/// A stream around a channel.
pub trait Wrapped: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wrapped for T {}

impl fmt::Debug for ForwardedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Channel(_) => "Channel",
            Self::Wrapped(_) => "Wrapped",
        })
    }
}

/// A connection that the peer passed on and that goes to the application, not to a socket.
#[derive(Debug)]
#[non_exhaustive]
pub struct PortStream {
    /// The port that the peer listens on.
    pub port: Target,
    /// The connection.
    pub channel: Channel,
}

/// A forwarded port that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortEvent {
    /// Where its connections end.
    pub side: PortSide,
    /// What happened.
    pub change: PortChange,
    /// The port that is listened on, with the host as it was asked for.
    pub port: Target,
}

/// Where the connections of a forwarded port end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortSide {
    /// Here: this side asked the peer to listen.
    Local,
    /// At the peer: it asked this side to listen.
    Remote,
}

/// What happened to a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortChange {
    /// It is forwarded now.
    Added,
    /// It is forwarded on one address more, or one less.
    Updated,
    /// It is not forwarded any more.
    Removed,
}

/// The hooks of a forwarding.
pub(super) struct Hooks {
    pub(super) listeners: Arc<dyn ListenerFactory>,
    pub(super) messages: Arc<dyn MessageFactory>,
    pub(super) connecting: Option<Arc<dyn ConnectingHook>>,
    pub(super) on_stream: Option<Box<dyn Fn(PortStream) + Send + Sync>>,
    pub(super) on_port: Option<Box<dyn Fn(PortEvent) + Send + Sync>>,
    pub(super) switches: Switches,
}

/// What of the forwarding is on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Switches {
    pub(super) accept_local: bool,
    pub(super) accept_direct: bool,
    pub(super) connect_to_local: bool,
}

impl Hooks {
    pub(super) fn port(&self, side: PortSide, change: PortChange, port: &Target) {
        tracing::debug!(?side, ?change, %port, "forwarded ports changed");
        if let Some(callback) = &self.on_port {
            callback(PortEvent { side, change, port: port.clone() });
        }
    }

    pub(super) async fn admit(&self, connection: &ForwardedPortConnecting) -> bool {
        match &self.connecting {
            Some(hook) => hook.admit(connection).await,
            None => true,
        }
    }

    /// `None` if the hook failed.
    pub(super) async fn wrap(
        &self,
        connection: &ForwardedPortConnecting,
        channel: Channel,
    ) -> Option<ForwardedStream> {
        let Some(hook) = &self.connecting else { return Some(ForwardedStream::Channel(channel)) };
        let wrapped = hook.wrap(connection, channel).await;
        wrapped
            .inspect_err(|error| tracing::debug!(port = %connection.port, %error, "cannot wrap a connection"))
            .ok()
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            listeners: Arc::new(SystemListeners),
            messages: Arc::new(PlainMessages),
            connecting: None,
            on_stream: None,
            on_port: None,
            switches: Switches { accept_local: true, accept_direct: true, connect_to_local: true },
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("switches", &self.switches).finish_non_exhaustive()
    }
}
