//! The end that connects: how it is configured, and how it comes back.

use std::sync::Arc;

pub use ssh_core::client::{
    Config, ConfigBuilder, ConnectError, Credential, HostKeyVerifier, Reconnect, danger,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::secure_stream::{CHANNEL_TYPE, Role, SecureStream};
use crate::{Error, OpenError};

impl SecureStream {
    /// Connects over `stream`: version and key exchange, host key, login, and then the channel.
    ///
    /// # Errors
    /// [`OpenError::Session`] with whatever kept the session from being set up, for instance [`Error::HostKey`] or
    /// [`Error::Auth`]; [`OpenError::Refused`] from a server that does not take secure streams.
    ///
    /// # Cancel safety
    /// A dropped future ends the session, and the stream below with it.
    pub async fn client<S>(stream: S, config: Arc<Config>) -> Result<Self, OpenError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let session = ssh_core::client::connect(stream, config).await?;
        let incoming = session.incoming();
        let channel = session.open_channel(CHANNEL_TYPE).await?;
        Ok(Self::new(session, channel, incoming, Role::Client)?)
    }

    /// Client: goes on over `stream` after the one below was lost. Reads and writes that wait then go on too. Needless
    /// where the configuration has a [`Reconnect`] policy. For the halves of a stream that was split,
    /// [`Session::reconnect`](crate::Session::reconnect) does the same.
    ///
    /// # Errors
    /// [`ApiMisuse::ReconnectByServer`](crate::ApiMisuse::ReconnectByServer) on a server. [`Error::Reconnect`] with
    /// [`NotResumable`](crate::ReconnectFailure::NotResumable) if the stream below has not been lost, or reconnecting was not
    /// offered by both sides. Otherwise why it failed; if that cannot get better, for instance because the host key is
    /// another one, the stream is closed.
    ///
    /// # Cancel safety
    /// A dropped future leaves the stream as it is, and another may be tried; but see
    /// [`Session::reconnect`](crate::Session::reconnect) for servers that are not Adit.
    pub async fn reconnect<S>(&self, stream: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        match self.role {
            Role::Client => self.session().reconnect(stream).await,
            Role::Server => Err(Error::ApiMisuse(crate::ApiMisuse::ReconnectByServer)),
        }
    }
}
