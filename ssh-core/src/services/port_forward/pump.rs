//! Bytes between a socket and a channel, both ways, each end of file on its own.

mod abort;
mod ending;
mod moment;
mod streams;

use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(super) use abort::Abort;
use ending::{Ending, PATIENCE};
pub use streams::{pump_streams, pump_streams_until_closed};

use crate::channel::{Channel, ChannelReader, ChannelWriter};

/// A read from a socket takes this much at first, in bytes, and twice as much whenever it got all of it.
const FIRST_READ: usize = 16 * 1024;
/// And no more than this, so that many stalled connections stay cheap.
const LARGEST_READ: usize = 512 * 1024;
/// One write to a socket takes up to this much, in bytes and in chunks.
const LARGEST_WRITE: usize = 1024 * 1024;
const MAX_CHUNKS: usize = 64;

/// Carries everything between `socket` and `channel` until both ways have ended. An end of file passes through and
/// leaves the other way open; a reset, and whatever else breaks one end, passes through as `exit-signal ABRT` and becomes a
/// reset again, and so does the loss of the session or of this process. While nothing flows no buffer is held.
///
/// The libraries of Dev Tunnels in Go and TypeScript tell nobody of an end of file. Towards such a peer the end of a target is
/// the end of both ways, and a reset for the target if the peer had not ended its own; in TypeScript once nothing has come
/// for half a second. Whoever connected here and has ended its way is reset once nothing has come for 30 s.
///
/// # Errors
/// If the socket fails, the session is lost, or the other end was reset.
///
/// # Cancel safety
/// A dropped future has reset the socket and closed the channel as one that broke, and what was under way is lost.
pub async fn pump(mut socket: TcpStream, channel: Channel) -> io::Result<()> {
    // Small messages must not wait for each other's acknowledgements.
    let _ = socket.set_nodelay(true);
    // Whoever reads the socket must not take a broken stream for a whole one: until all has ended well, however this
    // ends, it ends with a reset.
    let _ = socket.set_zero_linger();
    let (mut from_socket, mut to_socket) = socket.split();
    let ended = carry(&mut from_socket, &mut to_socket, channel).await?;
    if ended.is_whole { SockRef::from(&socket).set_linger(None) } else { Ok(()) }
}

/// [`pump`], and then waits until the peer has closed the channel: only then has it passed everything on, and nothing is lost
/// if the session ends. One end of a channel may wait so, the one that is to end the session; two would wait for each other.
///
/// # Errors
/// As for [`pump`]. [`TimedOut`](io::ErrorKind::TimedOut) if the peer has not closed the channel within 30 s, the time that the
/// session was without a connection not counted.
///
/// # Cancel safety
/// As for [`pump`].
pub async fn pump_until_closed(mut socket: TcpStream, channel: Channel) -> io::Result<()> {
    let _ = socket.set_nodelay(true);
    let _ = socket.set_zero_linger();
    let (mut from_socket, mut to_socket) = socket.split();
    let ended = carry(&mut from_socket, &mut to_socket, channel).await?;
    if ended.is_whole {
        SockRef::from(&socket).set_linger(None)?;
    }
    drop(socket);
    closed_by_peer(&ended.writer).await
}

