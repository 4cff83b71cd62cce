//! One session after the other: with the host in v1, with the relay in v2.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::client::{self, ConnectError, Reconnect};
use ssh_core::config::Limits;
use ssh_core::session::{Incoming, OpenFailureReason, SessionEvent};
use ssh_core::{Error, Session, Wires};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::ports::Ports;
use super::{ClientError, Event, Protocol, Shared};
use crate::backoff::{self, Backoff};
use crate::dial::{DialError, RelayStream};
use crate::leg::{Leg, see_off};
use crate::roaming;

/// Connections at once.
const CHANNELS: usize = 1024;
/// A host that has not been heard of for this long is taken for lost.
const DEAD_AFTER: Duration = Duration::from_secs(12);
/// Ports come one after the other; when none has come for this long, they are all there.
const SETTLE: Duration = Duration::from_millis(300);
/// If none comes at all, it is said after this that there are none.
const NONE: Duration = Duration::from_secs(3);

/// A session and its tasks.
pub(super) struct Link {
    session: Session,
    wires: Wires,
}

impl Link {
    pub(super) async fn establish(shared: &Arc<Shared>) -> Result<Self, ClientError> {
        let stream = shared.dial().await?;
        match shared.config.protocol {
            Protocol::V1 => {
                let for_reconnect = Arc::clone(shared);
                let reconnect = Reconnect::new(move |attempt| {
                    let shared = Arc::clone(&for_reconnect);
                    async move { shared.dial_again(attempt).await }
                });
                let mut limits = Limits::default();
                limits.channels = CHANNELS;
                let (session, wires) = host_session(shared, stream, limits, reconnect).await?;
                Ok(Self { session, wires })
            }
            Protocol::V2 => {
                let Leg { session, wires } = Leg::open_for_client(stream).await?;
                Ok(Self { session, wires })
            }
        }
    }
}

/// A session with the host over some stream.
pub(super) async fn host_session<S>(
    shared: &Shared,
    stream: S,
    limits: Limits,
    reconnect: Reconnect,
) -> Result<(Session, Wires), Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let reconnect =
        reconnect.first_delay(backoff::FIRST).max_delay(backoff::LONGEST).dead_peer_after(DEAD_AFTER);
    let config = client::Config::builder("tunnel")
        .verify_host_key(shared.config.pin)
        .limits(limits)
        .provider(shared.config.provider)
        .reconnect(reconnect)
        .build()?;
    let (login, driver) = client::connect_with_driver(stream, config)?;
    let wires = Wires::spawn(driver);
    let session = login.await?;
    if let Some(key) = &session.info().host_key {
        let agreed = session.info().algorithms.as_ref();
        shared.tell(Event::HostKey {
            fingerprint: key.fingerprint(),
            pinned: matches!(shared.config.pin, super::Pin::Key(_)),
            algorithms: agreed.map_or(("none", "none"), |agreed| {
                (agreed.kex.name(), agreed.client_to_server.cipher.name())
            }),
        });
    }
    Ok((session, wires))
}

/// Serves until trying again makes no sense, whichever network this machine is in.
pub(super) async fn run(shared: Arc<Shared>, first: Link) -> ClientError {
    let config = &shared.config;
    // Connections without end-to-end encryption would be lost with the WebSocket.
    let is_kept = config.protocol == Protocol::V1 || config.end_to_end;
    let link = || shared.link.borrow().clone().filter(|_| is_kept);
    tokio::select! {
        ended = serve_on(&shared, first) => ended,
        never = roaming::watch(&config.dialer, &shared.news, link) => match never {},
    }
}

