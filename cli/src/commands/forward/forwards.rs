//! What runs over the session: the forwards of the command line.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::TcpListener as StdListener;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::OptionFuture;
use ssh_core::Error;
use ssh_core::network::NetworkWatch;
#[cfg(unix)]
use ssh_core::services::port_forward::SocketForward;
use ssh_core::services::port_forward::{
    Bind, DynamicForward, ForwardError, ForwardEvent, ForwardPolicy, LocalForward, PortForwarding,
    RemoteForward, Target,
};
use ssh_core::session::SessionEvent;
use tokio::net::TcpListener;

use super::login::{Link, reconnecting};
use super::spec::{DynamicSpec, Endpoint, ForwardSpec, Listen, Place, joined};
use crate::Ended;
use crate::args::ForwardArgs;
use crate::error::{CliError, Code, chain};
use crate::output::{Event, Kind, Output};

/// What is forwarded, over one session after the other.
pub(super) struct Forwarder<'a> {
    args: &'a ForwardArgs,
    output: &'a Output,
    /// They stay open from one session to the next: what connects in between waits in their queues.
    listeners: Option<Listeners>,
    /// What the server is asked to listen on: once it has chosen, the same again.
    remote_ports: Vec<u16>,
    was_ready: bool,
    /// Streams that ended with a session, and of which nothing was said yet.
    streams_lost: usize,
}

/// How the forwarding over a session ended.
pub(super) enum End {
    /// As it should.
    Ended(Ended),
    /// With the session. `is_told` if there was an event for the loss of its connection.
    Lost { error: Error, is_told: bool },
}

struct Listeners {
    dynamic: Vec<Vec<StdListener>>,
    /// Nothing for a Unix socket, which each session makes anew.
    local: Vec<Option<Vec<StdListener>>>,
}

/// The forwards of one session, which end when they are dropped.
#[derive(Default)]
struct Listening {
    _local: Vec<LocalForward>,
    _dynamic: Vec<DynamicForward>,
    #[cfg(unix)]
    _sockets: Vec<SocketForward>,
}

/// Why the forwarding ends before it should.
enum Failure {
    Session(Error),
    Other(CliError),
}

impl<'a> Forwarder<'a> {
    pub(super) fn new(args: &'a ForwardArgs, output: &'a Output) -> Self {
        let port = |spec: &ForwardSpec| match &spec.listen {
            Place::Tcp(listen) => listen.port,
            Place::Socket(_) => 0,
        };
        let remote_ports = args.remote.iter().map(port).collect();
        Self { args, output, listeners: None, remote_ports, was_ready: false, streams_lost: 0 }
    }

    /// Sets the forwards up and waits until the session, or the stdio forward, has ended.
    ///
    /// # Errors
    /// A forward could not be set up.
    pub(super) async fn run(&mut self, link: &Link) -> Result<End, CliError> {
        let connections = usize::try_from(self.args.session.max_channels).unwrap_or(usize::MAX);
        let output = self.output.clone();
        let forwarding = PortForwarding::builder(link.session.clone())
            .policy(ForwardPolicy::deny_all().max_connections(connections))
            .on_event(move |event| report(&event, &output))
            .start();
        let is_told = Cell::new(false);
        let patience = self.args.stdio.as_ref().map(|_| Duration::from_secs(self.args.resume_timeout));
        let watching = watch(link, self.output, &is_told, patience);
        let ended = tokio::select! {
            biased;
            ended = self.forward(link, &forwarding) => ended,
            error = forwarding.closed() => Err(Failure::Session(error)),
            given_up = watching => Err(Failure::Other(given_up)),
            never = roam(link) => match never {},
        };
        match ended {
            Ok(ended) => Ok(End::Ended(ended)),
            Err(Failure::Other(error)) => Err(error),
            Err(Failure::Session(error)) => {
                let open = link.session.channel_ids().len();
                self.streams_lost = self.streams_lost.saturating_add(open);
                Ok(End::Lost { error, is_told: is_told.get() })
            }
        }
    }

