//! Coming back after a lost stream.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::crypto::CryptoProvider;
use crate::driver::{BoxStream, Shared, Supervisor, now, split};
use crate::error::{Error, ReconnectFailure};
use crate::protocol::{Engine, Inbound, Input, ReconnectOffer};
use crate::session::SessionEvent;
use crate::trace::tell;

/// How a client comes back by itself when its stream is lost: where to, how often, and when to give up.
///
/// Each attempt waits for a random share of a cap, which doubles from [`first_delay`](Self::first_delay) to
/// [`max_delay`](Self::max_delay) ("full jitter"), so that the clients of a server that was gone come one by one; and for as
/// long as the connector says, on top ([`ConnectError::NotBefore`]). What cannot get better ends
/// the session with its cause: another host key, a session that the server does not have, and whatever the
/// connector says.
#[derive(Clone)]
pub struct Reconnect {
    connector: Arc<dyn Connector>,
    pub(super) offer: ReconnectOffer,
    first_delay: Duration,
    max_delay: Duration,
    attempts: Option<u32>,
    attempt_timeout: Duration,
    pub(super) dead_peer_after: Duration,
}

/// Makes streams to the server.
trait Connector: Send + Sync {
    /// A new stream. `attempt` counts from 1 since the last one was lost.
    fn connect(&self, attempt: u32) -> BoxFuture<'_, Result<BoxStream, ConnectError>>;
}

/// Why there is no stream.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectError {
    /// It may be better next time.
    Temporary(Error),
    /// It may be better once this time has passed: who answers has said so.
    NotBefore(Error, Duration),
    /// It will not get better: the session ends with this.
    Permanent(Error),
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Temporary(error.into())
    }
}

impl fmt::Debug for Reconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnect")
            .field("first_delay", &self.first_delay)
            .field("max_delay", &self.max_delay)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

struct FromFn<F>(F);

impl<F, Fut, S> Connector for FromFn<F>
where
    F: Fn(u32) -> Fut + Send + Sync,
    Fut: Future<Output = Result<S, ConnectError>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    fn connect(&self, attempt: u32) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        let stream = (self.0)(attempt);
        async move { Ok(Box::pin(stream.await?) as BoxStream) }.boxed()
    }
}

impl Reconnect {
    /// Comes back over the streams that `connect` makes; it is given the number of the attempt, from 1.
    #[must_use]
    pub fn new<F, Fut, S>(connect: F) -> Self
    where
        F: Fn(u32) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, ConnectError>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        Self {
            connector: Arc::new(FromFn(connect)),
            offer: ReconnectOffer::default(),
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(15),
            attempts: None,
            attempt_timeout: Duration::from_secs(15),
            dead_peer_after: Duration::from_secs(15),
        }
    }

    /// What is offered; [`ReconnectOffer::default`] otherwise.
    #[must_use]
    pub fn offer(mut self, offer: ReconnectOffer) -> Self {
        self.offer = offer;
        self
    }

    /// The longest delay before the first attempt. 100 ms.
    #[must_use]
    pub fn first_delay(mut self, delay: Duration) -> Self {
        self.first_delay = delay;
        self
    }

    /// No delay is longer. 15 s.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Gives up after this many attempts in a row. By default it never does; the server gives up first.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// An attempt that takes longer, connecting included, has failed. 15 s.
    #[must_use]
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.attempt_timeout = limit;
        self
    }

    /// A server that has not been heard of for this long is taken for dead: it is asked for a sign of life after one and
    /// two thirds of it. In sessions that can be resumed this replaces the keepalives of
    /// [`Limits`](crate::config::Limits): to lose the stream costs nothing there. 15 s.
    #[must_use]
    pub fn dead_peer_after(mut self, silence: Duration) -> Self {
        self.dead_peer_after = silence;
        self
    }

    /// How long to wait before an attempt, the first being 1: for who logs in again by the same rule once a session cannot
    /// be resumed.
    #[must_use]
    pub fn delay(&self, attempt: u32, provider: &CryptoProvider) -> Duration {
        let doubled =
            self.first_delay.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let cap = doubled.min(self.max_delay);
        let mut random = [0; 2];
        // Without randomness nobody is spread, and nobody comes too early.
        let share = provider.random.fill(&mut random).map_or(u16::MAX, |()| u16::from_be_bytes(random));
        cap.checked_div(u16::MAX.into()).unwrap_or_default().saturating_mul(share.into())
    }
}

/// Keeps a client's session going.
pub(super) struct AutoReconnect {
    pub(super) policy: Reconnect,
    pub(super) provider: &'static CryptoProvider,
}

