//! Logging in, and in again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssh_core::client::{self, Config, ConnectError, Reconnect};
use ssh_core::config::{Algorithms, Extensions, Limits};
use ssh_core::error::{DisconnectReason, ReconnectFailure};
use ssh_core::keys::{Curve, KeyKind};
use ssh_core::network::NetworkWatch;
use ssh_core::{Addresses, Error, Session, Wires};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Target;
use super::credentials::{self, Credentials};
use super::host_key::Verifier;
use super::terminal::{Terminal, patience};
use crate::args::ForwardArgs;
use crate::commands::session::{self, PROVIDER};
use crate::error::{CliError, Code};
use crate::output::{Event, Output};

/// The address of the server that the last connection led to.
#[derive(Debug, Clone, Default)]
pub(super) struct Reached(Arc<watch::Sender<Option<SocketAddr>>>);

impl Reached {
    pub(super) fn now(&self) -> Option<SocketAddr> {
        *self.0.borrow()
    }

    /// Connects.
    async fn connect(&self, target: &Target) -> Result<TcpStream, CliError> {
        let stream = target.connect().await?;
        self.0.send_replace(stream.peer_addr().ok());
        session::tune(&stream);
        Ok(stream)
    }
}

/// A session that is logged in, and how its peer is called in messages.
pub(super) struct Link {
    pub(super) session: Session,
    pub(super) reached: Reached,
    wires: Wires,
    /// `user@host:port`.
    pub(super) peer: String,
}

impl Link {
    /// The error that the end of the session is.
    pub(super) fn lost(&self, error: &Error) -> CliError {
        CliError::session(&self.peer, error)
    }

    /// Tells the peer and waits, for a moment, until it has been told.
    pub(super) async fn close(self) {
        self.session.close();
        self.wires.flushed().await;
    }
}

/// What is needed to log in, as often as it takes.
pub(super) struct Login {
    target: Target,
    user: String,
    pub(super) peer: String,
    verifier: Verifier,
    algorithms: Algorithms,
    limits: Limits,
    /// From the first packet to the end of the login.
    limit: Duration,
    credentials: Credentials,
    /// How a lost connection is replaced, unless it is not.
    reconnect: Option<Reconnect>,
    reached: Reached,
    output: Output,
}

impl Login {
    /// Reads what is needed.
    pub(super) async fn prepare(args: &ForwardArgs, output: &Output) -> Result<Self, CliError> {
        let user = args.target.user()?;
        let peer = format!("{user}@{}", args.target);
        let terminal = Terminal::find(output, args.stdio.is_some());
        let verifier = Verifier::new(args, terminal.clone(), output).await?;
        let mut algorithms = session::algorithms(&args.session)?;
        if verifier.may_expect(KeyKind::Ecdsa(Curve::P521)) {
            algorithms = session::with_p521(algorithms, &args.session);
        }
        let limit = Duration::from_secs(args.connect_timeout);
        let mut limits = session::limits(&args.session);
        // Ours is the deadline that does not count the time in which somebody is asked.
        limits.login = MAX_ASKING.max(limit.saturating_add(Duration::from_secs(1)));
        let credentials = credentials::gather(args, &peer, terminal.as_ref(), output).await?;
        let reached = Reached::default();
        let reconnect = (!args.session.no_reconnect).then(|| reconnect(args, &reached));
        let (target, output) = (args.target.clone(), output.clone());
        Ok(Self {
            target,
            user,
            peer,
            verifier,
            algorithms,
            limits,
            limit,
            credentials,
            reconnect,
            reached,
            output,
        })
    }

    /// Connects and logs in.
    pub(super) async fn run(&self) -> Result<Link, CliError> {
        tokio::select! {
            link = self.with_some_host_key() => link,
            () = patience(self.limit) => Err(CliError::new(
                Code::Network,
                format!(
                    "{} did not answer within {} s; check that an SSH server runs there, or give --connect-timeout SECS",
                    self.peer,
                    self.limit.as_secs()
                ),
            )),
        }
    }

