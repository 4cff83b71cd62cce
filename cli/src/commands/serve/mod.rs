//! `adit serve`: an SSH server that does forwards and nothing else.

mod connection;
mod declined;
mod descriptors;
pub(crate) mod host_keys;
mod limit_args;
mod limits;
mod penalties;
mod permit;
mod rate;
mod requirement;
mod shards;
mod source_log;
mod users;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ssh_core::keys::{Curve, KeyKind};
use ssh_core::server::{Config, DetachedSessions};
use ssh_core::services::port_forward::ForwardPolicy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use permit::Permit;
pub(crate) use requirement::Requirement;
pub(crate) use users::{AuthorizedKeysArg, UserArg};

use self::connection::Server;
use self::descriptors::Descriptors;
use self::limit_args::ServeLimits;
use self::limits::{Gate, Pass, Source};
use self::penalties::Penalties;
use self::shards::Shards;
use self::source_log::SourceLog;
use self::users::Users;
use super::blocking::blocking;
use super::forward::Listen;
use super::session::{self, FAREWELL, PROVIDER};
use crate::Ended;
use crate::args::ServeArgs;
use crate::error::{CliError, Code};
use crate::output::{Event, Output};
use crate::signals;

/// Serves until a signal comes.
///
/// # Errors
/// A file cannot be used, or the address cannot be bound.
pub(crate) async fn run(args: ServeArgs, output: &Output) -> Result<Ended, CliError> {
    let signal = signals::first()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot listen to signals: {error}")))?;
    tokio::pin!(signal);
    let (listen, for_warnings) = (args.listen.listen.clone(), output.clone());
    let start = async {
        let configured = blocking(move || configure(&args, &for_warnings)).await?;
        Ok::<_, CliError>((configured, bind(&listen).await?))
    };
    let ((server, made_key, warnings), listener) = tokio::select! {
        name = &mut signal => return Ok(Ended::Closed(name)),
        started = start => started?,
    };
    let server = Arc::new(server);
    let shards = Shards::start()
        .map_err(|error| CliError::new(Code::Internal, format!("cannot start the runtime: {error}")))?;
    let addr = listener.local_addr().map_err(|error| cannot_bind(&listen, &error))?;
    output.event(&Event::Listening { addr: addr.to_string(), public_url: None });
    if let Some(made) = made_key {
        output.event(&made);
    }
    for warning in warnings {
        output.warning(warning);
    }

    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let name = tokio::select! {
        name = &mut signal => name,
        () = accept_all(&listener, &server, &stopped, &shards, &mut connections) => "the listener",
    };
    // Nobody new, and a word to those who are here.
    drop(listener);
    stop.send_replace(true);
    let all_gone = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, all_gone).await;
    Ok(Ended::Closed(name))
}