impl Supervisor for AutoReconnect {
    fn reconnect<'a>(&'a self, shared: &'a Arc<Shared>) -> BoxFuture<'a, ()> {
        self.run(shared).boxed()
    }
}

impl AutoReconnect {
    async fn run(&self, shared: &Shared) {
        let mut attempt = 0_u32;
        let mut asked = Duration::ZERO;
        let mut hurry = shared.hurried();
        loop {
            attempt = attempt.saturating_add(1);
            let (asked_for, own) = (std::mem::take(&mut asked), self.policy.delay(attempt, self.provider));
            shared.announce(SessionEvent::Reconnecting { attempt, after: asked_for.saturating_add(own) });
            tokio::time::sleep(asked_for).await;
            tokio::select! {
                () = tokio::time::sleep(own) => hurry.mark_unchanged(),
                // The sender is the session's.
                _ = hurry.changed() => {}
            }
            // Somebody else may have been faster, or closed the session.
            if shared.with(|engine| engine.detached().is_none() || engine.ended().is_some()) {
                return;
            }
            let mut news = hurry.clone();
            let tried = tokio::select! {
                biased;
                stream = self.connect(attempt, &mut asked) => match stream {
                    Ok((stream, deadline)) => resume_until(shared, stream, deadline).await,
                    Err(failed) => Err(failed),
                },
                // It may be on its way through a network that is left. The news stay news, so that the next try is at once.
                _ = news.changed() => {
                    attempt = attempt.saturating_sub(1);
                    continue;
                }
            };
            let error = match tried {
                Ok(()) => return,
                Err(Attempt::Failed(_)) if self.policy.attempts.is_none_or(|most| attempt < most) => continue,
                Err(Attempt::Failed(error) | Attempt::Hopeless(error)) => error,
            };
            shared.with(|engine| engine.end(error));
            return;
        }
    }
}

impl AutoReconnect {
    /// A stream, and when all has to be done. `asked` is set if who answers wants to be left alone for a time.
    async fn connect(
        &self,
        attempt: u32,
        asked: &mut Duration,
    ) -> Result<(BoxStream, Option<tokio::time::Instant>), Attempt> {
        let connect = async {
            match self.policy.connector.connect(attempt).await {
                Ok(stream) => Ok(stream),
                Err(ConnectError::Temporary(error)) => Err(Attempt::Failed(error)),
                Err(ConnectError::NotBefore(error, time)) => {
                    *asked = time;
                    Err(Attempt::Failed(error))
                }
                Err(ConnectError::Permanent(error)) => Err(Attempt::Hopeless(error)),
            }
        };
        let limit = self.policy.attempt_timeout;
        let deadline = tokio::time::Instant::now().checked_add(limit);
        let late = || Attempt::Failed(Error::Timeout(crate::error::Timeout::Login));
        let stream = tokio::time::timeout(limit, connect).await.map_err(|_| late()).flatten();
        stream.map(|stream| (stream, deadline)).inspect_err(Attempt::note)
    }
}

/// How an attempt failed.
pub(crate) enum Attempt {
    /// It may be better next time.
    Failed(Error),
    /// It will not.
    Hopeless(Error),
}

impl Attempt {
    fn note(&self) {
        let (Self::Failed(error) | Self::Hopeless(error)) = self;
        tell!(ClientSessionReconnectFailed, %error, "reconnecting failed");
    }
}

/// Resumes the session over `stream`.
pub(crate) async fn resume(shared: &Shared, stream: BoxStream) -> Result<(), Attempt> {
    resume_until(shared, stream, None).await
}

/// The server has to answer within the limit of a login, and before `deadline`.
async fn resume_until(
    shared: &Shared,
    stream: BoxStream,
    deadline: Option<tokio::time::Instant>,
) -> Result<(), Attempt> {
    attempt(shared, stream, deadline).await.inspect_err(Attempt::note)
}

async fn attempt(
    shared: &Shared,
    stream: BoxStream,
    deadline: Option<tokio::time::Instant>,
) -> Result<(), Attempt> {
    let not_now = || Attempt::Failed(Error::Reconnect(ReconnectFailure::NotResumable));
    let _only = shared.begin_attempt().ok_or_else(not_now)?;
    let made = shared.with(|engine| engine.reconnect(now()));
    let (engine, inbound) = made.map_err(Attempt::Failed)?;
    let mut undone = Undone { shared, engine, error: Some(Error::Timeout(crate::error::Timeout::Login)) };
    let mut link = Handshake { stream, inbound };
    let resumed = match link.run(shared, &mut undone.engine, deadline).await {
        Ok(()) => shared.with(|session| {
            session.resume(&mut undone.engine, now())?;
            Ok((session.generation(), lost_at_once(session)))
        }),
        Err(error) => Err(error),
    };
    let (generation, lost) = match resumed {
        Ok(resumed) => resumed,
        Err(error) => {
            undone.error = Some(error.clone());
            let end = undone.end();
            // The server may have given the session this connection. Then a farewell would be the session's.
            if end.is_some() || !undone.engine.has_asked() {
                link.say_goodbye(&mut undone.engine).await;
            }
            return Err(end.map_or(Attempt::Failed(error), Attempt::Hopeless));
        }
    };
    undone.error = None;
    let (reader, writer) = split(link.stream, link.inbound, generation);
    shared.deposit_reader(reader);
    shared.deposit_writer(writer);
    lost.map_or(Ok(()), Err)
}

