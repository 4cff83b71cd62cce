//! What runs over the session: the forwards of the command line.

use std::fmt::Display;
use std::io;

#[cfg(unix)]
use ssh_core::services::port_forward::SocketForward;
use ssh_core::services::port_forward::{
    Bind, DynamicForward, ForwardError, ForwardEvent, ForwardPolicy, LocalForward, PortForwarding,
    RemoteForward, Target,
};

use super::Link;
use super::spec::{DynamicSpec, ForwardSpec, Listen, Place, joined};
use crate::Ended;
use crate::args::ForwardArgs;
use crate::error::{CliError, Code, chain};
use crate::output::{Event, Kind, Output};

/// Sets the forwards up and waits until the session, or the stdio forward, has ended.
///
/// # Errors
/// A forward could not be set up, or the session was lost.
pub(super) async fn run(args: &ForwardArgs, link: &Link, output: &Output) -> Result<Ended, CliError> {
    let connections = usize::try_from(args.session.max_channels).unwrap_or(usize::MAX);
    let for_events = output.clone();
    let forwarding = PortForwarding::builder(link.session.clone())
        .policy(ForwardPolicy::deny_all().max_connections(connections))
        .on_event(move |event| report(&event, &for_events))
        .start();
    // Dropped forwards would end.
    let _forwards = Forwards::start(args, link, &forwarding, output).await?;
    ready(link, output);
    let Some(target) = &args.stdio else { return Err(link.lost(&forwarding.closed().await)) };
    let stdio = forwarding.stdio(&target.host, target.port, tokio::io::stdin(), tokio::io::stdout());
    let ended = tokio::select! {
        ended = stdio => ended,
        error = forwarding.closed() => Err(ForwardError::Session(error)),
    };
    match ended {
        Ok(()) => Ok(Ended::Closed("end of file")),
        // Who reads has had enough, as in `... | head`.
        Err(ForwardError::Stream(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ended::Closed("standard output was closed"))
        }
        Err(error) => Err(cannot_forward(link, &error)),
    }
}

#[derive(Default)]
struct Forwards {
    _local: Vec<LocalForward>,
    _remote: Vec<RemoteForward>,
    _dynamic: Vec<DynamicForward>,
    #[cfg(unix)]
    _sockets: Vec<SocketForward>,
}

impl Forwards {
    async fn start(
        args: &ForwardArgs,
        link: &Link,
        forwarding: &PortForwarding,
        output: &Output,
    ) -> Result<Self, CliError> {
        let mut forwards = Self::default();
        let failed = |error: ForwardError| cannot_forward(link, &error);
        for DynamicSpec { listen } in &args.dynamic {
            let forward = forwarding.dynamic(bind(listen)).await.map_err(failed)?;
            announce(output, Kind::Dynamic, forward.local_addr().to_string(), None);
            forwards._dynamic.push(forward);
        }
        for ForwardSpec { listen, target } in &args.local {
            let to = place(target, |endpoint| (&endpoint.host, endpoint.port));
            let address = match listen {
                Place::Tcp(listen) => {
                    let forward = forwarding.local_to(bind(listen), to).await.map_err(failed)?;
                    let address = forward.local_addr().to_string();
                    forwards._local.push(forward);
                    address
                }
                Place::Socket(path) => {
                    forwards.listen_on_socket(path, to, forwarding).map_err(failed)?;
                    path.clone()
                }
            };
            announce(output, Kind::Local, address, Some(target as &dyn Display));
        }
        for ForwardSpec { listen, target } in &args.remote {
            // RFC 4254 §7.1: an empty host is every interface.
            let from =
                place(listen, |listen| (if listen.host == "*" { "" } else { &listen.host }, listen.port));
            let to = place(target, |endpoint| (&endpoint.host, endpoint.port));
            let forward = forwarding.remote_to(from, to).await;
            let forward = forward.map_err(|error| match error {
                ForwardError::RefusedByPeer { .. } => refused_to_listen(link, listen),
                error => failed(error),
            })?;
            let address = match listen {
                Place::Tcp(listen) => shown_address(listen, forward.port()),
                Place::Socket(path) => path.clone(),
            };
            announce(output, Kind::Remote, address, Some(target as &dyn Display));
            forwards._remote.push(forward);
        }
        Ok(forwards)
    }

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

fn bind(listen: &Listen) -> Bind {
    Bind::new(&listen.host, listen.port)
}

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

fn cannot_forward(link: &Link, error: &ForwardError) -> CliError {
    match error {
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
        ForwardError::Open { source: ssh_core::OpenError::Session(error), .. }
        | ForwardError::Session(error) => link.lost(error),
        ForwardError::Stream(error) => {
            CliError::new(Code::Internal, format!("standard input or standard output failed: {error}"))
        }
        ForwardError::Reset { .. } => {
            CliError::new(Code::Network, format!("{}: {error}; check the target", link.peer))
        }
        error => CliError::new(Code::Internal, chain(error)),
    }
}