    async fn forward(&mut self, link: &Link, forwarding: &PortForwarding) -> Result<Ended, Failure> {
        let _listening = self.listen(link, forwarding).await?;
        let mut remote = Vec::new();
        let mut refused = Vec::new();
        for number in 0..self.args.remote.len() {
            match self.ask(link, forwarding, number).await {
                Ok(forward) => remote.push(forward),
                // The server may still hold the port for the session that was lost.
                Err(Failure::Other(error)) if self.was_ready && error.code == Code::RemoteRefused => {
                    self.output.warning(format!("{error} (it is asked again)"));
                    refused.push(number);
                }
                Err(error) => return Err(error),
            }
        }
        if self.was_ready {
            let streams_lost = std::mem::take(&mut self.streams_lost);
            self.output.event(&Event::Resumed {
                from: None,
                new_session: true,
                streams_lost: Some(streams_lost),
            });
        } else {
            ready(link, self.output);
        }
        self.was_ready = true;
        if let Some(target) = &self.args.stdio {
            return stdio(link, forwarding, target).await;
        }
        while !refused.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
            let mut still = Vec::new();
            for number in refused {
                match self.ask(link, forwarding, number).await {
                    Ok(forward) => remote.push(forward),
                    Err(Failure::Other(error)) if error.code == Code::RemoteRefused => still.push(number),
                    Err(error) => return Err(error),
                }
            }
            refused = still;
        }
        // Until the session ends, or somebody ends it.
        std::future::pending().await
    }

    /// Takes connections here; from the second session on where the first one did.
    async fn listen(&mut self, link: &Link, forwarding: &PortForwarding) -> Result<Listening, Failure> {
        let listeners = match self.listeners.take() {
            Some(listeners) => listeners,
            None => Listeners::bind(self.args, self.output).await.map_err(|error| failure(link, &error))?,
        };
        let listeners = self.listeners.insert(listeners);
        let mut listening = Listening::default();
        let failed = |error: ForwardError| failure(link, &error);
        for sockets in &listeners.dynamic {
            let sockets = duplicates(sockets).map_err(failed)?;
            listening._dynamic.push(forwarding.dynamic_on(sockets).map_err(failed)?);
        }
        for (sockets, ForwardSpec { listen, target }) in listeners.local.iter().zip(&self.args.local) {
            let to = place(target, |endpoint| (&endpoint.host, endpoint.port));
            match (sockets, listen) {
                (Some(sockets), _) => {
                    let sockets = duplicates(sockets).map_err(failed)?;
                    listening._local.push(forwarding.local_on(sockets, to).map_err(failed)?);
                }
                (None, Place::Socket(path)) => {
                    listening.listen_on_socket(path, to, forwarding).map_err(failed)?;
                    if !self.was_ready {
                        announce(self.output, Kind::Local, path.clone(), Some(target));
                    }
                }
                (None, Place::Tcp(_)) => {}
            }
        }
        Ok(listening)
    }

    /// Asks the server to listen for the remote forward of this number.
    async fn ask(
        &mut self,
        link: &Link,
        forwarding: &PortForwarding,
        number: usize,
    ) -> Result<RemoteForward, Failure> {
        let (spec, port) =
            self.args.remote.get(number).zip(self.remote_ports.get_mut(number)).ok_or_else(|| {
                Failure::Other(CliError::new(Code::Internal, "there is no remote forward of this number"))
            })?;
        let ForwardSpec { listen, target } = spec;
        // RFC 4254 §7.1: an empty host is every interface.
        let chosen = *port;
        let from = place(listen, |listen| (if listen.host == "*" { "" } else { &listen.host }, chosen));
        let to = place(target, |endpoint| (&endpoint.host, endpoint.port));
        let forward = forwarding.remote_to(from, to).await;
        let forward = forward.map_err(|error| match error {
            ForwardError::RefusedByPeer { .. } => Failure::Other(refused_to_listen(link, listen)),
            error => failure(link, &error),
        })?;
        *port = forward.port();
        let address = match listen {
            Place::Tcp(listen) => shown_address(listen, forward.port()),
            Place::Socket(path) => path.clone(),
        };
        announce(self.output, Kind::Remote, address, Some(target));
        Ok(forward)
    }
}

impl Listeners {
    async fn bind(args: &ForwardArgs, output: &Output) -> Result<Self, ForwardError> {
        let mut listeners = Self { dynamic: Vec::new(), local: Vec::new() };
        for DynamicSpec { listen } in &args.dynamic {
            listeners.dynamic.push(bind(listen, Kind::Dynamic, None, output).await?);
        }
        for ForwardSpec { listen, target } in &args.local {
            listeners.local.push(match listen {
                Place::Tcp(listen) => Some(bind(listen, Kind::Local, Some(target), output).await?),
                Place::Socket(_) => None,
            });
        }
        Ok(listeners)
    }
}