    /// Logs in again once a session is over that could not be resumed; waits before each attempt, and longer each time, but
    /// not once this machine has come to another network.
    ///
    /// # Errors
    /// What will not get better.
    pub(super) async fn again(&mut self, before: &Session, policy: &Reconnect) -> Result<Link, CliError> {
        if let Some(key) = &before.info().host_key {
            self.verifier = self.verifier.again(key.clone());
        }
        let mut attempt = 0_u32;
        let mut network = NetworkWatch::new();
        loop {
            attempt = attempt.saturating_add(1);
            let delay = policy.delay(attempt, PROVIDER);
            reconnecting(&self.output, attempt, delay);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = network.changed(|| self.reached.now()) => {}
            }
            match self.run().await {
                Err(error) if error.code == Code::Network => {
                    tracing::debug!(%error, attempt, "logging in again failed");
                }
                done => return done,
            }
        }
    }

    /// Drops keys and passwords if there will be no other login. Otherwise they have to stay: a server that has forgotten
    /// the session wants them again.
    pub(super) fn forget_what_is_not_needed(&mut self) {
        if self.reconnect.is_none() {
            self.credentials.forget();
        }
    }

    /// How to come back after this end of a session, if that is worth a try.
    pub(super) fn may_come_back(&self, end: &Error) -> Option<Reconnect> {
        let may_get_better = match end {
            // It has said that it wants no more of them.
            Error::Disconnected { reason, .. } => *reason != DisconnectReason::TOO_MANY_CONNECTIONS,
            Error::Io(_) | Error::Timeout(_) => true,
            Error::Reconnect(failure) => *failure != ReconnectFailure::DifferentHostKey,
            _ => false,
        };
        self.reconnect.clone().filter(|_| may_get_better)
    }

    /// Connects and logs in; again, if the server may have another host key that is the right one.
    async fn with_some_host_key(&self) -> Result<Link, CliError> {
        let mut algorithms = self.verifier.prefer_known_kinds(self.algorithms.clone());
        let mut first = None;
        loop {
            let error = match self.attempt(algorithms.clone()).await? {
                Ok(link) => return Ok(link),
                Err(error) => error,
            };
            let other = match &error {
                Error::HostKey(refused) => self.verifier.try_other_kinds(&algorithms, &refused.key),
                _ => None,
            };
            // What the best of the server's keys had against it says most.
            let said = first.get_or_insert_with(|| CliError::session(&self.peer, &error));
            let Some(other) = other else { return Err(said.clone()) };
            algorithms = other;
        }
    }

    /// The inner error is that of the session.
    async fn attempt(&self, algorithms: Algorithms) -> Result<Result<Link, Error>, CliError> {
        let failed = |error: Error| CliError::session(&self.peer, &error);
        let mut config = Config::builder(&self.user)
            .verify_host_key(self.verifier.clone())
            .algorithms(algorithms)
            .limits(self.limits.clone())
            .extensions(extensions())
            .provider(PROVIDER);
        let output = self.output.clone();
        config = config.on_banner(move |text| output.event(&Event::Banner { text: text.trim_end() }));
        for credential in self.credentials.list() {
            config = config.authenticate(credential);
        }
        if let Some(reconnect) = &self.reconnect {
            config = config.reconnect(reconnect.clone());
        }
        let config = config.build().map_err(failed)?;
        let stream = self.reached.connect(&self.target).await?;
        let addresses = Addresses::of(&stream);
        let (login, driver) = client::connect_from_with_driver(stream, addresses, config).map_err(failed)?;
        let wires = Wires::spawn(driver);
        match login.await {
            Ok(session) => {
                Ok(Ok(Link { session, reached: self.reached.clone(), wires, peer: self.peer.clone() }))
            }
            Err(error) => {
                wires.flushed().await;
                Ok(Err(error))
            }
        }
    }
}

/// Who names a port for `-R` means that one: another in its place would go unnoticed by whoever connects to it.
fn extensions() -> Extensions {
    let mut extensions = Extensions::default();
    extensions.can_change_port = false;
    extensions
}

/// The same target again, whose host key the library compares with the session's.
fn reconnect(args: &ForwardArgs, reached: &Reached) -> Reconnect {
    let (target, reached) = (args.target.clone(), reached.clone());
    Reconnect::new(move |_| dial(target.clone(), reached.clone()))
        .attempt_timeout(Duration::from_secs(args.connect_timeout))
        .dead_peer_after(session::dead_peer_after(&args.session))
}

/// A name that does not resolve now may do so when the network is back.
async fn dial(target: Target, reached: Reached) -> Result<TcpStream, ConnectError> {
    Ok(reached.connect(&target).await.map_err(std::io::Error::other)?)
}

/// Nobody at a terminal wants to read of the first attempt: it most often succeeds.
pub(super) fn reconnecting(output: &Output, attempt: u32, delay: Duration) {
    if attempt > 1 || output.is_json() {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        output.event(&Event::Reconnecting { attempt, delay_ms, reason: None });
    }
}

/// As long as a server gives people to log in, and more.
const MAX_ASKING: Duration = Duration::from_secs(600);
