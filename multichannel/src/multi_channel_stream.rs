use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, Either, FutureExt as _, Shared, select};
use parking_lot::Mutex;
use ssh_core::config::Algorithms;
use ssh_core::error::DisconnectReason;
use ssh_core::session::IncomingChannel;
use ssh_core::{Channel, Error, OpenError, Session, client, server};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use crate::config::Config;

/// Many channels over one stream, without encryption. Either end opens and accepts; they only have to agree on who is the
/// client and who the server, which is of no consequence later. It connects by itself when it is first used.
///
/// Dropping it closes the session and the stream below, unless its [`session`](Self::session) is still held somewhere.
/// Channels do not keep it alive.
pub struct MultiChannelStream {
    connecting: Mutex<Connecting>,
    /// Tells those who wait for the login that it is wanted no more.
    closing: Notify,
}

/// Which end of the stream we are. Dev Tunnels' TypeScript and C# classes are both; its Go class has to be the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one who connects.
    Client,
    /// The one who accepts.
    Server,
}

/// The session, once it stands.
type Login = Shared<BoxFuture<'static, Result<Session, Error>>>;

enum Connecting {
    /// Nothing has been sent yet; this starts it.
    Idle(Box<dyn FnOnce() -> Login + Send>),
    Started(Login),
    Closed,
}

