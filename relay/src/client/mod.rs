//! The client of a tunnel: it listens here for the ports that the host offers.
//!
//! The host's key is checked in every session with it, whatever the relay says, and nothing that the other side opens is taken.
//! A session with the host outlives WebSockets; only when the host has forgotten it a new one takes its place.

mod connections;
mod listening;
mod pin;
mod ports;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ssh_core::crypto::CryptoProvider;
use ssh_core::error::DisconnectReason;
use ssh_core::keys::Fingerprint;
use ssh_core::{Error, OpenError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access_token::AccessToken;
use crate::dial::{DialError, Dialer};
pub use crate::host::Protocol;
pub use connections::Connection;
pub use pin::Pin;
use session::Link;

/// How a client connects.
pub struct Config {
    /// Where the client's WebSocket is opened, as `wss://relay.example/t/ID/client`.
    pub url: String,
    /// What lets the client in.
    pub token: Option<AccessToken>,
    /// Whose key has to be at the other end.
    pub pin: Pin,
    /// Which version of the relay's protocol is spoken.
    pub protocol: Protocol,
    /// With v2, whether connections are encrypted between the ends. With v1 they always are.
    pub end_to_end: bool,
    /// How relays are reached.
    pub dialer: Dialer,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
    /// Where ports are listened on.
    pub ports: PortPolicy,
    /// Is told what happens. It must not block.
    pub on_event: OnEvent,
}

type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url)
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

/// Where the ports of the host are listened on; always on localhost alone. A port stays where it is for as long as the host
/// offers it, whatever becomes of sessions and links meanwhile, and in v2 for 20 s without the host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PortPolicy {
    /// Each on the port of this map, else on the same number, else on the next that is free.
    Next(BTreeMap<u16, u16>),
    /// The same, but a number that is taken is an error.
    Same(BTreeMap<u16, u16>),
    /// Each on the port of this map, else on the next number that is free, for a client on its host's own machine: what
    /// connects to a port there is to find the host's program, or nobody, and never the way back to the same port.
    Beside(BTreeMap<u16, u16>),
    /// Nowhere: connections are opened by [`Client::open`] alone.
    Nowhere,
}

/// A port of the host and where it is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The host's port.
    pub remote: u16,
    /// The address here; `::1` of the same port too, where there is one.
    pub local: SocketAddr,
}

/// What happened to a client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The host's key, once it has been checked, or taken as it is for want of a pin.
    HostKey {
        /// Its digest.
        fingerprint: Fingerprint,
        /// Whether there was a pin that it had to match.
        pinned: bool,
        /// The key exchange and the cipher that were agreed on.
        algorithms: (&'static str, &'static str),
    },
    /// The ports that the host offers are listened on.
    Ready {
        /// All of them.
        ports: Vec<Mapping>,
    },
    /// Another one is.
    PortAdded(Mapping),
    /// One is no more. In v2 the relay does not say whether the host has taken it back or is lost, so this comes a second after
    /// that as long as the host offers others, and after 20 s if it offers none: connections wait until then.
    PortRemoved(Mapping),
    /// One that the host offers since [`Event::Ready`] cannot be listened on. It is tried again whenever the host's ports change,
    /// and everything else goes on.
    PortFailed {
        /// The host's port.
        remote: u16,
        /// The address here that was wanted.
        local: SocketAddr,
        /// Why not.
        reason: String,
    },
    /// The way to the host is lost.
    Disconnected {
        /// Why.
        reason: String,
        /// Whether open connections wait for it. They have ended if the host has stopped.
        streams_wait: bool,
    },
    /// It is tried for again.
    Reconnecting {
        /// From 1 since it was lost.
        attempt: u32,
        /// After this time.
        after: Duration,
        /// Why the attempt before has failed, if it has got so far as to say.
        reason: Option<String>,
    },
    /// It is there again.
    Resumed {
        /// Whether open connections go on. They cannot if the host was started anew.
        streams_kept: bool,
    },
    /// A connection could not be made.
    Failed {
        /// The host's port.
        port: u16,
        /// Why.
        reason: String,
    },
}

/// Why a client is not connected, or not any more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The relay cannot be reached, or refuses.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The session with the host, or with the relay, failed.
    #[error("{0}")]
    Session(#[from] Error),
    /// A port that the host offers from the start cannot be listened on.
    #[error("cannot listen on port {port}: {error}")]
    Bind {
        /// The local one.
        port: u16,
        /// The system's reason.
        error: ssh_core::error::IoError,
        /// What kind of reason that is.
        kind: io::ErrorKind,
    },
    /// The host does not offer it.
    #[error("the host does not offer port {port}, but {}", list(offered))]
    NotOffered {
        /// What was wanted.
        port: u16,
        /// What is offered.
        offered: BTreeSet<u16>,
    },
    /// The host could not connect to its port, or this side has as many channels as it may.
    #[error("{0}")]
    Refused(String),
    /// The host, or the relay in its name, wants to do without encryption.
    #[error(
        "the other side refuses end-to-end encryption, which the relay may have brought about; it was not given in to"
    )]
    Stripped,
}