/// What came right behind the server's answer may have lost the session its new stream, or ended it.
fn lost_at_once(session: &Engine) -> Option<Attempt> {
    let ended = session.ended().cloned().map(Attempt::Hopeless);
    ended.or_else(|| session.detached().cloned().map(Attempt::Failed))
}

/// An attempt that has not brought the session its stream, however it comes to its end: also that of a future that is
/// dropped. If the server may have gone on without us noticing, that is the end of the session.
struct Undone<'a> {
    shared: &'a Shared,
    engine: Engine,
    /// How it failed; for as long as nothing else is known, it was given up.
    error: Option<Error>,
}

impl Undone<'_> {
    /// What the session ends with, if it cannot go on after this.
    fn end(&mut self) -> Option<Error> {
        let error = self.error.take()?;
        let end = self.shared.with(|session| session.is_end_of_attempts(&self.engine, &error))?;
        Some(self.shared.with(|session| session.end(end)))
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// A new connection until the server has answered.
struct Handshake {
    stream: BoxStream,
    inbound: Inbound,
}

/// A read of the handshake, in bytes.
const READ: usize = 16 * 1024;
/// To tell the server why the connection is given up.
const FAREWELL: Duration = Duration::from_secs(1);

impl Handshake {
    async fn run(
        &mut self,
        shared: &Shared,
        engine: &mut Engine,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<(), Error> {
        let of_login = engine.poll_timeout().unwrap_or_else(now).into();
        let deadline = deadline.map_or(of_login, |deadline| deadline.min(of_login));
        let late = || Error::Timeout(crate::error::Timeout::Login);
        tokio::time::timeout_at(deadline, self.exchange(shared, engine)).await.map_err(|_| late())?
    }

    /// Both sides take turns, so nothing has to be written and read at once.
    async fn exchange(&mut self, shared: &Shared, engine: &mut Engine) -> Result<(), Error> {
        let mut output = Vec::new();
        loop {
            while let Some(stage) = engine.poll_progress() {
                shared.announce(SessionEvent::Progress(stage));
            }
            while engine.has_output() {
                engine.take_output(&mut output, now());
                self.stream.write_all(&output).await?;
                self.stream.flush().await?;
            }
            if engine.is_claim_answered() {
                return Ok(());
            }
            if self.stream.read_buf(self.inbound.reserve(READ)).await? == 0 {
                return Err(Error::unexpected_end());
            }
            self.dispatch(engine).map_err(|error| engine.end(error))?;
        }
    }

    fn dispatch(&mut self, engine: &mut Engine) -> Result<(), Error> {
        loop {
            while let Some(input) = self.inbound.poll()? {
                match input {
                    Input::Ident(version) => engine.handle_ident(version),
                    Input::Packet(packet) => engine.handle_packet(packet, now())?,
                }
            }
            match engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return Ok(()),
            }
        }
    }

    async fn say_goodbye(&mut self, engine: &mut Engine) {
        engine.end(Error::Reconnect(ReconnectFailure::UnknownClient));
        let mut output = Vec::new();
        engine.take_output(&mut output, now());
        let goodbye = async {
            self.stream.write_all(&output).await?;
            self.stream.shutdown().await
        };
        // Whether it gets there makes no difference.
        let _ = tokio::time::timeout(FAREWELL, goodbye).await;
    }
}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_are_spread() {
        let provider = &crate::crypto::rustcrypto::PROVIDER;
        let policy = Reconnect::new(|_| async { Ok(tokio::io::empty()) });
        let ms = |attempt| {
            let all: Vec<_> = (0..1000).map(|_| policy.delay(attempt, provider).as_millis()).collect();
            (*all.iter().min().unwrap(), *all.iter().max().unwrap())
        };
        for (attempt, most) in [(1, 100), (2, 200), (5, 1600), (9, 15_000), (40, 15_000), (u32::MAX, 15_000)]
        {
            let (shortest, longest) = ms(attempt);
            assert!(shortest <= most / 20 && longest <= most && longest >= most * 19 / 20, "{attempt}");
        }
    }
}
