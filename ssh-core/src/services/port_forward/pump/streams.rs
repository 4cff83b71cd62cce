//! Bytes between a pair of streams and a channel.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::abort::Abort;
use super::ending::Ending;
use super::moment::Moment;
use super::{closed_by_peer, read_chunks};
use crate::channel::{Channel, ChannelReader, ChannelWriter};

/// A read from a stream takes this much, in bytes.
const STREAM_READ: usize = 64 * 1024;

/// Once the peer's data has ended, an input of which nothing has come for this long is given up: whoever holds it open may
/// never notice that the far side has gone.
const IDLE: Duration = Duration::from_secs(1);

/// Carries everything between a pair of streams, for instance standard input and output, and `channel`, until both ways have
/// ended. After the end of the peer's data an input that stays open is given up once it has been idle for about 1 s, or when
/// the peer closes the channel. The peer is then told that the input had not ended, by `exit-signal ABRT`, which resets a
/// target that is still reading.
///
/// # Errors
/// If a stream fails, the session is lost, or the other end was reset; [`ConnectionReset`](io::ErrorKind::ConnectionReset) too if the
/// peer closed the channel when something of the input had been read and not been sent. [`UnexpectedEof`](io::ErrorKind::UnexpectedEof)
/// if the end of the input has cut what a peer with the Go or the TypeScript library of Dev Tunnels had still to say on a channel of its own.
///
/// # Cancel safety
/// A dropped future has closed the channel as one that broke, and what was under way is lost.
pub async fn pump_streams<R, W>(input: R, output: W, channel: Channel) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    carry_streams(input, output, channel).await.map(drop)
}

/// [`pump_streams`], and then, if the input has ended, waits until the peer has closed the channel: only then has it passed
/// everything on, and nothing is lost if the session ends. For one end of a channel, as
/// [`pump_until_closed`](super::pump_until_closed) is.
///
/// # Errors
/// As for [`pump_streams`]. [`TimedOut`](io::ErrorKind::TimedOut) if the peer has not closed the channel within 30 s, the time
/// that the session was without a connection not counted.
///
/// # Cancel safety
/// As for [`pump_streams`].
pub async fn pump_streams_until_closed<R, W>(input: R, output: W, channel: Channel) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    match carry_streams(input, output, channel).await? {
        Some((_reader, writer)) => closed_by_peer(&writer).await,
        None => Ok(()),
    }
}

/// What became of the input.
enum Input {
    Ended,
    /// The peer wants nothing more, or it was idle.
    LeftOpen,
    /// The peer did not take what had been read.
    Cut,
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
    let (mut reader, mut writer, abort) = Abort::split(channel);
    let far_end = Moment::default();
    let up = async {
        let ended = send(&mut input, &mut writer, &far_end).await?;
        if matches!(ended, Input::Ended) {
            ending.begin(&writer);
        }
        Ok(ended)
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
        abort.check_peer()?;
        far_end.come();
        output.shutdown().await
    };
    match futures::future::try_join(up, down).await?.0 {
        Input::Ended => {
            abort.check_peer()?;
            abort.take_back();
            Ok(Some((reader, writer)))
        }
        Input::LeftOpen => Ok(None),
        Input::Cut => Err(io::Error::new(
            io::ErrorKind::ConnectionReset,
            "the other end closed before it had taken all of the input",
        )),
    }
}

async fn send<R: AsyncRead + Unpin>(
    input: &mut R,
    writer: &mut ChannelWriter,
    far_end: &Moment,
) -> io::Result<Input> {
    let mut buffer = vec![0; STREAM_READ];
    loop {
        let n = tokio::select! {
            biased;
            () = writer.closed() => return Ok(Input::LeftOpen),
            read = input.read(&mut buffer) => read?,
            () = far_end.is_past(IDLE) => return Ok(Input::LeftOpen),
        };
        if n == 0 {
            writer.shutdown().await?;
            return Ok(Input::Ended);
        }
        match writer.write_all(buffer.get(..n).unwrap_or_default()).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Input::Cut),
            written => written?,
        }
    }
}
