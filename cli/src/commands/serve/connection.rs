//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::error::{AuthFailure, DisconnectReason, Error, ReconnectFailure, escape_text};
use ssh_core::server::{self, Config, DetachedSessions, Method};
use ssh_core::services::port_forward::{ForwardEvent, ForwardPolicy, PortForwarding};
use ssh_core::session::SessionEvent;
use ssh_core::{Addresses, Session, Wires};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;

use super::declined::{Declined, Offer};
use super::limits::{Pass, Source};
use super::penalties::Penalties;
use super::source_log::SourceLog;
use super::users::{KEYS, METHODS, words};
use crate::commands::session::tune;
use crate::output::Event;

/// What all connections share.
pub(super) struct Server {
    pub(super) config: Arc<Config>,
    pub(super) policy: ForwardPolicy,
    pub(super) gate: super::limits::Gate,
    pub(super) descriptors: super::descriptors::Descriptors,
    /// Places of sessions, those included that wait for their clients.
    pub(super) sessions: Semaphore,
    /// Those that can be resumed, if any can.
    pub(super) detached: Option<DetachedSessions>,
    pub(super) max_sessions: u32,
    pub(super) penalties: Arc<Penalties>,
    pub(super) declined: Arc<Declined>,
    pub(super) log: Arc<SourceLog>,
}

impl Server {
    /// A place for one more session. One that only waits for its client makes room.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.sessions.try_acquire() {
            return Some(place);
        }
        if !self.detached.as_ref()?.end_oldest() {
            return None;
        }
        tokio::time::timeout(MAKING_ROOM, self.sessions.acquire()).await.ok()?.ok()
    }
}

/// Serves a connection until it ends or the server does.
pub(super) async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    from: SocketAddr,
    pass: Pass,
    mut stopped: watch::Receiver<bool>,
) {
    tune(&stream);
    let addresses = Addresses { peer: Some(from), ..Addresses::of(&stream) };
    let config = Arc::clone(&server.config);
    let (login, driver) = match server::accept_from_with_driver(stream, addresses, config) {
        Ok(parts) => parts,
        Err(error) => return tracing::error!(%from, %error, "cannot serve"),
    };
    let wires = Wires::spawn(driver);
    let accepted = tokio::select! {
        accepted = login => accepted,
        _ = stopped.wait_for(|stopped| *stopped) => Err(Error::Closed),
    };
    let declined = server.declined.take(from);
    match accepted {
        Ok(session) => {
            drop(pass);
            let user = escape_text(session.info().user.as_bytes());
            let Some(_place) = server.place().await else {
                let limit = server.max_sessions;
                let message = format!(
                    "{user} from {from} was turned away: there are {limit} sessions already (--max-sessions)"
                );
                server.log.event(from, &Event::Refused { message });
                let text = format!("the server's limit of {limit} sessions at once is reached");
                session.disconnect(DisconnectReason::TOO_MANY_CONNECTIONS, &text);
                return wires.flushed().await;
            };
            let (methods, keys) = session.principal().map_or_else(Default::default, |principal| {
                (words(&principal.permissions, METHODS), words(&principal.permissions, KEYS))
            });
            server.log.event(from, &Event::LoggedIn { user, from: from.to_string(), methods, keys });
            let log = Arc::clone(&server.log);
            let forwarding = PortForwarding::builder(session.clone())
                .policy(server.policy.clone())
                .on_event(move |event| report(&event, from, &log))
                .start();
            let ended = tokio::select! {
                error = forwarding.closed() => error,
                error = report_connections(&session, from, &server.log) => error,
                _ = stopped.wait_for(|stopped| *stopped) => Error::Closed,
            };
            session.close();
            drop(forwarding);
            let reason = ended.to_string();
            server.log.event(from, &Event::LoggedOut { from: from.to_string(), reason });
        }
        Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {
            tracing::info!(%from, "an older session goes on here");
        }
        Err(Error::Closed) => {}
        Err(error) => refused(&server, from, &error, declined),
    }
    wires.flushed().await;
}

/// Says what became of a connection that did not log in, and counts it if it tried to.
fn refused(server: &Server, from: SocketAddr, error: &Error, declined: Option<Option<Offer>>) {
    let is_failed = is_failed_login(error);
    // Keys that were asked about and would not do count once together.
    if (is_failed || declined.is_some()) && server.penalties.failed(Source::of(from.ip()), Instant::now()) {
        server.log.penalised(from);
    }
    if let Some(Some(Offer { user, reason })) = declined {
        let method = Method::PublicKey.name().to_owned();
        server.log.event(from, &Event::LoginFailed { user, from: from.to_string(), method, reason });
    }
    if is_failed {
        let reason = error.to_string();
        server.log.event(from, &Event::LoggedOut { from: from.to_string(), reason });
    } else {
        // Scanners and port checks would fill the log.
        tracing::info!(%from, %error, "not logged in");
    }
}

fn is_failed_login(error: &Error) -> bool {
    use ssh_core::error::PeerMisbehaved;
    matches!(
        error,
        Error::Auth(AuthFailure::Refused { .. })
            | Error::PeerMisbehaved(PeerMisbehaved::TooManyAuthAttempts | PeerMisbehaved::ReconnectGuessing)
    )
}

/// Tells what becomes of the session's connection, until its end.
async fn report_connections(session: &Session, from: SocketAddr, log: &SourceLog) -> Error {
    let mut events = session.events();
    while let Some(event) = events.next().await {
        let whose = Some(from.to_string());
        match event {
            SessionEvent::Disconnected(cause) => {
                let reason = cause.to_string();
                log.event(from, &Event::Disconnected { from: whose, reason, resumable: true });
            }
            SessionEvent::Reconnected => {
                log.event(from, &Event::Resumed { from: whose, new_session: false, streams_lost: Some(0) });
            }
            _ => {}
        }
    }
    session.closed().await
}

/// One line for each connection that did not come about; the others go on.
fn report(event: &ForwardEvent, from: SocketAddr, log: &SourceLog) {
    match event {
        ForwardEvent::Connection { .. } | ForwardEvent::Listening { .. } => {
            tracing::info!(%from, "{event}");
        }
        event => log.event(from, &Event::Refused { message: format!("{from}: {event}") }),
    }
}

/// For the task of a session that was ended to give its place back.
const MAKING_ROOM: Duration = Duration::from_secs(1);
