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
mod dial;
mod dynamic;
mod event;
mod granted;
mod http_connect;
mod listener;
mod local;
mod messages;
mod permit;
mod policy;
mod proxy;
mod pump;
mod remote;
mod serve;
mod socks;
mod tasks;

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

pub use bind::Bind;
pub use dial::{Resolver, SystemResolver};
pub use dynamic::DynamicForward;
pub use event::{ForwardEvent, Target};
pub use local::LocalForward;
pub use permit::{BadPermit, PermitListen, PermitTarget};
pub use policy::ForwardPolicy;
pub use proxy::BadProxyRequest;
pub use pump::{pump, pump_streams};
pub use remote::RemoteForward;

use crate::channel::Channel;
use crate::error::Error;
use crate::protocol::OpenError;
use crate::session::{Incoming, Session};
use event::Events;
use granted::Granted;
use messages::{ChannelTarget, DIRECT_TCPIP};
use remote::Requested;
use serve::Unhandled;
use tasks::Tasks;

/// The port forwarding of one session, either side. It takes all channels and requests of the peer; dropping it stops
/// all listeners and cuts all connections. It holds on to the session.
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
    /// Connections, and the serving of the peer.
    tasks: Tasks,
    /// They end with the session.
    listeners: Tasks,
    /// What we asked the peer to listen on.
    requested: Requested,
    /// What we listen on for the peer.
    granted: Granted,
    connections: Arc<Semaphore>,
}