fn list(ports: &BTreeSet<u16>) -> String {
    match ports.len() {
        0 => "none at all".to_owned(),
        _ => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl From<OpenError> for ClientError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused(failure) => Self::Refused(failure.to_string()),
            error @ OpenError::TooManyChannels { .. } => Self::Refused(error.to_string()),
            OpenError::Session(error) => Self::Session(error),
            OpenError::RequestDenied => Self::Session(Error::Closed),
        }
    }
}

impl ClientError {
    /// Whether trying again may help who has been at the relay before.
    fn may_pass(&self) -> bool {
        match self {
            Self::Dial(error) => error.may_pass(),
            error => error.is_temporary(),
        }
    }

    /// Whether trying again may help.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_temporary(),
            Self::Session(error) => match error {
                Error::Io(_) | Error::Timeout(_) | Error::Reconnect(_) => true,
                // A host that stops says so and may come back.
                Error::Disconnected { .. } => true,
                _ => false,
            },
            _ => false,
        }
    }
}

/// A client, connected for as long as this is kept.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    task: JoinHandle<ClientError>,
}

struct Shared {
    config: Config,
    /// The session with the host, or with the relay in v2; none while there is none at all.
    link: watch::Sender<Option<ssh_core::Session>>,
    /// This machine has come to another network.
    news: watch::Sender<()>,
    /// The host's ports.
    offered: watch::Sender<Offered>,
    /// Set when everything is to end. Each connection holds a receiver for as long as it has something to say.
    closing: watch::Sender<bool>,
    /// Why the relay cannot be reached any more, which a session tells in fewer words.
    dial_error: Mutex<Option<DialError>>,
    /// Why the last attempt of a session to come back has not reached the relay.
    way_back: Mutex<Option<String>>,
}

/// What a session offers.
#[derive(Debug, Default)]
struct Offered {
    ports: BTreeSet<u16>,
    /// Those that it did, or the one before it, and that are listened on still: in v2 connections to them wait.
    awaited: BTreeSet<u16>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A host has this long to offer a port that is wanted.
const OFFER: Duration = Duration::from_secs(20);
/// The same, once it has offered others.
const OTHERS: Duration = Duration::from_secs(3);
/// For the last messages to leave.
const FAREWELL: Duration = Duration::from_secs(2);

impl Client {
    /// Connects, and listens from then on.
    ///
    /// # Errors
    /// If the first try fails. Later ones are repeated as long as they may end better.
    ///
    /// # Cancel safety
    /// A dropped future has connected to nothing.
    pub async fn connect(config: Config) -> Result<Self, ClientError> {
        let shared = Arc::new(Shared {
            config,
            link: watch::Sender::new(None),
            news: watch::Sender::default(),
            offered: watch::Sender::default(),
            closing: watch::Sender::new(false),
            dial_error: Mutex::new(None),
            way_back: Mutex::new(None),
        });
        let link = Link::establish(&shared).await?;
        let task = tokio::spawn(session::run(Arc::clone(&shared), link));
        Ok(Self { shared, task })
    }

    /// Opens a connection to a port of the host, without a listener.
    ///
    /// # Errors
    /// [`ClientError::NotOffered`] if the host does not offer it for 3 s beside others, or for 20 s; [`ClientError::Refused`]
    /// with its reason.
    ///
    /// # Cancel safety
    /// A dropped future has opened nothing.
    pub async fn open(&self, port: u16) -> Result<Connection, ClientError> {
        let mut offered = self.shared.offered.subscribe();
        let wait = async {
            let wanted = offered.wait_for(|offered| !offered.ports.is_empty()).await?.ports.contains(&port);
            if !wanted {
                // They come one after the other.
                let there = offered.wait_for(|offered| offered.ports.contains(&port));
                let _ = tokio::time::timeout(OTHERS, there).await;
            }
            Ok::<_, watch::error::RecvError>(())
        };
        let _ = tokio::time::timeout(OFFER, wait).await;
        let offered = self.shared.offered.borrow().ports.clone();
        if !offered.contains(&port) {
            return Err(ClientError::NotOffered { port, offered });
        }
        connections::open(&self.shared, port, None).await
    }

    /// Waits for the end, which comes only if trying again makes no sense.
    ///
    /// # Cancel safety
    /// Nothing happens.
    pub async fn ended(&mut self) -> ClientError {
        match (&mut self.task).await {
            Ok(error) => error,
            Err(_) => ClientError::Session(Error::Bug("the client's task failed")),
        }
    }

    /// Tells the host, and stops.
    pub async fn close(mut self) {
        self.shared.closing.send_replace(true);
        let _ = tokio::time::timeout(FAREWELL, self.shared.closing.closed()).await;
        let link = self.shared.link.borrow().clone();
        if let Some(link) = link {
            link.disconnect(DisconnectReason::BY_APPLICATION, "the client stops");
            drop(link);
            // It ends once everything has left. A task that has ended may not be waited for again.
            if !self.task.is_finished() {
                let _ = tokio::time::timeout(FAREWELL, &mut self.task).await;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
        self.task.abort();
    }
}

impl Shared {
    fn tell(&self, event: Event) {
        (self.config.on_event)(event);
    }
}
