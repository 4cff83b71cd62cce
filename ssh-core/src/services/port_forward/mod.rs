//! Port forwarding (RFC 4254 §7): local, remote and dynamic forwards, and the serving of what the peer asks for.
//!
//! ```no_run
//! # async fn example(session: ssh_core::Session) -> Result<(), Box<dyn std::error::Error>> {
//! use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding};
//!
//! let forwarding = PortForwarding::start(session, ForwardPolicy::deny_all());
//! let web = forwarding.local(8080, "intranet.example", 80).await?;
//! println!("http://{}", web.local_addr());
//! forwarding.closed().await;
//! # Ok(())
//! # }
//! ```

mod bind;
mod builder;
mod dial;
mod dynamic;
mod error;
mod event;
mod forwarded;
mod granted;
mod hooks;
mod http_connect;
mod listener;
mod local;
mod messages;
mod permit;
mod permit_path;
mod policy;
mod proxy;
mod pump;
mod remote;
mod remote_dynamic;
mod requested;
mod serve;
mod socket;
mod socks;
mod tasks;
#[cfg(unix)]
mod unix;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use bind::Bind;
pub use builder::PortForwardingBuilder;
pub use dial::{Resolver, SystemResolver};
pub use dynamic::DynamicForward;
pub use error::ForwardError;
pub use event::{ForwardEvent, Target};
pub use forwarded::ForwardedPorts;
pub use hooks::{
    ConnectingHook, ForwardedPortConnecting, ForwardedStream, ListenerFactory, MessageFactory, PlainMessages,
    PortChange, PortEvent, PortSide, PortStream, SystemListeners, Wrapped,
};
pub use local::LocalForward;
pub use permit::{BadPermit, PermitListen, PermitTarget};
pub use permit_path::{BadPermitPath, PermitPath};
pub use policy::ForwardPolicy;
pub use proxy::BadProxyRequest;
#[cfg(unix)]
pub use pump::pump_unix;
pub use pump::{pump, pump_streams, pump_streams_until_closed, pump_until_closed};
pub use remote::RemoteForward;
#[cfg(unix)]
pub use unix::{SocketForward, SocketListener};

use crate::channel::Channel;
use crate::error::Error;
use crate::protocol::OpenError;
use crate::session::Session;
use event::Events;
use granted::Granted;
use hooks::Hooks;
use messages::{ChannelTarget, DIRECT_STREAMLOCAL, DIRECT_TCPIP, encode_direct_path};
use requested::{Destination, Requested};
use tasks::Tasks;

/// The port forwarding of one session, either side. It takes all channels and requests of the peer. It holds on to the
/// session; its forwards do not.
///
/// Dropping it stops all listeners, has the peer stop to listen for it, and cuts all connections.
#[derive(Debug)]
pub struct PortForwarding {
    shared: Arc<Shared>,
}

/// What the tasks of a session's forwards share.
#[derive(Debug)]
struct Shared {
    session: Session,
    policy: ForwardPolicy,
    events: Events,
    hooks: Hooks,
    /// Connections, and the serving of the peer.
    tasks: Tasks,
    /// They end with the session.
    listeners: Tasks,
    /// What we asked the peer to listen on.
    requested: Arc<Requested>,
    /// What we listen on for the peer.
    granted: Granted,
    connections: Arc<Semaphore>,
}

impl PortForwarding {
    /// Starts to serve the peer within `policy`. It needs a tokio runtime.
    #[must_use = "dropping it stops everything"]
    pub fn start(session: Session, policy: ForwardPolicy) -> Self {
        Self::builder(session).policy(policy).start()
    }

    /// To start with more than a policy.
    pub fn builder(session: Session) -> PortForwardingBuilder {
        PortForwardingBuilder::new(session)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.shared.session
    }

    /// Listens here; each connection goes to a target that the peer connects to. A bare port means localhost.
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if the system does not let us listen there.
    ///
    /// # Cancel safety
    /// A dropped future listens on nothing.
    pub async fn local(
        &self,
        bind: impl Into<Bind>,
        target_host: &str,
        target_port: u16,
    ) -> Result<LocalForward, ForwardError> {
        self.local_to(bind, Target::new(target_host, target_port)).await
    }

    /// As [`local`](Self::local), with a target that may be a Unix socket of the peer (OpenSSH PROTOCOL §2.4).
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if the system does not let us listen there.
    ///
    /// # Cancel safety
    /// A dropped future listens on nothing.
    pub async fn local_to(
        &self,
        bind: impl Into<Bind>,
        target: Target,
    ) -> Result<LocalForward, ForwardError> {
        local::start(&self.shared, bind.into(), target).await
    }