/// Why a forward could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The system does not let us listen there.
    #[error("cannot listen on {bind}: {source}")]
    Bind {
        /// Where.
        bind: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The peer does not let us listen there, or the port is taken at its side.
    #[error("the peer refused to listen on {bind}")]
    RefusedByPeer {
        /// Where.
        bind: String,
    },
    /// This side has asked for that already.
    #[error("{bind} is forwarded already")]
    AlreadyForwarded {
        /// Where.
        bind: String,
    },
    /// The peer granted port 0, but did not say which port it chose.
    #[error("the peer did not say which port it chose for {bind}")]
    NoPort {
        /// Where.
        bind: String,
    },
    /// The channel did not open.
    #[error("cannot open a channel to {target}: {source}")]
    Open {
        /// Where to.
        target: Target,
        /// Why not.
        source: OpenError,
    },
    /// The target reset the connection, or the peer says so.
    #[error("the connection to {target} was reset")]
    Reset {
        /// Whose.
        target: Target,
    },
    /// A stream on this side, such as standard output, failed.
    #[error("a stream on this side failed: {0}")]
    Stream(std::io::Error),
    /// The session is over.
    #[error(transparent)]
    Session(#[from] Error),
}

/// Builds a [`PortForwarding`].
#[must_use = "nothing is forwarded until it is started"]
#[derive(Debug)]
pub struct PortForwardingBuilder {
    session: Session,
    policy: ForwardPolicy,
    events: Events,
    unhandled: Unhandled,
}

impl PortForwardingBuilder {
    /// What the peer may ask for; nothing otherwise. On a server the permissions of the session's
    /// [principal](Session::principal) take from it.
    pub fn policy(mut self, policy: ForwardPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Is told of every connection and refusal. It is called from the tasks of the connections and must not block.
    pub fn on_event(mut self, callback: impl Fn(ForwardEvent) + Send + Sync + 'static) -> Self {
        self.events = Events::new(callback);
        self
    }

    /// Is given the channels and requests that have nothing to do with forwarding, which are refused otherwise. It must
    /// not block.
    pub fn unhandled(mut self, callback: impl Fn(Incoming) + Send + Sync + 'static) -> Self {
        self.unhandled = Unhandled::new(callback);
        self
    }

    /// Starts to serve the peer. It needs a tokio runtime.
    #[must_use = "dropping it stops everything"]
    pub fn start(self) -> PortForwarding {
        let policy = match self.session.principal() {
            Some(principal) => self.policy.for_permissions(&principal.permissions),
            None => self.policy,
        };
        let shared = Arc::new(Shared {
            connections: Arc::new(Semaphore::new(policy.max_connections.min(Semaphore::MAX_PERMITS))),
            session: self.session,
            policy,
            events: self.events,
            tasks: Tasks::default(),
            listeners: Tasks::default(),
            requested: Requested::default(),
            granted: Granted::default(),
        });
        shared.tasks.spawn(serve::run(Arc::clone(&shared), self.unhandled));
        PortForwarding { shared }
    }
}

impl PortForwarding {
    /// Starts to serve the peer within `policy`. It needs a tokio runtime.
    #[must_use = "dropping it stops everything"]
    pub fn start(session: Session, policy: ForwardPolicy) -> Self {
        Self::builder(session).policy(policy).start()
    }

    /// To start with more than a policy.
    pub fn builder(session: Session) -> PortForwardingBuilder {
        PortForwardingBuilder {
            session,
            policy: ForwardPolicy::deny_all(),
            events: Events::default(),
            unhandled: Unhandled::default(),
        }
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
        local::start(&self.shared, bind.into(), Target::new(target_host, target_port)).await
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
        remote::start(&self.shared, bind_host, port, Target::new(target_host, target_port)).await
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

    /// Has the peer connect to a target, without a socket on this side.
    ///
    /// # Errors
    /// [`ForwardError::Open`] with the peer's reason.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn open(&self, host: &str, port: u16) -> Result<Channel, ForwardError> {
        let target = Target::new(host, port);
        // Some servers refuse an originator that is no address.
        let channel = self.shared.open_direct(&target, "127.0.0.1", 0).await;
        channel.map_err(|source| ForwardError::Open { target, source })
    }

    /// Has the peer connect to a target, and moves bytes between it and a pair of streams such as stdin and stdout
    /// until the target's data has ended. The end of the reader passes through before that.
    ///
    /// # Errors
    /// As for [`open`](Self::open), [`ForwardError::Stream`] if one of the streams fails, [`ForwardError::Reset`] if the
    /// target reset the connection, and [`ForwardError::Session`] if the session is lost.
    ///
    /// # Cancel safety
    /// A dropped future closes the channel; bytes that were read may be lost.
    pub async fn stdio<R, W>(&self, host: &str, port: u16, reader: R, writer: W) -> Result<(), ForwardError>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        let channel = self.open(host, port).await?;
        pump::pump_streams(reader, writer, channel).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(session) => ForwardError::Session(session.clone()),
                None if error.kind() == io::ErrorKind::ConnectionReset => {
                    ForwardError::Reset { target: Target::new(host, port) }
                }
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
        self.shared.listeners.stop();
        self.shared.tasks.stop();
    }
}

impl Shared {
    async fn open_direct(
        &self,
        target: &Target,
        originator: &str,
        originator_port: u16,
    ) -> Result<Channel, OpenError> {
        let fields = ChannelTarget {
            host: target.host().to_owned(),
            port: target.port(),
            originator: originator.to_owned(),
            originator_port: originator_port.into(),
        };
        let (channel, _) = self.session.open_channel_with(DIRECT_TCPIP, &fields.encode()).await?;
        Ok(channel)
    }

    /// Tells why a channel to `target` did not open.
    fn report_unopened(&self, target: &Target, error: &OpenError) {
        match error {
            OpenError::Refused(failure) => {
                self.events.emit(ForwardEvent::Refused { target: target.clone(), failure: failure.clone() });
            }
            OpenError::Session(error) => tracing::debug!(%target, %error, "the channel did not open"),
        }
    }
}

/// Moves bytes until both ways have ended. A failure is an ordinary end of a connection.
async fn run_connection(socket: TcpStream, channel: Channel, target: &Target) {
    match pump::pump(socket, channel).await {
        Ok(()) => tracing::debug!(%target, "connection ended"),
        Err(error) => tracing::debug!(%target, %error, "connection broke"),
    }
}

/// Closes a connection so that the other side gets an error, and not an empty stream.
fn reset(socket: TcpStream) {
    // Without it the connection is closed all the same.
    let _ = socket.set_zero_linger();
}
