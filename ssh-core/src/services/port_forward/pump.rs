//! Bytes between a socket and a channel, both ways, each end of file on its own.

mod ending;

use std::io::{self, IoSlice};

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use ending::Ending;

use crate::channel::{Channel, ChannelReader, ChannelWriter, ExitStatus};
use crate::protocol::wire::Write as _;

/// A read from a socket takes this much at first, in bytes, and twice as much whenever it got all of it.
const FIRST_READ: usize = 16 * 1024;
/// And no more than this, so that many stalled connections stay cheap.
const LARGEST_READ: usize = 512 * 1024;
/// One write to a socket takes up to this much, in bytes and in chunks.
const LARGEST_WRITE: usize = 1024 * 1024;
const MAX_CHUNKS: usize = 64;

/// Carries everything between `socket` and `channel` until both ways have ended. An end of file passes through and
/// leaves the other way open; a reset passes through as `exit-signal ABRT` and becomes a reset again, and so does the loss
/// of the session or of this process. While nothing flows no buffer is held.
///
/// The Go library of Dev Tunnels tells nobody of an end of file. Towards such a peer the end of a target is the end of
/// both ways, and a reset for the target if the peer had not ended its own; whoever connected here and has ended its way is
/// reset once nothing has come for 30 s.
///
/// # Errors
/// If the socket fails, the session is lost, or the other end was reset.
///
/// # Cancel safety
/// A dropped future has reset the socket and closed the channel, and what was under way is lost.
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
/// if the session ends.
///
/// # Errors
/// As for [`pump`].
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
    ended.writer.closed().await;
    Ok(())
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
    let (mut reader, mut writer) = channel.split();
    let up = async {
        let sent = send(from_socket, &mut writer).await;
        if sent.as_ref().is_err_and(is_reset) {
            // The session may be over already; then there is nobody to tell.
            let _ = writer.notify("exit-signal", &abort());
        }
        ending.begin(&writer);
        sent
    };
    let down = receive(&mut reader, to_socket, &ending);
    futures::future::try_join(up, down).await?;
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
) -> io::Result<()> {
    loop {
        let mut chunks = Vec::new();
        if read_chunks(reader, &mut chunks, ending).await? == 0 {
            if ending.has_cut() {
                return Ok(());
            }
            check_end(reader)?;
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
        () = ending.is_due() => {
            reader.close();
            // What was waited for may have been on its way, so it is not to be taken for whole.
            Err(io::ErrorKind::TimedOut.into())
        }
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

/// Carries everything between a pair of streams, for instance standard input and output, and `channel`, until the peer's
/// data has ended. The end of the input passes through before that.
///
/// # Errors
/// If a stream fails, the session is lost, or the other end was reset. [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the end of
/// the input has cut what a peer with the Go library of Dev Tunnels had still to say on a channel of its own.
///
/// # Cancel safety
/// A dropped future has closed the channel, and what was under way is lost.
pub async fn pump_streams<R, W>(input: R, output: W, channel: Channel) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    carry_streams(input, output, channel).await.map(drop)
}

/// [`pump_streams`], and then, if the input has ended, waits until the peer has closed the channel: only then has it passed
/// everything on, and nothing is lost if the session ends.
///
/// # Errors
/// As for [`pump_streams`].
///
/// # Cancel safety
/// As for [`pump_streams`].
pub async fn pump_streams_until_closed<R, W>(input: R, output: W, channel: Channel) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if let Some((_reader, writer)) = carry_streams(input, output, channel).await? {
        writer.closed().await;
    }
    Ok(())
}

/// The channel's halves, if both ways have ended.
async fn carry_streams<R, W>(
    mut input: R,
    mut output: W,
    channel: Channel,
) -> io::Result<Option<(ChannelReader, ChannelWriter)>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let _ = channel.refuse_requests();
    let ending = Ending::of_streams(&channel);
    let (mut reader, mut writer) = channel.split();
    let up = async {
        let mut buffer = vec![0; STREAM_READ];
        loop {
            let n = input.read(&mut buffer).await?;
            if n == 0 {
                let ended = writer.shutdown().await;
                ending.begin(&writer);
                return ended;
            }
            match writer.write_all(buffer.get(..n).unwrap_or_default()).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
    };
    let down = async {
        let mut chunks = Vec::new();
        while read_chunks(&mut reader, &mut chunks, &ending).await? > 0 {
            for chunk in chunks.drain(..) {
                output.write_all(&chunk).await?;
            }
            output.flush().await?;
        }
        if ending.has_cut() {
            // Whoever holds the output has to learn it from us.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        check_end(&reader)?;
        output.shutdown().await
    };
    let both_ended = {
        tokio::pin!(up, down);
        tokio::select! {
            // The far side may be gone for good; whoever holds the input open may never notice.
            received = &mut down => {
                received?;
                false
            }
            sent = &mut up => {
                sent?;
                down.await?;
                true
            }
        }
    };
    Ok(both_ended.then_some((reader, writer)))
}

/// A read from a stream takes this much, in bytes.
const STREAM_READ: usize = 64 * 1024;

/// Tells the end of the data from a reset of what is behind the channel.
fn check_end(reader: &ChannelReader) -> io::Result<()> {
    match reader.exit_status() {
        Some(ExitStatus::Signal { .. }) => Err(io::ErrorKind::ConnectionReset.into()),
        _ => Ok(()),
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted)
}

/// The fields of `exit-signal` (RFC 4254 §6.10).
fn abort() -> Vec<u8> {
    let mut fields = Vec::new();
    fields.put_string(b"ABRT");
    fields.put_bool(false);
    fields.put_string(b"the connection was reset");
    fields.put_string(b"");
    fields
}
