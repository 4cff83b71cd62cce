//! Connections to the host's ports.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ssh_core::client::{ConnectError, Reconnect};
use ssh_core::protocol::ReconnectOffer;
use ssh_core::services::port_forward::{pump_streams_until_closed, pump_until_closed};
use ssh_core::{Channel, Error, Session, Wires};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::session::host_session;
use super::{ClientError, Event, Offered, Protocol, Shared};
use crate::host::ends::{CONNECTION_REPLAY, connection_limits};
use crate::wire::{Connection as Fields, FORWARDED, Forward, LOOPBACK};

/// A connection to a port of the host.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub channel: Channel,
    /// In v2 the session that the channel is in.
    _inner: Option<(Session, Wires)>,
}

impl Connection {
    /// Carries bytes between the connection and these until both ways have ended, and tells the host.
    ///
    /// # Errors
    /// What breaks first.
    ///
    /// # Cancel safety
    /// A dropped future has lost what was on its way.
    pub async fn carry<R, W>(self, input: R, output: W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let ended = pump_streams_until_closed(input, output, self.channel).await;
        close(self._inner).await;
        ended
    }
}

/// Who is not told of the end keeps the session, for a client that will not come back.
async fn close(inner: Option<(Session, Wires)>) {
    if let Some((session, wires)) = inner {
        session.close();
        wires.flushed().await;
    }
}

/// A new connection waits this long for a session, when there is none at all, and in v2 for a host or a port that is away.
pub(super) const SESSION: Duration = Duration::from_secs(20);