    /// Listens on a Unix socket here, which only this user can connect to; each connection goes to a target that the peer
    /// connects to. There must be nothing at `path` yet.
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if the system does not let us listen there, or the path is too long for it, which is somewhat
    /// above a hundred bytes.
    #[cfg(unix)]
    pub fn local_socket(
        &self,
        path: impl AsRef<std::path::Path>,
        target: Target,
    ) -> Result<SocketForward, ForwardError> {
        unix::start(&self.shared, path.as_ref(), target)
    }

    /// As [`local_socket`](Self::local_socket), on a socket that listens already and whose file is not this forward's to
    /// remove. Who keeps the socket, as a [`SocketListener`] does, keeps its place when the session ends: connections then
    /// wait in the system's queue for the next session's forward.
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if it is none, and [`ForwardError::Session`] if the session is over.
    #[cfg(unix)]
    pub fn local_socket_on(
        &self,
        listener: tokio::net::UnixListener,
        target: Target,
    ) -> Result<SocketForward, ForwardError> {
        unix::start_on(&self.shared, listener, target)
    }

    /// As [`local`](Self::local), on sockets that listen already. Who keeps duplicates of them keeps the port when the
    /// session ends: connections then wait in the system's queue for the next session's forward.
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if there are none, and [`ForwardError::Session`] if the session is over.
    pub fn local_on(
        &self,
        listeners: Vec<TcpListener>,
        target: Target,
    ) -> Result<LocalForward, ForwardError> {
        local::start_on(&self.shared, listeners, target)
    }

    /// Asks the peer to listen on `bind_host` (empty for all its interfaces, `localhost`, or an address) and `port`, or
    /// on a port of its choice for 0. Each connection there goes to a target that this side connects to.
    ///
    /// # Errors
    /// [`ForwardError::RefusedByPeer`], or the session's error.
    ///
    /// # Cancel safety
    /// A dropped future takes the request back.
    pub async fn remote(
        &self,
        bind_host: &str,
        port: u16,
        target_host: &str,
        target_port: u16,
    ) -> Result<RemoteForward, ForwardError> {
        self.remote_to(Target::new(bind_host, port), Target::new(target_host, target_port)).await
    }

    /// As [`remote`](Self::remote); `bind` may be a Unix socket of the peer, and the target one of this side (OpenSSH
    /// PROTOCOL §2.4).
    ///
    /// # Errors
    /// [`ForwardError::RefusedByPeer`], or the session's error.
    ///
    /// # Cancel safety
    /// A dropped future takes the request back.
    pub async fn remote_to(&self, bind: Target, target: Target) -> Result<RemoteForward, ForwardError> {
        remote::start(&self.shared, bind, Destination::Target(target)).await
    }

    /// As [`remote_to`](Self::remote_to), and this side is a proxy to whoever connects there, as it is with
    /// [`dynamic`](Self::dynamic) to whoever connects here: each connection goes to the target that it asks for, which this
    /// side resolves and connects to. Whoever can connect to `bind` can reach whatever this machine can.
    ///
    /// # Errors
    /// [`ForwardError::RefusedByPeer`], or the session's error.
    ///
    /// # Cancel safety
    /// A dropped future takes the request back.
    pub async fn remote_dynamic(&self, bind: Target) -> Result<RemoteForward, ForwardError> {
        remote::start(&self.shared, bind, Destination::Proxy).await
    }

    /// Listens here as a proxy (SOCKS4, SOCKS4a, SOCKS5 and HTTP CONNECT, told apart by the first byte); each
    /// connection goes to the target that it asks for, which the peer resolves and connects to. A bare port means
    /// localhost. Whoever can connect can use it.
    ///
    /// # Errors
    /// [`ForwardError::Bind`] if the system does not let us listen there.
    ///
    /// # Cancel safety
    /// A dropped future listens on nothing.
    pub async fn dynamic(&self, bind: impl Into<Bind>) -> Result<DynamicForward, ForwardError> {
        dynamic::start(&self.shared, bind.into()).await
    }

    /// As [`dynamic`](Self::dynamic), on sockets that listen already; see [`local_on`](Self::local_on).
    ///
    /// # Errors
    /// As for [`local_on`](Self::local_on).
    pub fn dynamic_on(&self, listeners: Vec<TcpListener>) -> Result<DynamicForward, ForwardError> {
        dynamic::start_on(&self.shared, listeners)
    }

