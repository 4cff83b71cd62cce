//! From a host and a port to a TCP connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::event::Target;
use super::policy::ForwardPolicy;
use super::socket::Socket;

/// Turns names into addresses.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// The addresses of `host`, which is neither an IP address nor `localhost`, best first.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum DialError {
    /// The policy admits none of the target's addresses.
    Denied,
    /// The system could not resolve or connect.
    Failed(io::Error),
}

/// Connects for the peer. A name is resolved once; only addresses that the policy admits are tried.
pub(super) async fn dial_for_peer(policy: &ForwardPolicy, target: &Target) -> Result<Socket, DialError> {
    if let Some(path) = target.socket_path() {
        if !policy.permits_open_socket(path) {
            return Err(DialError::Denied);
        }
        return connect_socket(path).await.map_err(DialError::Failed);
    }
    let (host, port) = (target.host(), target.port());
    if !policy.may_open(port) {
        return Err(DialError::Denied);
    }
    let deadline = Deadline::new();
    let resolved = deadline.resolve(&*policy.resolver, host, port).await;
    let mut addresses = resolved.map_err(DialError::Failed)?;
    addresses.retain(|address| policy.permits_open(host, *address));
    if addresses.is_empty() {
        return Err(DialError::Denied);
    }
    deadline.connect(&addresses, host).await.map_err(DialError::Failed)
}

/// Connects to a target of our own user.
pub(super) async fn dial(target: &Target) -> io::Result<Socket> {
    if let Some(path) = target.socket_path() {
        return connect_socket(path).await;
    }
    let (host, port) = (target.host(), target.port());
    let deadline = Deadline::new();
    let addresses = deadline.resolve(&SystemResolver, host, port).await?;
    deadline.connect(&addresses, host).await
}

/// When a target has to have answered, from its name on.
#[derive(Debug, Clone, Copy)]
struct Deadline(tokio::time::Instant);

impl Deadline {
    fn new() -> Self {
        Self(tokio::time::Instant::now() + DEADLINE)
    }

    async fn resolve(self, resolver: &dyn Resolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let resolved = tokio::time::timeout_at(self.0, resolve(resolver, host, port)).await;
        resolved.unwrap_or_else(|_| Err(timed_out("the name was not resolved in time")))
    }

    async fn connect(self, addresses: &[SocketAddr], host: &str) -> io::Result<Socket> {
        let connected = tokio::time::timeout_at(self.0, connect(addresses, stagger(host))).await;
        let connected = connected.unwrap_or_else(|_| Err(timed_out("the target did not answer in time")));
        connected.map(Socket::from)
    }
}

#[cfg(unix)]
async fn connect_socket(path: &str) -> io::Result<Socket> {
    super::unix::connect(path).await.map(Socket::from)
}

#[cfg(not(unix))]
async fn connect_socket(_path: &str) -> io::Result<Socket> {
    Err(io::ErrorKind::Unsupported.into())
}

async fn resolve(resolver: &dyn Resolver, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let mut addresses = if let Ok(ip) = bare.parse::<IpAddr>() {
        vec![SocketAddr::new(ip, port)]
    } else if is_localhost(host) {
        vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
    } else {
        resolver.resolve(host, port).await?
    };
    for address in &mut addresses {
        // The policy looks at the port that was asked for, whatever a resolver makes of it.
        address.set_port(port);
        if let IpAddr::V4(ip) = address.ip().to_canonical() {
            address.set_ip(ip.into());
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

/// Tries the addresses in turn, the next one when the last has failed or taken too long; the first that answers wins.
async fn connect(addresses: &[SocketAddr], stagger: Duration) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        if let Some(address) = waiting.next() {
            attempts.push(connect_one(*address));
        }
        let next = tokio::select! {
            Some(attempt) = attempts.next() => attempt,
            () = tokio::time::sleep(stagger), if waiting.len() > 0 => continue,
            else => break,
        };
        match next {
            Ok(stream) => return Ok(stream),
            // The first address is the one that was meant.
            Err(error) => failure.get_or_insert(error),
        };
    }
    Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Two ends of the same port: nobody listens there, the connection met itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn is_localhost(host: &str) -> bool {
    host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost")
}

fn stagger(host: &str) -> Duration {
    if is_localhost(host) { LOCALHOST_STAGGER } else { STAGGER }
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// From the name to the connection.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between the first attempts on two addresses (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);
/// The same on this machine, where an answer is instant.
const LOCALHOST_STAGGER: Duration = Duration::from_millis(10);
/// Addresses of a name that are looked at.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_fails() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let addresses = [(Ipv4Addr::new(127, 0, 0, 9), port).into(), (Ipv4Addr::LOCALHOST, port).into()];
        let stream = connect(&addresses, STAGGER).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
        assert!(connect(&[], STAGGER).await.is_err());
    }

    #[tokio::test]
    async fn localhost_is_either_loopback_whatever_a_resolver_says() {
        let addresses = resolve(&SystemResolver, "LOCALHOST", 7).await.unwrap();
        assert_eq!(addresses, ["127.0.0.1:7".parse().unwrap(), "[::1]:7".parse().unwrap()]);
        let mapped = resolve(&SystemResolver, "::ffff:10.0.0.1", 7).await.unwrap();
        assert_eq!(mapped, ["10.0.0.1:7".parse().unwrap()]);
    }
}
