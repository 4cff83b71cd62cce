//! The host of a tunnel: it offers ports of this machine to whoever the relay lets through.
//!
//! The relay sees ciphertext alone: each client has an SSH session with this end, whose key it knows from somewhere else.
//! Those sessions outlive WebSockets, the relay's as well as their own.

pub(crate) mod ends;
mod serve;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ssh_core::crypto::CryptoProvider;
use ssh_core::error::DisconnectReason;
use ssh_core::keys::SigningKey;
use ssh_core::{Error, Session, server};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access_token::AccessToken;
use crate::backoff::Backoff;
use crate::dial::{DialError, Dialer};
use crate::leg::{Leg, see_off};
use crate::roaming;

/// How a tunnel is hosted.
pub struct Config {
    /// Where the host's WebSocket is opened, as `wss://relay.example/t/ID/host`.
    pub url: String,
    /// What lets the host in.
    pub token: Option<AccessToken>,
    /// Which version of the relay's protocol is spoken.
    pub protocol: Protocol,
    /// Whether a client of v2 may have connections without end-to-end encryption, which it, or the relay in its name, asks
    /// for.
    pub allow_plain: bool,
    /// How relays are reached.
    pub dialer: Dialer,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
    /// The ports of this machine's localhost that are offered.
    pub ports: BTreeSet<u16>,
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

/// A version of the relay's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// A session between the ends for each client, through a relay that sees bytes alone.
    #[default]
    V1,
    /// Sessions with the relay, and one between the ends for each connection.
    V2,
}

/// What happened to a host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The relay is lost; clients wait.
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The relay is tried for again.
    Reconnecting {
        /// From 1 since it was lost.
        attempt: u32,
        /// After this time.
        after: Duration,
        /// Why the attempt before has failed, if it has got so far as to say.
        reason: Option<String>,
    },
    /// The relay is there again.
    Resumed,
    /// A client has got through to this end.
    ClientConnected {
        /// Names it until it is gone.
        number: u64,
    },
    /// A client has gone for good.
    ClientGone {
        /// Its name.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Something at the other end could not be talked to: it is no client, or the relay has changed what was said.
    ClientFailed {
        /// Why.
        reason: String,
    },
    /// A connection could not be made for a client.
    Failed {
        /// The port.
        port: u16,
        /// Why.
        reason: String,
    },
}

/// Why a tunnel is not hosted, or not any more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The relay cannot be reached, or refuses.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The session with the relay failed.
    #[error("the session with the relay failed: {0}")]
    Session(#[from] Error),
    /// Somebody else hosts the tunnel now.
    #[error(
        "another host has connected to this tunnel and took it over; stop that one, or use another tunnel"
    )]
    Replaced,
}

/// A tunnel that is hosted, for as long as this is kept.
#[derive(Debug)]
pub struct Host {
    shared: Arc<Shared>,
    task: JoinHandle<HostError>,
}

struct Shared {
    config: Config,
    for_clients: Arc<server::Config>,
    for_connections: Arc<server::Config>,
    ports: watch::Sender<BTreeSet<u16>>,
    leg: Mutex<Option<Session>>,
    /// This machine has come to another network.
    news: watch::Sender<()>,
    sessions: Mutex<Sessions>,
    next: AtomicU64,
}

/// The sessions with the other end: in v1 those with clients, in v2 those inside connections.
#[derive(Default)]
struct Sessions {
    by_number: HashMap<u64, Session>,
    /// The host stops: there are to be no more.
    is_closing: bool,
}

/// A session that is told when the host stops, until this is dropped.
struct Registered {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.sessions.lock().by_number.remove(&self.number);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Host {
    /// Connects to the relay and serves clients from then on, with this key as the host's. SDK clients know ECDSA over P-384
    /// and P-256 and RSA alone.
    ///
    /// # Errors
    /// If the first try fails. Later ones are repeated as long as they may end better.
    ///
    /// # Cancel safety
    /// A dropped future hosts nothing.
    pub async fn start(config: Config, key: SigningKey) -> Result<Self, HostError> {
        let for_clients = ends::for_clients(&config, key.clone())?;
        let for_connections = ends::for_connections(&config, key)?;
        let shared = Arc::new(Shared {
            ports: watch::Sender::new(config.ports.clone()),
            config,
            for_clients,
            for_connections,
            leg: Mutex::new(None),
            news: watch::Sender::default(),
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
        });
        let leg = shared.open().await?;
        let task = tokio::spawn(run(Arc::clone(&shared), leg));
        Ok(Self { shared, task })
    }

    /// Offers these ports from now on. Clients are told; connections to others go on, and come back when a link is lost, as all
    /// do. By the second version a client hears it from the relay, as it does when the host is lost: it listens for another
    /// second if there are still ports, and for 20 s if there are none, and connections that it takes meanwhile are refused.
    pub fn set_ports(&self, ports: BTreeSet<u16>) {
        self.shared.ports.send_replace(ports);
    }

