//! The end that accepts: how it is configured.

use std::sync::Arc;

use futures::StreamExt as _;
pub use ssh_core::server::{
    AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthStart, Authenticator, Config, ConfigBuilder,
    DetachedLimits, DetachedSessions, Method, OfferedKey, Principal, RejectReason, ResumePolicy, danger,
};
use ssh_core::session::Incoming;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Error;
use crate::secure_stream::{CHANNEL_TYPE, Role, SecureStream};

impl SecureStream {
    /// Accepts a client over `stream`: version and key exchange, its login, and then its channel. Other channels and
    /// requests are refused.
    ///
    /// A client has to log in within [`Limits::login`](ssh_core::config::Limits::login); after that it may take its time
    /// to open the channel, since it may have lost its stream meanwhile.
    ///
    /// # Errors
    /// Whatever kept the session from being set up. [`Error::Reconnect`] with
    /// [`HandedOver`](crate::ReconnectFailure::HandedOver) says that nothing went wrong: the client came back, and `stream` now
    /// carries an older secure stream, which goes on by itself.
    ///
    /// # Cancel safety
    /// A dropped future ends the session, unless it was handed over.
    pub async fn server<S>(stream: S, config: Arc<Config>) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let session = ssh_core::server::accept(stream, config).await?;
        let mut incoming = session.incoming();
        while let Some(item) = incoming.next().await {
            // What is dropped is refused.
            if let Incoming::Channel(offer) = item
                && offer.kind() == CHANNEL_TYPE
            {
                let channel = offer.accept()?;
                return Self::new(session, channel, incoming, Role::Server);
            }
        }
        Err(session.closed().await)
    }
}