impl Listening {
    #[cfg(unix)]
    fn listen_on_socket(
        &mut self,
        path: &str,
        to: Target,
        forwarding: &PortForwarding,
    ) -> Result<(), ForwardError> {
        self._sockets.push(forwarding.local_socket(path, to)?);
        Ok(())
    }

    #[cfg(not(unix))]
    fn listen_on_socket(&mut self, path: &str, _to: Target, _: &PortForwarding) -> Result<(), ForwardError> {
        let source = io::ErrorKind::Unsupported.into();
        Err(ForwardError::Bind { bind: path.to_owned(), source })
    }
}

fn place<T>(place: &Place<T>, tcp: impl Fn(&T) -> (&str, u16)) -> Target {
    match place {
        Place::Tcp(place) => {
            let (host, port) = tcp(place);
            Target::new(host, port)
        }
        Place::Socket(path) => Target::socket(path),
    }
}

async fn bind(
    listen: &Listen,
    kind: Kind,
    target: Option<&dyn Display>,
    output: &Output,
) -> Result<Vec<StdListener>, ForwardError> {
    let bind = Bind::new(&listen.host, listen.port);
    let failed = |source| ForwardError::Bind { bind: bind.to_string(), source };
    let sockets = bind.listen().await.map_err(failed)?;
    let sockets = sockets.into_iter().map(TcpListener::into_std).collect::<io::Result<Vec<_>>>();
    let sockets = sockets.map_err(failed)?;
    let first = sockets.first().map(StdListener::local_addr);
    if let Some(address) = first.transpose().map_err(failed)? {
        announce(output, kind, address.to_string(), target);
    }
    Ok(sockets)
}

/// For one session; the port stays with the originals.
fn duplicates(sockets: &[StdListener]) -> Result<Vec<TcpListener>, ForwardError> {
    let duplicates = sockets.iter().map(|socket| TcpListener::from_std(socket.try_clone()?));
    duplicates
        .collect::<io::Result<_>>()
        .map_err(|source| ForwardError::Bind { bind: "a port again".to_owned(), source })
}

async fn stdio(link: &Link, forwarding: &PortForwarding, target: &Endpoint) -> Result<Ended, Failure> {
    let (stdin, stdout) = (tokio::io::stdin(), tokio::io::stdout());
    match forwarding.stdio(&target.host, target.port, stdin, stdout).await {
        Ok(()) => Ok(Ended::Closed("end of file")),
        // Who reads has had enough, as in `... | head`.
        Err(ForwardError::Stream(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ended::Closed("standard output was closed"))
        }
        Err(error) => Err(failure(link, &error)),
    }
}

/// Tells what becomes of the session's connection, for as long as it may come back. `is_told` is whether the connection is
/// gone and that was said. Ends once it has been gone for longer than `patience`.
async fn watch(link: &Link, output: &Output, is_told: &Cell<bool>, patience: Option<Duration>) -> CliError {
    let mut events = link.session.events();
    let hopeless = OptionFuture::from(None);
    tokio::pin!(hopeless);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            Some(()) = &mut hopeless => {
                let waited = patience.unwrap_or_default().as_secs();
                return CliError::new(
                    Code::Network,
                    format!(
                        "lost the connection to {}: it is not back after {waited} s, when the server has given the session up; \
                         check that the server runs and can be reached, and connect anew",
                        link.peer
                    ),
                );
            }
        };
        match event {
            Some(SessionEvent::Disconnected(cause)) => {
                is_told.set(true);
                output.event(&Event::Disconnected { from: None, reason: cause.to_string(), resumable: true });
                hopeless.set(patience.map(tokio::time::sleep).into());
            }
            Some(SessionEvent::Reconnecting { attempt, after }) => reconnecting(output, attempt, after),
            Some(SessionEvent::Reconnected) => {
                is_told.set(false);
                output.event(&Event::Resumed { from: None, new_session: false, streams_lost: Some(0) });
                hopeless.set(None.into());
            }
            Some(_) => {}
            // Its end is somebody else's matter.
            None => return std::future::pending().await,
        }
    }
}

