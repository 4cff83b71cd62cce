//! Where a forward listens, and how to get to it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};

use crate::outcome::{Failure, Outcome, STEP, within};

/// A listener of a tunnel's client side.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// A loopback TCP port.
    Tcp(u16),
    /// A unix socket, for clients that cannot say which port they were given.
    Unix(PathBuf),
}

/// A connection of either kind.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Endpoint {
    /// Connects to it.
    ///
    /// # Errors
    /// When nothing accepts.
    pub async fn connect(&self) -> Outcome<Box<dyn Duplex>> {
        within(STEP, &format!("connecting to {self:?}"), async {
            Ok(match self {
                Self::Tcp(port) => Box::new(connect(*port).await?) as Box<dyn Duplex>,
                Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        })
        .await
    }
}

/// A connection to a loopback port, without Nagle's delay.
///
/// # Errors
/// When nothing accepts.
pub async fn connect(port: u16) -> Outcome<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A listener on a free loopback port, and that port.
///
/// # Errors
/// When there is no free port.
pub async fn listen() -> Outcome<(TcpListener, u16)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// A listener on a loopback port that no program takes by chance, and that port: see [`reserve_port`].
///
/// # Errors
/// When none is free.
pub async fn listen_on_reserved() -> Outcome<(TcpListener, u16)> {
    loop {
        let port = reserve_port().await?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            listener => return Ok((listener?, port)),
        }
    }
}

/// A port that was free a moment ago, for programs that can neither be given a socket nor choose a port.
///
/// Both loopback addresses have it free, and the next ones are nobody's of this process: the SDK's client tries those.
/// It lies below the range the system takes ports from by itself, so that no outgoing connection takes it, and is given
/// out once in this process; another process starts its search elsewhere.
///
/// # Errors
/// When none is free.
pub async fn reserve_port() -> Outcome<u16> {
    const FIRST: u16 = 15_000;
    const STEP: u16 = 16;
    const COUNT: u16 = 16_000 / STEP;
    static NEXT: AtomicU16 = AtomicU16::new(0);

    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + next) % COUNT * STEP;
        let v4 = probe(TcpSocket::new_v4(), (Ipv4Addr::LOCALHOST, port).into());
        let v6 = probe(TcpSocket::new_v6(), (Ipv6Addr::LOCALHOST, port).into());
        // There may be no IPv6 here.
        let taken = v6.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        if v4.is_ok() && !taken {
            return Ok(port);
        }
    }
    Err(Failure::new("no free port"))
}

/// Binds and does not listen. A program that another thread starts at this moment has a copy of the socket until it runs:
/// one that listened would keep the port from whoever it is for.
fn probe(socket: io::Result<TcpSocket>, address: SocketAddr) -> io::Result<()> {
    let socket = socket?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}