    /// Has the peer connect to a target, without a socket on this side.
    ///
    /// # Errors
    /// [`ForwardError::Open`] with the peer's reason.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn open(&self, host: &str, port: u16) -> Result<Channel, ForwardError> {
        self.open_to(Target::new(host, port)).await
    }

    /// As [`open`](Self::open), with a target that may be a Unix socket of the peer (OpenSSH PROTOCOL §2.4).
    ///
    /// # Errors
    /// [`ForwardError::Open`] with the peer's reason.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn open_to(&self, target: Target) -> Result<Channel, ForwardError> {
        // Some servers refuse an originator that is no address.
        let channel = self.shared.open_direct(&target, "127.0.0.1", 0).await;
        channel.map_err(|source| ForwardError::Open { target, source })
    }

    /// Has the peer connect to a target, and moves bytes between it and a pair of streams such as stdin and stdout
    /// until both ways have ended. Once the target's data has ended, a reader that gives nothing for about 1 s is given up,
    /// as nobody may be left who would end it; a target that still reads is then reset.
    ///
    /// # Errors
    /// As for [`open`](Self::open), [`ForwardError::Stream`] if one of the streams fails, [`ForwardError::Reset`] if the
    /// target reset the connection, or closed it before it had taken what was read, and [`ForwardError::Session`] if the session is
    /// lost.
    ///
    /// # Cancel safety
    /// A dropped future closes the channel and resets the target; bytes that were read may be lost.
    pub async fn stdio<R, W>(&self, host: &str, port: u16, reader: R, writer: W) -> Result<(), ForwardError>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        self.stdio_to(Target::new(host, port), reader, writer).await
    }

    /// As [`stdio`](Self::stdio), with a target that may be a Unix socket of the peer (OpenSSH PROTOCOL §2.4).
    ///
    /// # Errors
    /// As for [`stdio`](Self::stdio).
    ///
    /// # Cancel safety
    /// As for [`stdio`](Self::stdio).
    pub async fn stdio_to<R, W>(&self, target: Target, reader: R, writer: W) -> Result<(), ForwardError>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        let channel = self.open_to(target.clone()).await?;
        pump::pump_streams(reader, writer, channel).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(session) => ForwardError::Session(session.clone()),
                None if error.kind() == io::ErrorKind::ConnectionReset => ForwardError::Reset { target },
                None => ForwardError::Stream(error),
            }
        })
    }

    /// Waits for the end of the session; why it ended.
    ///
    /// # Cancel safety
    /// Nothing happens.
    pub async fn closed(&self) -> Error {
        self.shared.session.closed().await
    }
}

impl Drop for PortForwarding {
    fn drop(&mut self) {
        remote::cancel_all(&self.shared);
        self.shared.listeners.stop();
        self.shared.tasks.stop();
    }
}

impl Shared {
    /// Nothing more can be forwarded: why.
    fn over(&self) -> ForwardError {
        ForwardError::Session(self.session.shared().end_reason().unwrap_or(Error::Closed))
    }

    /// Whether the peer is the Go library of Dev Tunnels.
    fn is_dev_tunnels_go(&self) -> bool {
        self.session.shared().with(|engine| engine.peer_is_dev_tunnels_go())
    }

    async fn open_direct(
        &self,
        target: &Target,
        originator: &str,
        originator_port: u16,
    ) -> Result<Channel, OpenError> {
        if let Some(path) = target.socket_path() {
            let fields = encode_direct_path(path);
            let (channel, _) = self.session.open_channel_with(DIRECT_STREAMLOCAL, &fields).await?;
            return Ok(channel);
        }
        let fields = ChannelTarget {
            host: target.host().to_owned(),
            port: target.port(),
            originator: originator.to_owned(),
            originator_port: originator_port.into(),
        };
        let mut fields = fields.encode();
        fields.extend(self.hooks.messages.channel_open(target));
        let (channel, _) = self.session.open_channel_with(DIRECT_TCPIP, &fields).await?;
        Ok(channel)
    }

    /// Tells why a channel to `target` for whoever connected did not open.
    fn report_unopened(&self, from: &str, target: &Target, error: &OpenError) {
        match error {
            OpenError::Refused(failure) => {
                self.events.emit(ForwardEvent::Refused { target: target.clone(), failure: failure.clone() });
            }
            OpenError::TooManyChannels { .. } => {
                self.events.emit(ForwardEvent::TooManyConnections { from: from.to_owned() });
            }
            OpenError::Session(_) | OpenError::RequestDenied => {
                tracing::debug!(%target, %error, "the channel did not open")
            }
        }
    }
}
