//! `adit connect`: brings the ports of a host here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relay::AccessToken;
use relay::client::{Client, ClientError, Config, Event as ClientEvent, Mapping, Pin, PortPolicy, Protocol};
use relay::dial::Dialer;
use relay::link::{Link, is_name};
use ssh_core::Error;
use zeroize::Zeroizing;

use super::blocking::blocking;
use super::session::PROVIDER;
use super::token_file;
use super::tunnel_ends::{End, dial_error, dialer};
use crate::Ended;
use crate::args::ConnectArgs;
use crate::error::{CliError, Code, chain};
use crate::output::{Elsewhere, Event, Output, PortEvent};
use crate::signals;

/// A link is not longer, in bytes.
const MAX_LINK: u64 = 8192;

/// Connects until a signal comes, trying again makes no sense, or the stdio connection is done.
///
/// # Errors
/// The tunnel cannot be reached, or is not what the link says.
pub(crate) async fn run(args: ConnectArgs, output: &Output) -> Result<Ended, CliError> {
    let signal = signals::first()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))?;
    tokio::pin!(signal);
    let is_asked = !output.is_json();
    let Given { args, link, token, dialer, is_beside } = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        given = blocking(move || Given::read(args, is_asked)) => given?,
    };
    if args.no_e2e && Protocol::from(args.protocol) == Protocol::V1 {
        return Err(CliError::usage("v1 is always encrypted between the ends; --no-e2e needs --protocol v2"));
    }
    let pin = match link.host_key {
        Some(key) => Pin::Key(key),
        None if args.no_e2e && args.allow_unpinned_host => Pin::None,
        None if args.allow_unpinned_host => {
            output.warning(
                "nobody checks the host's key; whoever runs the relay can read and change everything",
            );
            Pin::None
        }
        None => {
            let what = match args.tunnel.contains("://") || args.tunnel == "-" {
                true => "the link has no #hk= with the host's key",
                false => "a tunnel's name does not say which key its host has",
            };
            return Err(CliError::usage(format!(
                "{what}, so the host could be anybody; give the whole link, or --allow-unpinned-host"
            )));
        }
    };
    if args.no_e2e {
        output
            .warning("without end-to-end encryption, whoever runs the relay can read and change everything");
    }
    let map = port_map(args.port.iter().map(|pair| (pair.local, pair.remote)))?;
    let (for_events, wanted) = (output.clone(), map.keys().copied().collect::<Vec<_>>());
    let config = Config {
        url: link.client_url(),
        token,
        pin,
        protocol: args.protocol.into(),
        end_to_end: !args.no_e2e,
        dialer,
        provider: PROVIDER,
        ports: match (args.stdio, args.same_ports) {
            (Some(_), _) => PortPolicy::Nowhere,
            (None, true) => PortPolicy::Same(map),
            (None, false) if is_beside => PortPolicy::Beside(map),
            (None, false) => PortPolicy::Next(map),
        },
        on_event: Arc::new(move |event| {
            let missing = match &event {
                ClientEvent::Ready { ports } => missing(&wanted, ports),
                _ => Vec::new(),
            };
            report(event, &wanted, is_beside, &for_events);
            for port in missing {
                for_events.warning(format!(
                    "the host does not offer port {port} of -p now; it is listened on once the host does"
                ));
            }
        }),
    };
    let mut client = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        client = Client::connect(config) => client.map_err(|error| failed(&error))?,
        never = say_that_it_takes_long(output) => match never {},
    };
    let ended = match args.stdio {
        None => tokio::select! {
            name = &mut signal => Ok(Ended::Closed(name)),
            error = client.ended() => Err(failed(&error)),
        },
        Some(port) => tokio::select! {
            name = &mut signal => Ok(Ended::Closed(name)),
            ended = stdio(&mut client, port) => ended,
        },
    };
    client.close().await;
    ended
}

/// Where the host's ports are wanted, from pairs of the port here and the host's.
fn port_map(pairs: impl Iterator<Item = (u16, u16)>) -> Result<BTreeMap<u16, u16>, CliError> {
    let (mut map, mut taken) = (BTreeMap::new(), BTreeMap::new());
    for (local, remote) in pairs {
        if map.insert(remote, local).is_some() {
            return Err(CliError::usage(format!(
                "-p names port {remote} of the host twice; it is listened on once"
            )));
        }
        if let Some(other) = taken.insert(local, remote) {
            return Err(CliError::usage(format!(
                "-p {local}:{other} and -p {local}:{remote} want the same port here; give one of them another"
            )));
        }
    }
    Ok(map)
}

