//! The far end of the forward: a small TCP server inside the benchmark process.
//!
//! The first byte of a connection says what the server does with it, see [`op`]. Workers are started ahead and all wait
//! in `accept`, so a connection costs no thread start.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{BenchError, Context, Result};
use super::pattern::Pattern;

/// Requests a connection may make.
pub(crate) mod op {
    /// Followed by a length (u64, big endian) and that many bytes; answered by the count of bytes received (u64).
    pub(crate) const UPLOAD: u8 = b'U';
    /// As `UPLOAD`, and the answer counts only what matched the pattern.
    pub(crate) const UPLOAD_CHECKED: u8 = b'u';
    /// Followed by a length (u64); answered by that many bytes of the pattern.
    pub(crate) const DOWNLOAD: u8 = b'D';
    /// Followed by a size (u64); from then on, each message of that size is sent back whole.
    pub(crate) const ECHO: u8 = b'E';
    /// Answered by one byte; the server then waits for the other side to close.
    pub(crate) const TOUCH: u8 = b'C';
    /// Answered by one byte; the server keeps the connection and does nothing more.
    pub(crate) const PARK: u8 = b'I';
}

/// The running server.
pub(crate) struct Target {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

impl Target {
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("target server")?;
        let address = listener.local_addr().context("target server")?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared::default());
        for _ in 0..WORKERS {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            std::thread::Builder::new()
                .name("target".into())
                .stack_size(WORKER_STACK_BYTES)
                .spawn(move || work(&listener, &shared))
                .context("target server")?;
        }
        Ok(Self { address, listener, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until every touched connection has been closed all the way to here.
    pub(crate) fn wait_untouched(&self) -> Result<()> {
        let touched = lock(&self.shared.touched);
        let (touched, _) = self
            .shared
            .released
            .wait_timeout_while(touched, PATIENCE, |touched| *touched > 0)
            .unwrap_or_else(PoisonError::into_inner);
        match *touched {
            0 => Ok(()),
            left => Err(BenchError::new(format!("{left} closed connections never closed at the target"))),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // On Linux this wakes every `accept` with an error, and the workers leave.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

/// Opens a connection with the settings both ends of every measurement use.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    tune(&stream)?;
    Ok(stream)
}

/// Sends a one-byte request and waits for its one-byte answer.
pub(crate) fn exchange(stream: &mut TcpStream, request: u8) -> io::Result<()> {
    stream.write_all(&[request])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [request] { Ok(()) } else { Err(io::Error::other("the tunnel altered a byte")) }
}

/// Sends a request that carries a number.
pub(crate) fn request(stream: &mut TcpStream, request: u8, number: u64) -> io::Result<()> {
    let mut message = [request; 9];
    message[1..].copy_from_slice(&number.to_be_bytes());
    stream.write_all(&message)
}

pub(crate) fn read_u64(stream: &mut TcpStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

#[derive(Default)]
struct Shared {
    touched: Mutex<u64>,
    released: Condvar,
    parked: Mutex<Vec<TcpStream>>,
}

fn work(listener: &TcpListener, shared: &Shared) {
    while let Ok((stream, _)) = listener.accept() {
        // A client that goes away ends its connection, not the worker; the client side reports the error.
        let _ = tune(&stream).and_then(|()| serve(stream, shared));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut request = [0];
    while stream.read(&mut request)? > 0 {
        match request[0] {
            op::UPLOAD => sink(&mut stream, None)?,
            op::UPLOAD_CHECKED => sink(&mut stream, Some(Pattern::new()))?,
            op::DOWNLOAD => {
                let length = read_u64(&mut stream)?;
                Pattern::new().send(&mut stream, length)?;
            }
            op::ECHO => return echo(&mut stream),
            op::TOUCH => return touch(&mut stream, shared),
            op::PARK => {
                stream.write_all(&request)?;
                lock(&shared.parked).push(stream);
                return Ok(());
            }
            _ => return stream.shutdown(Shutdown::Both),
        }
    }
    Ok(())
}

fn sink(stream: &mut TcpStream, check: Option<Pattern>) -> io::Result<()> {
    let length = read_u64(stream)?;
    let count = match check {
        Some(pattern) => pattern.receive_checked(stream, length)?,
        None => Pattern::receive(stream, length)?,
    };
    stream.write_all(&count.to_be_bytes())
}

fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let size = usize::try_from(read_u64(stream)?).unwrap_or(usize::MAX).min(MAX_ECHO_BYTES);
    let mut message = vec![0; size];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
    }
}

fn touch(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    *lock(&shared.touched) += 1;
    let outcome = stream.write_all(&[op::TOUCH]).and_then(|()| stream.read(&mut [0]));
    let mut touched = lock(&shared.touched);
    *touched -= 1;
    if *touched == 0 {
        shared.released.notify_all();
    }
    outcome.map(drop)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More than the connections in flight at 16 in parallel, counting those that are still closing.
const WORKERS: usize = 64;
/// The buffers are on the heap.
const WORKER_STACK_BYTES: usize = 128 * 1024;
const MAX_ECHO_BYTES: usize = 1024 * 1024;
/// A tunnel that shows no life for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(20);
