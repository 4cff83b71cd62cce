//! Where to listen, and the listening itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;

/// Where to listen. Port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bind {
    /// 127.0.0.1, and ::1 on the same port if that can be had.
    Localhost(u16),
    /// All addresses of the machine, IPv4 and IPv6.
    AllInterfaces(u16),
    /// This address only.
    Address(SocketAddr),
    /// The first address of this name that can be bound.
    Name(String, u16),
}

impl Bind {
    /// Nothing and `localhost` mean [`Localhost`](Self::Localhost), `*` [`AllInterfaces`](Self::AllInterfaces); an
    /// IPv6 address may stand in brackets.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.eq_ignore_ascii_case("localhost") {
            Self::Localhost(port)
        } else if host == "*" {
            Self::AllInterfaces(port)
        } else if let Ok(ip) = bare.parse::<IpAddr>() {
            Self::Address(SocketAddr::new(ip, port))
        } else {
            Self::Name(host.to_owned(), port)
        }
    }

    /// The port asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Localhost(port) | Self::AllInterfaces(port) | Self::Name(_, port) => *port,
            Self::Address(address) => address.port(),
        }
    }

    /// The same on a port of the system's choice.
    pub(super) fn on_any_port(&self) -> Self {
        match self {
            Self::Localhost(_) => Self::Localhost(0),
            Self::AllInterfaces(_) => Self::AllInterfaces(0),
            Self::Address(address) => Self::Address(SocketAddr::new(address.ip(), 0)),
            Self::Name(name, _) => Self::Name(name.clone(), 0),
        }
    }

    /// At least one listener, all on the same port.
    ///
    /// # Errors
    /// If the system does not let us listen there.
    pub async fn listen(&self) -> io::Result<Vec<TcpListener>> {
        match self {
            Self::Localhost(port) => {
                for _ in 0..CHOICES {
                    match localhost(*port).await {
                        // The port that the system chose is taken on the other loopback: another choice may fit.
                        Err(error) if *port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                        listeners => return listeners,
                    }
                }
                localhost(*port).await
            }
            Self::AllInterfaces(port) => all_interfaces(*port).await,
            Self::Address(address) => Ok(vec![TcpListener::bind(*address).await?]),
            Self::Name(name, port) => Ok(vec![TcpListener::bind((name.as_str(), *port)).await?]),
        }
    }
}

/// Both loopback addresses, if there is IPv6.
async fn localhost(port: u16) -> io::Result<Vec<TcpListener>> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let port = first.local_addr()?.port();
    let twin = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        // Somebody else's port: whoever resolves `localhost` to `::1` would talk to them.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        twin => twin.ok(),
    };
    Ok([first].into_iter().chain(twin).collect())
}

/// So many ports are tried when the system may choose.
const CHOICES: usize = 16;

/// On most systems `::` takes IPv4 connections too, and `0.0.0.0` is then taken.
async fn all_interfaces(port: u16) -> io::Result<Vec<TcpListener>> {
    let v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
    let v6 = match v6 {
        // Somebody else's port: half of it would take half of the connections.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        v6 => v6.ok(),
    };
    let port = v6.as_ref().map_or(Ok(port), |v6| v6.local_addr().map(|at| at.port()))?;
    let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    match (v6, v4) {
        (Some(v6), v4) => Ok([v6].into_iter().chain(v4.ok()).collect()),
        (None, v4) => Ok(vec![v4?]),
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::AllInterfaces(port) => write!(f, "*:{port}"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

/// This port of localhost.
impl From<u16> for Bind {
    fn from(port: u16) -> Self {
        Self::Localhost(port)
    }
}

impl From<(&str, u16)> for Bind {
    fn from((host, port): (&str, u16)) -> Self {
        Self::new(host, port)
    }
}

impl From<(IpAddr, u16)> for Bind {
    fn from(address: (IpAddr, u16)) -> Self {
        Self::Address(address.into())
    }
}