/// The server, the event of the host key that was made for it, if one was, and what should be better about the command line
/// and its files.
type Configured = (Server, Option<Event<'static>>, Vec<String>);

fn configure(args: &ServeArgs, output: &Output) -> Result<Configured, CliError> {
    let mut algorithms = session::algorithms(&args.session)?;
    let mut limits = ServeLimits::new(session::limits(&args.session));
    limits.change(&args.limit)?;
    let penalties = Arc::new(Penalties::new(!args.no_penalties, limits.failed_logins));
    let log = Arc::new(SourceLog::new(output.clone(), limits.log_lines));
    let (users, mut warnings) = Users::load(args, Arc::clone(&penalties), Arc::clone(&log), output)?;
    if args.authorized_keys.is_empty() && args.trusted_ca.is_empty() && args.user.is_empty() {
        let remedy = "give --authorized-keys FILE, --trusted-ca FILE or --user NAME:PASSWORDFILE";
        warnings.push(format!("nobody can log in; {remedy}"));
    }
    let declined = users.declined();
    let (host_keys, made_key) = host_keys::load(&args.host_key)?;
    let certificates = host_keys::load_certificates(&args.host_cert, &host_keys)?;
    let p521 = KeyKind::Ecdsa(Curve::P521);
    if host_keys.iter().any(|key| key.public_key().kind() == p521) {
        algorithms = session::with_p521_host_keys(algorithms, &args.session);
    }
    // The files may have such a key tomorrow, and say who may log in all by themselves.
    if !args.authorized_keys.is_empty() || !args.trusted_ca.is_empty() {
        algorithms = session::with_p521_user_keys(algorithms, &args.session);
    }
    let detached = (!args.session.no_reconnect)
        .then(|| DetachedSessions::with_policy(limits.detached.clone(), users.resume_policy()));
    let mut config =
        Config::builder(users).algorithms(algorithms).limits(limits.session.clone()).provider(PROVIDER);
    for key in host_keys {
        config = config.host_key(key);
    }
    for certificate in certificates {
        config = config.host_certificate(certificate);
    }
    if let Some(detached) = &detached {
        config = config.detached_sessions(detached.clone());
    }
    let config = config.build().map_err(|_| {
        CliError::usage("the host keys and the algorithms do not go together; give another --host-key, or change --policy")
    })?;
    let mut policy = ForwardPolicy::deny_all()
        .max_connections(limits.session.channels)
        .max_listeners(limits.forwarded_ports);
    for permit in &args.permit_open {
        policy = match permit.clone() {
            Permit::Port(permit) => policy.permit_open(permit),
            Permit::Socket(path) => policy.permit_open_socket(path),
        };
    }
    for permit in &args.permit_listen {
        policy = match permit.clone() {
            Permit::Port(permit) => policy.permit_listen(permit),
            Permit::Socket(path) => policy.permit_listen_socket(path),
        };
    }
    let sessions = usize::try_from(args.max_sessions).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    let server = Server {
        config,
        policy,
        gate: Gate::new(limits.gate, PROVIDER.random),
        descriptors: Descriptors::reserve(limits.reserved_descriptors),
        penalties,
        declined,
        log,
        sessions: Semaphore::new(sessions),
        detached,
        max_sessions: args.max_sessions,
    };
    Ok((server, made_key, warnings))
}

async fn bind(listen: &Listen) -> Result<TcpListener, CliError> {
    let bound = match listen.host.as_str() {
        // Without IPv6 there is IPv4.
        "*" => match TcpListener::bind(("::", listen.port)).await {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                TcpListener::bind(("0.0.0.0", listen.port)).await
            }
            bound => bound,
        },
        host => TcpListener::bind((host, listen.port)).await,
    };
    bound.map_err(|error| cannot_bind(listen, &error))
}

fn cannot_bind(listen: &Listen, error: &io::Error) -> CliError {
    CliError::bind(&format!("cannot listen on {listen}: {error}"), error)
}

async fn accept_all(
    listener: &TcpListener,
    server: &Arc<Server>,
    stopped: &watch::Receiver<bool>,
    shards: &Shards,
    connections: &mut JoinSet<()>,
) {
    let mut panics: u64 = 0;
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.map(with_canonical_address) {
                // Dropped without a word: to say why would cost more than it costs to come again.
                Ok((_, from)) if server.penalties.is_refused(Source::of(from.ip()), Instant::now()) => {
                    tracing::info!(%from, "turned away: too many failed logins");
                }
                Ok((stream, from)) if !server.descriptors.admits(&stream) => {
                    tracing::warn!(%from, "turned away: too many open files (limit reserved_descriptors)");
                    drop(stream);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Ok((stream, from)) => match server.gate.enter(from.ip()) {
                    Ok(pass) => {
                        if let Err(error) = start(stream, from, pass, server, stopped, shards, connections) {
                            tracing::warn!(%error, %from, "cannot serve a connection");
                        }
                    }
                    Err(limit) => tracing::info!(%from, limit, "too many connections that are not logged in"),
                },
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    // Out of descriptors, most likely: those who are here go on, and may set some free.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    // That is a bug; it ends this one connection.
                    panics = panics.saturating_add(1);
                    tracing::error!(%error, panics, "a connection's task failed");
                }
            }
            _ = sweep.tick() => server.log.sweep(),
        }
    }
}

/// A socket that listens for both kinds of addresses gives IPv4 ones in the clothes of IPv6, which no log should show.
fn with_canonical_address((stream, from): (TcpStream, SocketAddr)) -> (TcpStream, SocketAddr) {
    (stream, SocketAddr::new(from.ip().to_canonical(), from.port()))
}

/// Moves a connection to the thread that will serve it.
fn start(
    stream: TcpStream,
    from: SocketAddr,
    pass: Pass,
    server: &Arc<Server>,
    stopped: &watch::Receiver<bool>,
    shards: &Shards,
    connections: &mut JoinSet<()>,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    let (server, stopped) = (Arc::clone(server), stopped.clone());
    let shard = shards.next().ok_or_else(|| io::Error::other("no thread serves connections"))?;
    let serve = async move {
        match TcpStream::from_std(stream) {
            Ok(stream) => connection::serve(server, stream, from, pass, stopped).await,
            Err(error) => tracing::warn!(%error, %from, "cannot serve a connection"),
        }
    };
    connections.spawn_on(serve, shard);
    Ok(())
}

const SWEEP: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
