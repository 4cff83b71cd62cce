//! `adit forward`: logs in to a server and forwards ports.

mod certificate;
mod credentials;
mod forwards;
mod host_key;
mod key_files;
mod prompts;
mod spec;
mod target;
mod terminal;

use std::time::Duration;

use ssh_core::client::{self, Config, Credential};
use ssh_core::config::{Algorithms, Limits};
use ssh_core::keys::{Curve, KeyKind};
use ssh_core::{Addresses, Error, Session};

pub(crate) use spec::{DynamicSpec, Endpoint, ForwardSpec, Listen};
pub(crate) use target::Target;

use self::host_key::Verifier;
use self::terminal::{Terminal, patience};
use super::session::{self, PROVIDER, Wires};
use crate::Ended;
use crate::args::ForwardArgs;
use crate::error::{CliError, Code};
use crate::output::{Event, Output};
use crate::signals;

/// Forwards until a signal comes, the session ends, or the stdio forward is done.
///
/// # Errors
/// Whatever kept the session or a forward from being set up, or ended the session.
pub(crate) async fn run(args: ForwardArgs, output: &Output) -> Result<Ended, CliError> {
    if args.local.is_empty() && args.remote.is_empty() && args.dynamic.is_empty() && args.stdio.is_none() {
        // A session that only shows whether one can log in.
        output.warning("nothing is forwarded; -L, -R, -D and -W say what is to be");
    }
    let signal = signals::first()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))?;
    tokio::pin!(signal);
    // One session after the other would go here, once a lost one is to be replaced.
    let link = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        link = Link::establish(&args, output) => link?,
    };
    let ended = tokio::select! {
        name = &mut signal => Ok(Ended::Closed(name)),
        ended = forwards::run(&args, &link, output) => ended,
    };
    link.close().await;
    ended
}

/// A session that is logged in, and how its peer is called in messages.
struct Link {
    session: Session,
    wires: Wires,
    /// `user@host:port`.
    peer: String,
}

impl Link {
    /// Reads what is needed, connects, and logs in.
    async fn establish(args: &ForwardArgs, output: &Output) -> Result<Self, CliError> {
        let user = args.target.user()?;
        let peer = format!("{user}@{}", args.target);
        let terminal = Terminal::find(output);
        let verifier = Verifier::new(args, terminal.clone(), output)?;
        let mut algorithms = session::algorithms(&args.session)?;
        if verifier.may_expect(KeyKind::Ecdsa(Curve::P521)) {
            algorithms = session::with_p521(algorithms, &args.session);
        }
        let algorithms = verifier.prefer_known_kinds(algorithms);
        let limit = Duration::from_secs(args.connect_timeout);
        let mut limits = session::limits(&args.session);
        // Ours is the deadline that does not count the time in which somebody is asked.
        limits.login =
            if terminal.is_some() { MAX_ASKING } else { limit.saturating_add(Duration::from_secs(1)) };
        let credentials = credentials::gather(args, &peer, terminal.as_ref(), output).await?;
        let login = Login { target: &args.target, user, peer, verifier, limits, credentials, output };
        tokio::select! {
            link = login.run(algorithms) => link,
            () = patience(limit, terminal.as_ref()) => Err(CliError::new(
                Code::Network,
                format!(
                    "{} did not answer within {} s; check that an SSH server runs there, or give --connect-timeout SECS",
                    login.peer,
                    limit.as_secs()
                ),
            )),
        }
    }

    /// The error that the end of the session is.
    fn lost(&self, error: &Error) -> CliError {
        CliError::session(&self.peer, error)
    }

    /// Tells the peer and waits, for a moment, until it has been told.
    async fn close(self) {
        self.session.close();
        self.wires.flushed().await;
    }
}

/// What is needed to log in.
struct Login<'a> {
    target: &'a Target,
    user: String,
    peer: String,
    verifier: Verifier,
    limits: Limits,
    credentials: Vec<Credential>,
    output: &'a Output,
}

impl Login<'_> {
    /// Connects and logs in; again, if the server may have another host key that is the right one.
    async fn run(&self, mut algorithms: Algorithms) -> Result<Link, CliError> {
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
            .provider(PROVIDER);
        let output = self.output.clone();
        config = config.on_banner(move |text| output.event(&Event::Banner { text: text.trim_end() }));
        for credential in &self.credentials {
            config = config.authenticate(credential.clone());
        }
        let config = config.build().map_err(failed)?;
        let stream = self.target.connect().await?;
        session::tune(&stream);
        let addresses = Addresses::of(&stream);
        let (login, driver) = client::connect_from_with_driver(stream, addresses, config).map_err(failed)?;
        let wires = Wires::spawn(driver);
        match login.await {
            Ok(session) => Ok(Ok(Link { session, wires, peer: self.peer.clone() })),
            Err(error) => {
                wires.flushed().await;
                Ok(Err(error))
            }
        }
    }
}

/// As long as a server gives people to log in, and more.
const MAX_ASKING: Duration = Duration::from_secs(600);