/// A relay does not answer before the host is there, for half a minute.
async fn say_that_it_takes_long(output: &Output) -> Infallible {
    tokio::time::sleep(LONG).await;
    output.warning("there is no answer yet; the relay may be waiting for the host");
    std::future::pending().await
}

const LONG: Duration = Duration::from_secs(3);

async fn stdio(client: &mut Client, port: u16) -> Result<Ended, CliError> {
    let connection = client.open(port).await.map_err(|error| failed(&error))?;
    let ended = tokio::select! {
        ended = connection.carry(tokio::io::stdin(), tokio::io::stdout()) => ended,
        error = client.ended() => return Err(failed(&error)),
    };
    let error = match ended {
        Ok(()) => return Ok(Ended::Closed("end of file")),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(Ended::Closed("standard output was closed"));
        }
        Err(error) => error,
    };
    // If all is over, the client knows more about it.
    if let Ok(error) = tokio::time::timeout(WHOLE, client.ended()).await {
        return Err(failed(&error));
    }
    let code =
        error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map_or(Code::Network, Code::of);
    Err(CliError::new(code, format!("the connection to port {port} of the host broke: {error}")))
}

/// For the end of a connection to turn out as the end of everything.
const WHOLE: Duration = Duration::from_millis(300);

/// The command line, and what was read for it.
struct Given {
    args: ConnectArgs,
    link: Link,
    token: Option<AccessToken>,
    dialer: Dialer,
    /// Whether the host is this very user's on this machine.
    is_beside: bool,
}

impl Given {
    /// This may wait for somebody to write.
    fn read(args: ConnectArgs, is_asked: bool) -> Result<Self, CliError> {
        let link = link(&args, is_asked)?;
        let token = token(&args, &link)?;
        let dialer = dialer(args.ca_file.as_deref())?;
        let is_beside = link.host_key.is_some_and(|key| super::host::own_fingerprint() == Some(key));
        Ok(Self { args, link, token, dialer, is_beside })
    }
}

