//! The relay's ends of SSH sessions without security (key exchange `none`), over WebSockets.

use std::time::Duration;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::{Error, Session, server};
use tokio::io::{AsyncRead, AsyncWrite};

/// Channels of one host's session: a connection of a client each, or a client each. It is the relay that opens
/// them, and past this it tells the client that there is no room.
const HOST_CHANNELS: usize = 16 * 1024;
/// Channels that one client has open at once.
const CLIENT_CHANNELS: usize = 1024;
/// What the relay holds for one session at most, in bytes: what a slow reader has not taken.
pub(crate) const SESSION_WINDOW: u32 = 16 * 1024 * 1024;
/// A silent peer is asked for a sign of life after this; SDK peers answer from their first message on. After three of these it
/// is taken for lost, which is after 80 s of silence.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The session of a host.
pub(crate) async fn of_host<S>(stream: S, handshake: Duration) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    accept(stream, handshake, HOST_CHANNELS).await
}

/// The session of a client that speaks v2.
pub(crate) async fn of_client<S>(stream: S, handshake: Duration) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    accept(stream, handshake, CLIENT_CHANNELS).await
}

async fn accept<S>(stream: S, handshake: Duration, channels: usize) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut limits = Limits::default();
    limits.login = handshake;
    limits.channels = channels;
    limits.session_window = SESSION_WINDOW;
    limits.keepalive = Some(KEEPALIVE);
    // SDK peers end a session over a key exchange that they did not ask for.
    limits.rekey_bytes = u64::MAX;
    limits.rekey_packets = u64::MAX;
    let config = server::Config::builder(server::danger::AcceptEverybody)
        .algorithms(Algorithms::insecure_without_any_security())
        .limits(limits)
        .build()?;
    server::accept(stream, config).await
}
