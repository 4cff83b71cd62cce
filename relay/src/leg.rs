//! Our end of a session with a relay: SSH without security (key exchange `none`), over a WebSocket.

use std::time::Duration;

use ssh_core::client::{self, Config, danger};
use ssh_core::config::{Algorithms, Limits};
use ssh_core::{Error, Session, Wires};

use crate::dial::RelayStream;
use crate::sessions::SESSION_WINDOW;

/// Clients, or connections of one client, at once.
const CHANNELS: usize = 4096;
/// A silent relay is asked for a sign of life after this; two unanswered ones, and it is taken for dead.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(15);

/// A session with a relay.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) session: Session,
    pub(crate) wires: Wires,
}

impl Leg {
    pub(crate) async fn open_for_client(stream: RelayStream) -> Result<Self, Error> {
        Self::open(stream, Limits::default().abandoned_channels).await
    }

    pub(crate) async fn open_for_host(stream: RelayStream) -> Result<Self, Error> {
        // They are those of all clients, each of whom the relay holds to what one may: together they may well be more, and
        // the leg is not to end for all over some.
        Self::open(stream, None).await
    }

    async fn open(stream: RelayStream, abandoned_channels: Option<u32>) -> Result<Self, Error> {
        let mut limits = Limits::default();
        limits.login = HANDSHAKE;
        limits.channels = CHANNELS;
        limits.abandoned_channels = abandoned_channels;
        limits.session_window = SESSION_WINDOW;
        limits.keepalive = Some(KEEPALIVE);
        limits.keepalive_misses = 2;
        // There are no keys to renew, and relays end a session over the attempt.
        limits.rekey_bytes = u64::MAX;
        limits.rekey_packets = u64::MAX;
        let config = Config::builder("tunnel")
            // The relay is not believed anything that a key could prove.
            .verify_host_key(danger::AcceptAnyHostKey)
            .algorithms(Algorithms::insecure_without_any_security())
            .limits(limits)
            .build()?;
        let (login, driver) = client::connect_with_driver(stream, config)?;
        let wires = Wires::spawn(driver);
        Ok(Self { session: login.await?, wires })
    }
}

/// Lets a session that ended like this say its last words, unless nobody is there to hear them.
pub(crate) async fn see_off(wires: Wires, ended: &Error) {
    if !matches!(ended, Error::Io(_) | Error::Timeout(_)) {
        wires.flushed().await;
    }
}