impl MultiChannelStream {
    /// The end of the one who connects.
    pub fn client<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::new(stream, Role::Client, &Config::default())
    }

    /// The end of the one who accepts.
    pub fn server<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self::new(stream, Role::Server, &Config::default())
    }

    /// One end over `stream`. Nothing is sent before the first call that needs it.
    pub fn new<S>(stream: S, role: Role, config: &Config) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let limits = config.limits.clone();
        let start = move || match role {
            Role::Client => connect(stream, limits).boxed().shared(),
            Role::Server => accept(stream, limits).boxed().shared(),
        };
        Self { connecting: Mutex::new(Connecting::Idle(Box::new(start))), closing: Notify::new() }
    }

    /// Exchanges the first messages with the other side. Calling it again, or from several tasks at once, waits for the
    /// same connection.
    ///
    /// # Errors
    /// Whatever kept the session from being set up, or [`Error::Closed`] after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// A dropped future leaves the connection as it is; the next call goes on with it.
    pub async fn connect(&self) -> Result<(), Error> {
        self.connected().await.map(drop)
    }

    /// Opens a channel of this type; an empty one means `session`.
    ///
    /// # Errors
    /// [`OpenError::Refused`] with the other side's reason, [`OpenError::TooManyChannels`] at this side's limit, or the
    /// session's error.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn open_channel(&self, kind: &str) -> Result<Channel, OpenError> {
        let session = self.connected().await?;
        session.open_channel(if kind.is_empty() { DEFAULT_TYPE } else { kind }).await
    }

    /// Opens a stream. It is a channel, which reads and writes as one: `shutdown` ends this way and leaves the other
    /// open.
    ///
    /// # Errors
    /// As for [`open_channel`](Self::open_channel).
    ///
    /// # Cancel safety
    /// As for [`open_channel`](Self::open_channel).
    pub async fn open_stream(&self, kind: &str) -> Result<Channel, OpenError> {
        self.open_channel(kind).await
    }

    /// The next channel that the other side opens, of this type or of any, to be accepted or refused. Several tasks may
    /// wait for types of their own.
    ///
    /// # Errors
    /// The session's error once it is over.
    ///
    /// # Cancel safety
    /// A dropped future has taken nothing.
    pub async fn next_channel(&self, kind: Option<&str>) -> Result<IncomingChannel, Error> {
        self.connected().await?.next_channel(kind).await
    }

    /// Accepts the next channel of this type, or of any.
    ///
    /// # Errors
    /// As for [`next_channel`](Self::next_channel).
    ///
    /// # Cancel safety
    /// A dropped future has accepted nothing.
    pub async fn accept_channel(&self, kind: Option<&str>) -> Result<Channel, Error> {
        self.connected().await?.accept_channel(kind).await
    }

    /// Accepts the next stream, which is a channel.
    ///
    /// # Errors
    /// As for [`next_channel`](Self::next_channel).
    ///
    /// # Cancel safety
    /// A dropped future has accepted nothing.
    pub async fn accept_stream(&self, kind: Option<&str>) -> Result<Channel, Error> {
        self.accept_channel(kind).await
    }

    /// Connects if that has not been done, and waits until either side closes.
    ///
    /// # Errors
    /// Whatever ended the session, unless one of the sides closed it as usual.
    ///
    /// # Cancel safety
    /// A dropped future changes nothing.
    pub async fn run_until_closed(&self) -> Result<(), Error> {
        match self.closed().await {
            Error::Closed | Error::ClosedWith { .. } => Ok(()),
            Error::Disconnected {
                reason: DisconnectReason::NONE | DisconnectReason::BY_APPLICATION, ..
            } => Ok(()),
            error => Err(error),
        }
    }

    /// Connects if that has not been done, and waits for the end; why it ended.
    ///
    /// # Cancel safety
    /// A dropped future changes nothing.
    pub async fn closed(&self) -> Error {
        match self.connected().await {
            Ok(session) => session.closed().await,
            Err(error) => error,
        }
    }

    /// Whether it is closed, or could not connect.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &*self.connecting.lock() {
            Connecting::Idle(_) => false,
            Connecting::Started(login) => match login.peek() {
                Some(Ok(session)) => session.is_closed(),
                Some(Err(_)) => true,
                None => false,
            },
            Connecting::Closed => true,
        }
    }

    /// Closes the session and the stream below it. The other side is told, and what was written before is delivered to it
    /// first, as long as it takes it within 2 s. While it still connects, that is given up: who waits for it is answered
    /// with [`Error::Closed`].
    pub fn close(&self) {
        let mut connecting = self.connecting.lock();
        let kept = match &*connecting {
            Connecting::Started(login) => login.peek().and_then(|login| login.as_ref().ok()),
            Connecting::Idle(_) | Connecting::Closed => None,
        };
        match kept {
            // It stays, so that whoever asks is told how it ended.
            Some(session) => session.close(),
            None => {
                *connecting = Connecting::Closed;
                self.closing.notify_waiters();
            }
        }
    }

    /// The session below, once it is [connected](Self::connect).
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match &*self.connecting.lock() {
            Connecting::Started(login) => login.peek().and_then(|login| login.as_ref().ok()).cloned(),
            Connecting::Idle(_) | Connecting::Closed => None,
        }
    }

    async fn connected(&self) -> Result<Session, Error> {
        // From before the look at the state, so that no close goes unheard.
        let closing = self.closing.notified();
        let login = {
            let mut connecting = self.connecting.lock();
            match std::mem::replace(&mut *connecting, Connecting::Closed) {
                Connecting::Idle(start) => *connecting = Connecting::Started(start()),
                other => *connecting = other,
            }
            match &*connecting {
                Connecting::Started(login) => login.clone(),
                Connecting::Idle(_) | Connecting::Closed => return Err(Error::Closed),
            }
        };
        tokio::pin!(closing);
        match select(closing, login).await {
            Either::Left(_) => Err(Error::Closed),
            Either::Right((login, _)) => {
                let session = login?;
                if matches!(*self.connecting.lock(), Connecting::Closed) {
                    // It came to stand while it was being closed.
                    session.close();
                    return Err(Error::Closed);
                }
                Ok(session)
            }
        }
    }
}

impl fmt::Debug for MultiChannelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiChannelStream").field("session", &self.session()).finish_non_exhaustive()
    }
}

/// The type of a channel that was given none, as in the reference implementations.
const DEFAULT_TYPE: &str = "session";

async fn connect<S>(stream: S, limits: ssh_core::config::Limits) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    // There is no host key to verify.
    let config = client::Config::builder("")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .algorithms(Algorithms::insecure_without_any_security())
        .limits(limits)
        .build()?;
    client::connect(stream, config).await
}

async fn accept<S>(stream: S, limits: ssh_core::config::Limits) -> Result<Session, Error>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let config: Arc<server::Config> = server::Config::builder(server::danger::AcceptEverybody)
        .algorithms(Algorithms::insecure_without_any_security())
        .limits(limits)
        .build()?;
    server::accept(stream, config).await
}
