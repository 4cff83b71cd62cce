//! Moves bytes between a socket and a channel.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::channel::{Channel, ChannelReader, ChannelWriter};

/// Moves bytes both ways until both have ended; the end of one way is passed on and leaves the other open.
///
/// # Errors
/// If the socket fails or the session is lost. The socket is then reset rather than ended, so that its peer does not
/// take what it has for the whole.
pub(crate) async fn pump(mut socket: TcpStream, channel: Channel) -> io::Result<()> {
    let (reader, writer) = socket.split();
    let result = pump_streams(reader, writer, channel).await;
    if result.is_err() {
        let _ = socket.set_zero_linger();
    }
    result
}

/// As [`pump`], between any two streams and a channel.
///
/// # Errors
/// If a stream fails or the session is lost.
pub(crate) async fn pump_streams<R, W>(reader: R, writer: W, channel: Channel) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // An error only means that the channel has no requests to come.
    let _ = channel.refuse_requests();
    let (from_peer, to_peer) = channel.split();
    tokio::try_join!(outward(reader, to_peer), inward(from_peer, writer))?;
    Ok(())
}

/// Until the stream ends or the peer closes the channel: what would come later has nowhere to go.
async fn outward(mut stream: impl AsyncRead + Unpin, mut channel: ChannelWriter) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = tokio::select! {
            n = stream.read(&mut buffer) => n?,
            () = channel.closed() => return Ok(()),
        };
        let Some(data) = buffer.get(..n).filter(|data| !data.is_empty()) else {
            return channel.shutdown().await;
        };
        match channel.write_all(data).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

async fn inward(mut channel: ChannelReader, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut channel, &mut stream).await?;
    match stream.shutdown().await {
        // The other side has closed already; it has seen everything.
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        result => result,
    }
}

/// Read from the stream at once, in bytes.
const BUFFER: usize = 32 * 1024;