fn link(args: &ConnectArgs, is_asked: bool) -> Result<Link, CliError> {
    let mut text = Zeroizing::new(args.tunnel.clone());
    if *text == "-" {
        text.clear();
        if is_asked && io::stdin().is_terminal() {
            // Without it the link is waited for all the same.
            let _ = io::stderr().write_all(b"Link that `adit host` printed: ");
        }
        // What follows the line is for the host, with -W.
        let read = io::stdin().lock().take(MAX_LINK).read_line(&mut text);
        read.map_err(|error| CliError::usage(format!("cannot read a link from stdin: {error}; pipe it in")))?;
    }
    // People copy the whole line, and mail programs change its quotes.
    let text = text.trim().trim_start_matches("adit connect ").trim();
    let text = text.trim_matches(['\'', '"', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}']);
    if !text.contains("://") {
        let relay = args.relay.as_ref().ok_or_else(|| {
            CliError::usage(format!(
                "{text:?} is no link; copy the one that `adit host` printed, or give --relay URL"
            ))
        })?;
        if !is_name(text) {
            return Err(CliError::usage(format!("{text:?} is no name of a tunnel")));
        }
        let url = format!("{}/t/{text}", relay.trim_end_matches('/'));
        return url.parse().map_err(|error| CliError::usage(format!("{relay:?}: {error}")));
    }
    text.parse().map_err(|error: relay::link::LinkError| CliError::usage(error.to_string()))
}

fn token(args: &ConnectArgs, link: &Link) -> Result<Option<AccessToken>, CliError> {
    let fixed = match (&args.token_file, &link.token) {
        (Some(file), _) => return token_of_file(file).map(Some),
        (None, Some(token)) => Some(token.clone()),
        (None, None) => token_file::given(None)?,
    };
    Ok(fixed.map(AccessToken::new))
}

/// Once it is refused, the file may hold another.
fn token_of_file(file: &Path) -> Result<AccessToken, CliError> {
    let token = token_file::read(file)?;
    let file = file.to_owned();
    Ok(AccessToken::renewed_by(token, move || {
        let file = file.clone();
        async move { tokio::task::spawn_blocking(move || token_file::read(&file)).await.ok()?.ok() }
    }))
}

/// `chosen` are the ports whose number here was said.
fn report(event: ClientEvent, chosen: &[u16], is_beside: bool, output: &Output) {
    let port = |Mapping { remote, local, .. }: Mapping| PortEvent {
        remote,
        local,
        elsewhere: match (local.port() != remote && !chosen.contains(&remote), is_beside) {
            (false, _) => None,
            (true, false) => Some(Elsewhere::Taken),
            (true, true) => Some(Elsewhere::Beside),
        },
    };
    match event {
        ClientEvent::HostKey { fingerprint, pinned, algorithms: (kex, cipher) } => {
            output.event(&Event::HostKey { fingerprint: fingerprint.to_string(), pinned, kex, cipher });
        }
        ClientEvent::Ready { ports } => {
            output.event(&Event::Connected { ports: ports.into_iter().map(port).collect() });
        }
        ClientEvent::PortAdded(mapping) => output.event(&Event::PortAdded(port(mapping))),
        ClientEvent::PortRemoved(mapping) => output.event(&Event::PortRemoved(port(mapping))),
        ClientEvent::PortFailed { remote, local, reason } => {
            output.event(&Event::PortFailed { remote, local, reason });
        }
        ClientEvent::Disconnected { reason, streams_wait } => {
            output.event(&Event::Disconnected { from: None, reason, resumable: streams_wait });
        }
        ClientEvent::Reconnecting { attempt, after, reason } => {
            output.event(&Event::Reconnecting { attempt, delay_ms: millis(after), reason });
        }
        ClientEvent::Resumed { streams_kept } => {
            let streams_lost = streams_kept.then_some(0);
            output.event(&Event::Resumed { from: None, new_session: !streams_kept, streams_lost });
        }
        ClientEvent::Failed { port, reason } => {
            output.event(&Event::Refused {
                message: format!("a connection to port {port} of the host failed: {reason}"),
            });
        }
        _ => {}
    }
}

/// The ports of `-p` that the host does not offer.
fn missing(wanted: &[u16], ports: &[relay::client::Mapping]) -> Vec<u16> {
    let is_there = |port: &u16| ports.iter().any(|mapping| mapping.remote == *port);
    wanted.iter().copied().filter(|port| !is_there(port)).collect()
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn failed(error: &ClientError) -> CliError {
    match error {
        ClientError::Dial(error) => dial_error(error, End::Client),
        ClientError::Session(error) => {
            let code = match error {
                Error::Reconnect(_) => Code::Network,
                error => Code::of(error),
            };
            let message = match code {
                Code::HostKey => error.to_string(),
                Code::Protocol => format!(
                    "cannot talk to the host: {}; the relay may be in the way, or what is there is no host",
                    chain(error)
                ),
                _ => format!("the session with the host failed: {}", chain(error)),
            };
            CliError::new(code, message)
        }
        ClientError::Bind { port, error, kind } => {
            let source = io::Error::new(*kind, error.to_string());
            CliError::bind(&format!("cannot listen on port {port}: {error}"), &source)
        }
        ClientError::Stripped => CliError::new(Code::Protocol, error.to_string()),
        ClientError::NotOffered { .. } | ClientError::Refused(_) => CliError::new(
            Code::RemoteRefused,
            format!("{error}; check the port, and what `adit host` offers"),
        ),
        error => CliError::new(Code::Internal, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_at_either_end() {
        let map = |pairs: &[(u16, u16)]| port_map(pairs.iter().copied());
        assert_eq!(map(&[(1, 80), (2, 81)]).unwrap(), BTreeMap::from([(80, 1), (81, 2)]));
        for (pairs, named) in [
            ([(1, 80), (2, 80)], &["port 80 "][..]),
            ([(1, 80), (1, 80)], &["port 80 "]),
            ([(1, 80), (1, 81)], &["-p 1:80", "-p 1:81"]),
        ] {
            let error = map(&pairs).unwrap_err();
            assert_eq!(error.code, Code::Usage);
            assert!(named.iter().all(|name| error.message.contains(name)), "{}", error.message);
        }
    }
}