    /// Waits for the end, which comes only if trying again makes no sense.
    ///
    /// # Cancel safety
    /// Nothing happens.
    pub async fn ended(&mut self) -> HostError {
        match (&mut self.task).await {
            Ok(error) => error,
            Err(_) => HostError::Session(Error::Bug("the host's task failed")),
        }
    }

    /// Tells clients and relay, and stops.
    pub async fn close(mut self) {
        let sessions: Vec<Session> = {
            let mut sessions = self.shared.sessions.lock();
            // Who is quick would come back to a host that goes.
            sessions.is_closing = true;
            sessions.by_number.values().cloned().collect()
        };
        for session in &sessions {
            session.disconnect(DisconnectReason::BY_APPLICATION, STOPS);
        }
        if !sessions.is_empty() {
            tokio::time::sleep(FAREWELL).await;
        }
        let leg = self.shared.leg.lock().take();
        if let Some(leg) = leg {
            leg.disconnect(DisconnectReason::BY_APPLICATION, STOPS);
            drop(leg);
            // A task that has ended may not be waited for again.
            if !self.task.is_finished() {
                let _ = tokio::time::timeout(LONGEST_FAREWELL, &mut self.task).await;
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for session in self.shared.sessions.lock().by_number.values() {
            session.close();
        }
        self.task.abort();
    }
}

const STOPS: &str = "the host stops";
/// For the last messages to leave.
const FAREWELL: Duration = Duration::from_millis(100);
const LONGEST_FAREWELL: Duration = Duration::from_secs(2);

/// Serves until trying again makes no sense, whichever network this machine is in.
async fn run(shared: Arc<Shared>, first: Leg) -> HostError {
    // Connections without end-to-end encryption would be lost with the WebSocket.
    let is_kept = !(shared.config.protocol == Protocol::V2 && shared.config.allow_plain);
    let leg = || shared.leg.lock().clone().filter(|_| is_kept);
    tokio::select! {
        ended = serve_on(&shared, first) => ended,
        never = roaming::watch(&shared.config.dialer, &shared.news, leg) => match never {},
    }
}

/// Serves over one WebSocket after the other.
async fn serve_on(shared: &Arc<Shared>, first: Leg) -> HostError {
    let mut leg = first;
    loop {
        *shared.leg.lock() = Some(leg.session.clone());
        let ended = serve::run(shared, &leg.session).await;
        *shared.leg.lock() = None;
        let Leg { session, wires } = leg;
        drop(session);
        see_off(wires, &ended).await;
        match &ended {
            Error::Disconnected { reason, .. } if *reason == DisconnectReason::TOO_MANY_CONNECTIONS => {
                return HostError::Replaced;
            }
            Error::Closed | Error::ClosedWith { .. } => return ended.into(),
            _ => {}
        }
        shared.tell(Event::Disconnected { reason: ended.to_string() });
        let (mut backoff, mut reason) = (Backoff::new(shared.news.subscribe()), None);
        leg = loop {
            let why = reason.take();
            let tell = |attempt, after| shared.tell(Event::Reconnecting { attempt, after, reason: why });
            backoff.pause(tell).await;
            match backoff.attempt(shared.open()).await {
                Some(Ok(leg)) => break leg,
                Some(Err(HostError::Dial(error))) if !error.may_pass() => return error.into(),
                Some(Err(error)) => {
                    reason = Some(error.to_string());
                    if let HostError::Dial(error) = &error {
                        backoff.failed(error);
                        reason = Some(error.on_the_way_back());
                    }
                    tracing::info!(%error, "the relay is not back yet");
                }
                None => {}
            }
        };
        shared.tell(Event::Resumed);
    }
}

impl Shared {
    async fn open(&self) -> Result<Leg, HostError> {
        let config = &self.config;
        let protocol = config.protocol.host_name();
        let stream = config.dialer.dial(&config.url, protocol, config.token.as_ref()).await?;
        Ok(Leg::open_for_host(stream).await?)
    }

    fn tell(&self, event: Event) {
        (self.config.on_event)(event);
    }

    /// Takes a new session in; none if the host stops, which the other end is told.
    fn register(self: &Arc<Self>, session: &Session) -> Option<Registered> {
        let mut sessions = self.sessions.lock();
        if sessions.is_closing {
            session.disconnect(DisconnectReason::BY_APPLICATION, STOPS);
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        sessions.by_number.insert(number, session.clone());
        Some(Registered { shared: Arc::clone(self), number })
    }

    fn is_closing(&self) -> bool {
        self.sessions.lock().is_closing
    }
}

impl Protocol {
    const fn host_name(self) -> &'static str {
        match self {
            Self::V1 => "tunnel-relay-host",
            Self::V2 => "tunnel-relay-host-v2-dev",
        }
    }

    pub(crate) const fn client_name(self) -> &'static str {
        match self {
            Self::V1 => "tunnel-relay-client",
            Self::V2 => "tunnel-relay-client-v2-dev",
        }
    }
}