/// Serves one session after the other.
async fn serve_on(shared: &Arc<Shared>, first: Link) -> ClientError {
    let mut ports = Ports::new();
    let mut link = first;
    loop {
        shared.link.send_replace(Some(link.session.clone()));
        let served = serve(shared, &link.session, &mut ports).await;
        shared.link.send_replace(None);
        ports.expect_again(shared);
        let Link { session, wires } = link;
        drop(session);
        let (ended, told) = match served {
            Ok(ended) => ended,
            Err(error) => {
                wires.flushed().await;
                return error;
            }
        };
        see_off(wires, &ended).await;
        let ended = match shared.dial_error.lock().take() {
            Some(error) => ClientError::Dial(error),
            None => ClientError::Session(ended),
        };
        if !ended.is_temporary() {
            return ended;
        }
        // In v2 this was the session with the relay; those with the host look for their own way back.
        let streams_kept = shared.config.protocol == Protocol::V2 && shared.config.end_to_end;
        if !told {
            let reason = ended.to_string();
            shared.tell(Event::Disconnected { reason, streams_wait: streams_kept });
        }
        let (mut backoff, mut reason) = (Backoff::new(shared.news.subscribe()), None);
        link = loop {
            let why = reason.take();
            let tell = |attempt, after| shared.tell(Event::Reconnecting { attempt, after, reason: why });
            backoff.pause(tell).await;
            match backoff.attempt(Link::establish(shared)).await {
                Some(Ok(link)) => break link,
                Some(Err(error)) if !error.may_pass() => return error,
                Some(Err(error)) => {
                    reason = Some(error.to_string());
                    if let ClientError::Dial(error) = &error {
                        backoff.failed(error);
                        reason = Some(error.on_the_way_back());
                    }
                    tracing::info!(%error, "the tunnel is not back yet");
                }
                None => {}
            }
        };
        shared.tell(Event::Resumed { streams_kept });
    }
}

/// Serves the session until it ends. Why it did, and whether its loss was told of already.
async fn serve(
    shared: &Arc<Shared>,
    session: &Session,
    ports: &mut Ports,
) -> Result<(Error, bool), ClientError> {
    let mut incoming = session.incoming();
    let mut events = session.events();
    let mut told = false;
    let mut settled = Some(tokio::time::Instant::now() + NONE);
    ports.expect_again(shared);
    loop {
        let at = settled.unwrap_or_else(far_away);
        let gives_up = ports.gives_up_at(shared);
        tokio::select! {
            item = incoming.next() => match item {
                Some(Incoming::Channel(channel)) => channel.reject(
                    OpenFailureReason::ADMINISTRATIVELY_PROHIBITED,
                    "a client of a tunnel takes no channels",
                ),
                Some(Incoming::Request(request)) => {
                    ports.on_request(shared, request).await?;
                    if settled.is_some() {
                        settled = Some(Instant::now() + SETTLE);
                    }
                }
                None => return Ok((session.closed().await, told)),
            },
            Some(event) = events.next() => match event {
                SessionEvent::Disconnected(error) => {
                    told = true;
                    shared.tell(Event::Disconnected { reason: error.to_string(), streams_wait: true });
                }
                SessionEvent::Reconnecting { attempt, after } => {
                    // One from before the loss is none.
                    let reason = shared.way_back.lock().take().filter(|_| attempt > 1);
                    shared.tell(Event::Reconnecting { attempt, after, reason });
                }
                SessionEvent::Reconnected => {
                    told = false;
                    shared.tell(Event::Resumed { streams_kept: true });
                }
                _ => {}
            },
            () = tokio::time::sleep_until(at), if settled.is_some() => {
                settled = None;
                ports.settle(shared).await?;
            }
            () = tokio::time::sleep_until(gives_up.unwrap_or_else(far_away)), if gives_up.is_some() => {
                ports.give_up(shared).await?;
            }
        }
    }
}

fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

impl Shared {
    async fn dial(&self) -> Result<RelayStream, DialError> {
        let config = &self.config;
        config.dialer.dial(&config.url, config.protocol.client_name(), config.token.as_ref()).await
    }

    /// For a session that comes back.
    async fn dial_again(&self, attempt: u32) -> Result<RelayStream, ConnectError> {
        *self.way_back.lock() = None;
        self.dial().await.map_err(|error| {
            *self.way_back.lock() = Some(error.on_the_way_back());
            let shown = Error::from(std::io::Error::other(error.to_string()));
            if error.may_pass() {
                tracing::info!(%error, "the tunnel is not back yet");
                return match backoff::asked(&error, attempt) {
                    Duration::ZERO => ConnectError::Temporary(shown),
                    time => ConnectError::NotBefore(shown, time),
                };
            }
            *self.dial_error.lock() = Some(error);
            ConnectError::Permanent(shown)
        })
    }
}