/// Finds out early when the server is not reached any more because this machine has come to another network.
async fn roam(link: &Link) -> Infallible {
    let mut network = NetworkWatch::new();
    loop {
        network.changed(|| link.reached.now()).await;
        tracing::debug!("the network has changed");
        let patience = if link.session.is_reconnect_enabled() { PATIENCE } else { LONG_PATIENCE };
        let _ = link.session.network_changed(patience).await;
    }
}

/// A server that does not answer for this long once the network is another is not reached any more.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same, where all streams are lost by it.
const LONG_PATIENCE: Duration = Duration::from_secs(20);

fn announce(output: &Output, kind: Kind, listen: String, target: Option<&dyn Display>) {
    output.event(&Event::Forward { kind, listen, target: target.map(ToString::to_string) });
}

/// An address for scripts where the command line has a word for one.
fn shown_address(listen: &Listen, port: u16) -> String {
    match listen.host.as_str() {
        "localhost" => joined("127.0.0.1", port),
        "*" => joined("0.0.0.0", port),
        host => joined(host, port),
    }
}

fn ready(link: &Link, output: &Output) {
    let info = link.session.info();
    let (kex, cipher) = info
        .algorithms
        .as_ref()
        .map_or(("none", "none"), |agreed| (agreed.kex.name(), agreed.client_to_server.cipher.name()));
    let host_key = info.host_key.as_ref().map(|key| key.fingerprint().to_string()).unwrap_or_default();
    output.event(&Event::Ready { kex, cipher, host_key, peer: &link.peer });
}

/// One line for each connection that did not come about; the others go on.
fn report(event: &ForwardEvent, output: &Output) {
    match event {
        ForwardEvent::Connection { .. } | ForwardEvent::Listening { .. } => {}
        // Here the limit is an option.
        event @ ForwardEvent::TooManyConnections { .. } => {
            let message = event.to_string().replace("limit channels", "limit --max-channels");
            output.event(&Event::Refused { message });
        }
        event => output.event(&Event::Refused { message: event.to_string() }),
    }
}

fn refused_to_listen(link: &Link, listen: &Place<Listen>) -> CliError {
    CliError::new(
        Code::RemoteRefused,
        format!(
            "{} refused to listen on {listen}; it may be in use there or not permitted (adit serve: --permit-listen)",
            link.peer
        ),
    )
}

fn failure(link: &Link, error: &ForwardError) -> Failure {
    match error {
        ForwardError::Open { source: ssh_core::OpenError::Session(error), .. }
        | ForwardError::Session(error) => Failure::Session(error.clone()),
        error => Failure::Other(cannot_forward(link, error)),
    }
}

fn cannot_forward(link: &Link, error: &ForwardError) -> CliError {
    match error {
        // No host has a slash in its name.
        ForwardError::Bind { bind, source } if bind.contains('/') => {
            CliError::bind_path(&chain(error), source)
        }
        ForwardError::Bind { source, .. } => CliError::bind(&chain(error), source),
        ForwardError::RefusedByPeer { .. } | ForwardError::NoPort { .. } => {
            CliError::new(Code::RemoteRefused, format!("{}: {error}", link.peer))
        }
        ForwardError::AlreadyForwarded { bind } => {
            CliError::usage(format!("-R {bind} is given twice; give each port once"))
        }
        ForwardError::Open { target, source: ssh_core::OpenError::Refused(failure) } => CliError::new(
            Code::RemoteRefused,
            format!(
                "{} refused to connect to {target}: {failure}; check that the target is up and permitted (adit serve: --permit-open)",
                link.peer
            ),
        ),
        ForwardError::Open { source: ssh_core::OpenError::TooManyChannels { .. }, .. } => {
            CliError::usage(format!("{}; --max-channels raises it", chain(error)))
        }
        ForwardError::Stream(error) => {
            CliError::new(Code::Internal, format!("standard input or standard output failed: {error}"))
        }
        ForwardError::Reset { .. } => {
            CliError::new(Code::Network, format!("{}: {error}; check the target", link.peer))
        }
        error => CliError::new(Code::Internal, chain(error)),
    }
}

/// A remote forward that the server still holds for a session that was lost.
const ASK_AGAIN: Duration = Duration::from_secs(3);