/// Waits for the peer's CLOSE after both ways have ended, when nothing else is to come. An error if there is none in
/// [`PATIENCE`], all of it over the same connection.
async fn closed_by_peer(writer: &ChannelWriter) -> io::Result<()> {
    loop {
        let before = writer.link();
        if tokio::time::timeout(PATIENCE, writer.closed()).await.is_ok() {
            return Ok(());
        }
        if before.is_some() && writer.link() == before {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// [`pump`] for a Unix socket. There is no reset on one: what broke looks like an end to whoever holds it.
///
/// # Errors
/// If the socket fails, the session is lost, or the other end was reset.
///
/// # Cancel safety
/// A dropped future has closed both, and what was under way is lost.
#[cfg(unix)]
pub async fn pump_unix(mut socket: tokio::net::UnixStream, channel: Channel) -> io::Result<()> {
    let (mut from_socket, mut to_socket) = socket.split();
    carry(&mut from_socket, &mut to_socket, channel).await.map(drop)
}

/// The half of a socket that is read from: when there is something, and what.
trait Source {
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize>;
}

macro_rules! source {
    ($($half:ty)*) => {$(
        impl Source for $half {
            fn readable(&self) -> impl Future<Output = io::Result<()>> + Send {
                <$half>::readable(self)
            }

            fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                <$half>::try_read(self, buffer)
            }
        }
    )*};
}

source! { tokio::net::tcp::ReadHalf<'_> }
#[cfg(unix)]
source! { tokio::net::unix::ReadHalf<'_> }

/// Both ways have ended.
struct Ended {
    writer: ChannelWriter,
    _reader: ChannelReader,
    /// The socket has got all that the peer had to say.
    is_whole: bool,
}

async fn carry<R: Source, W: AsyncWrite + Unpin>(
    from_socket: &mut R,
    to_socket: &mut W,
    channel: Channel,
) -> io::Result<Ended> {
    let _ = channel.refuse_requests();
    let ending = Ending::of(&channel);
    let (mut reader, mut writer, abort) = Abort::split(channel);
    let up = async {
        send(from_socket, &mut writer).await?;
        ending.begin(&writer);
        Ok(())
    };
    let down = receive(&mut reader, to_socket, &ending, &abort);
    futures::future::try_join(up, down).await?;
    // The peer's data may have ended before its end broke.
    abort.check_peer()?;
    abort.take_back();
    Ok(Ended { writer, _reader: reader, is_whole: !ending.has_cut() })
}

async fn send<R: Source>(socket: &mut R, writer: &mut ChannelWriter) -> io::Result<()> {
    let mut size = FIRST_READ;
    loop {
        tokio::select! {
            ready = socket.readable() => ready?,
            // The peer wants nothing more.
            () = writer.closed() => return Ok(()),
        }
        let mut buffer = Vec::new();
        loop {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            match socket.try_read(&mut buffer) {
                Ok(0) => return writer.shutdown().await,
                Ok(n) => {
                    match writer.write_all(buffer.get(..n).unwrap_or_default()).await {
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                        written => written?,
                    }
                    if n == buffer.len() {
                        size = size.saturating_mul(2).min(LARGEST_READ);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
}

async fn receive<W: AsyncWrite + Unpin>(
    reader: &mut ChannelReader,
    socket: &mut W,
    ending: &Ending,
    abort: &Abort,
) -> io::Result<()> {
    loop {
        let mut chunks = Vec::new();
        if read_chunks(reader, &mut chunks, ending).await? == 0 {
            if ending.has_cut() {
                return Ok(());
            }
            abort.check_peer()?;
            return match socket.shutdown().await {
                // The other side has closed already; it has seen everything.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                ended => ended,
            };
        }
        write_chunks(&mut chunks, socket).await?;
    }
}

/// What comes next; nothing at the end of the data, which we may be the one to set.
async fn read_chunks(
    reader: &mut ChannelReader,
    chunks: &mut Vec<Bytes>,
    ending: &Ending,
) -> io::Result<usize> {
    tokio::select! {
        biased;
        read = reader.read_chunks(LARGEST_WRITE, MAX_CHUNKS, chunks) => match read {
            Err(error) if ending.is_ours(&error) => Ok(0),
            read => read,
        },
        () = ending.is_due() => ending.cut(reader).map(|()| 0),
    }
}

/// Writes everything, as much as possible with each system call.
async fn write_chunks<W: AsyncWrite + Unpin>(chunks: &mut [Bytes], socket: &mut W) -> io::Result<()> {
    let mut first = 0_usize;
    while let Some(left) = chunks.get_mut(first..).filter(|left| !left.is_empty()) {
        let mut slices = [IoSlice::new(&[]); MAX_CHUNKS];
        let count = left.len().min(MAX_CHUNKS);
        for (slice, chunk) in slices.iter_mut().zip(left.iter()) {
            *slice = IoSlice::new(chunk);
        }
        let mut written = socket.write_vectored(slices.get(..count).unwrap_or_default()).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        for chunk in left {
            if written < chunk.len() {
                chunk.advance(written);
                break;
            }
            written = written.saturating_sub(chunk.len());
            first = first.saturating_add(1);
        }
    }
    Ok(())
}