/// Carries a connection that somebody has made here.
pub(super) async fn carry(shared: &Arc<Shared>, socket: TcpStream, from: SocketAddr, port: u16) {
    let mut closing = shared.closing.subscribe();
    match open_in_time(shared, port, from).await {
        Ok(connection) => {
            let Connection { channel, _inner: inner } = connection;
            tokio::select! {
                // A failure is an ordinary end of a connection. The session inside has to last until the host has passed
                // everything on.
                _ = pump_until_closed(socket, channel) => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
            close(inner).await;
        }
        Err(error) => {
            super::listening::reset(&socket);
            shared.tell(Event::Failed { port, reason: error.to_string() });
        }
    }
}

/// Opens a connection for somebody who has connected here, where the port is listened on because the host was there a moment
/// ago.
async fn open_in_time(shared: &Arc<Shared>, port: u16, from: SocketAddr) -> Result<Connection, ClientError> {
    if shared.config.protocol == Protocol::V1 {
        // The session is with the host, and outlasts that.
        return open(shared, port, Some(from)).await;
    }
    let late = Instant::now().checked_add(SESSION);
    loop {
        is_offered(shared, port, late).await?;
        let error = match Way::find(shared, port, Some(from)).await {
            Ok(way) => return way.open(port).await,
            Err(error) => error,
        };
        let is_hopeless = !matches!(error, ClientError::Refused(_)) && !error.is_temporary();
        if is_hopeless || late.is_none_or(|late| late <= Instant::now()) || !is_withdrawn(shared, port).await
        {
            return Err(error);
        }
    }
}

/// Waits for the port to be offered.
async fn is_offered(shared: &Shared, port: u16, late: Option<Instant>) -> Result<(), ClientError> {
    let mut offered = shared.offered.subscribe();
    let decided = async {
        let known = |offered: &Offered| offered.ports.contains(&port) || !offered.awaited.contains(&port);
        offered.wait_for(known).await.is_ok_and(|offered| offered.ports.contains(&port))
    };
    let is_offered = match late {
        Some(late) => tokio::time::timeout_at(late, decided).await.unwrap_or(false),
        None => decided.await,
    };
    let refused = || ClientError::Refused("the host is away, or does not offer the port any more".into());
    is_offered.then_some(()).ok_or_else(refused)
}

/// Whether a connection has failed because the host is away, which a relay may say after what that does to connections.
async fn is_withdrawn(shared: &Shared, port: u16) -> bool {
    // Without encryption it may as well be the host's port that does not answer, and most often is.
    let soon = if shared.config.end_to_end { WORD } else { Duration::ZERO };
    let mut offered = shared.offered.subscribe();
    let withdrawn = offered.wait_for(|offered| !offered.ports.contains(&port));
    tokio::time::timeout(soon, withdrawn).await.is_ok()
}

const WORD: Duration = Duration::from_millis(500);

/// Opens a connection over the session that there is.
pub(super) async fn open(
    shared: &Arc<Shared>,
    port: u16,
    from: Option<SocketAddr>,
) -> Result<Connection, ClientError> {
    if shared.config.protocol == Protocol::V1 {
        let link = link(shared).await?;
        let (channel, _) =
            link.open_channel_with(FORWARDED, &fields(port, from, false).encode_plain()).await?;
        return Ok(Connection { channel, _inner: None });
    }
    Way::find(shared, port, from).await?.open(port).await
}

/// A way to the host, by the second version.
enum Way {
    /// Which already leads to the port.
    Plain(Channel),
    EndToEnd(Session, Wires),
}

impl Way {
    async fn find(shared: &Arc<Shared>, port: u16, from: Option<SocketAddr>) -> Result<Self, ClientError> {
        let outer = open_outer(shared, port, from).await?;
        if !shared.config.end_to_end {
            return Ok(Self::Plain(outer));
        }
        let mut offer = ReconnectOffer::default();
        offer.window = CONNECTION_REPLAY;
        let (for_reconnect, patience) = (Arc::clone(shared), Arc::new(Patience::new(offer.lifetime)));
        let reconnect = Reconnect::new(move |attempt| {
            let (shared, patience) = (Arc::clone(&for_reconnect), Arc::clone(&patience));
            patience.begin(attempt);
            async move { open_outer(&shared, port, from).await.map_err(|error| patience.verdict(&error)) }
        });
        let (session, wires) =
            host_session(shared, outer, connection_limits(), reconnect.offer(offer)).await?;
        Ok(Self::EndToEnd(session, wires))
    }

    async fn open(self, port: u16) -> Result<Connection, ClientError> {
        match self {
            Self::Plain(channel) => Ok(Connection { channel, _inner: None }),
            Self::EndToEnd(session, wires) => {
                // The relay has been told the port outside; in here it cannot lead us to another.
                let named = Forward { host: LOOPBACK, port, token: "" }.encode();
                let (channel, _) = session.open_channel_with("session", &named).await?;
                Ok(Connection { channel, _inner: Some((session, wires)) })
            }
        }
    }
}

/// How long a lost connection asks for its host. A host keeps a session for a while, and can say once it has forgotten it;
/// but one that does not come back, or a relay that lets nobody through to it, would be asked for ever, and whoever
/// connected here would never hear of it.
struct Patience {
    /// How long a host keeps a session.
    lifetime: Duration,
    /// When the connection was lost, or little later.
    lost: Mutex<Instant>,
}

impl Patience {
    fn new(lifetime: Duration) -> Self {
        Self { lifetime, lost: Mutex::new(Instant::now()) }
    }

    /// An attempt begins, the first since the loss being 1.
    fn begin(&self, attempt: u32) {
        if attempt <= 1 {
            *self.lost.lock() = Instant::now();
        }
    }

    /// What it means that an attempt has failed like this.
    fn verdict(&self, error: &ClientError) -> ConnectError {
        let shown = Error::from(std::io::Error::other(error.to_string()));
        match error {
            ClientError::Stripped => ConnectError::Permanent(shown),
            // Somebody has answered. As long as nobody does, the host may wait just as well.
            ClientError::Refused(_) if self.lost.lock().elapsed() >= self.lifetime => {
                ConnectError::Permanent(shown)
            }
            _ => ConnectError::Temporary(shown),
        }
    }
}

/// A channel through the relay to the host.
async fn open_outer(shared: &Shared, port: u16, from: Option<SocketAddr>) -> Result<Channel, ClientError> {
    let link = link(shared).await?;
    let end_to_end = shared.config.end_to_end;
    let fields = fields(port, from, end_to_end).encode_for_host();
    let (channel, confirmation) = link.open_channel_with(FORWARDED, &fields).await?;
    match (end_to_end, confirmation.first().copied().unwrap_or(0) != 0) {
        (true, false) => Err(ClientError::Stripped),
        (false, true) => Err(ClientError::Refused(
            "the host wants end-to-end encryption; leave --no-e2e out, or allow it at the host".into(),
        )),
        _ => Ok(channel),
    }
}

async fn link(shared: &Shared) -> Result<Session, ClientError> {
    let mut link = shared.link.subscribe();
    let found = tokio::time::timeout(SESSION, link.wait_for(Option::is_some)).await;
    let session = match found {
        Ok(Ok(session)) => session.clone(),
        _ => None,
    };
    session.ok_or_else(|| ClientError::Refused("the host is not connected now".into()))
}

fn fields(port: u16, from: Option<SocketAddr>, end_to_end: bool) -> Fields<'static> {
    // Who connects here is none of the other side's business.
    let originator_port = from.map_or(0, |from| from.port()).into();
    Fields { host: LOOPBACK, port, originator: LOOPBACK.as_bytes(), originator_port, token: "", end_to_end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_come_back_is_not_asked_for_ever() {
        let patience = Patience::new(ReconnectOffer::default().lifetime);
        let refused = ClientError::Refused("no host forwards port 9 now".into());
        let away = ClientError::Session(Error::Timeout(ssh_core::error::Timeout::Login));
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        for _ in 0..2 {
            // The session may have gone on for days before it was lost, and may be lost again.
            patience.begin(1);
            for attempt in 2..62 {
                assert!(matches!(patience.verdict(&refused), ConnectError::Temporary(_)), "{attempt}");
                tokio::time::sleep(Duration::from_secs(5)).await;
                patience.begin(attempt);
            }
            assert!(matches!(patience.verdict(&away), ConnectError::Temporary(_)), "nobody has answered");
            assert!(matches!(patience.verdict(&refused), ConnectError::Permanent(_)));
        }
        assert!(matches!(patience.verdict(&ClientError::Stripped), ConnectError::Permanent(_)));
    }
}
