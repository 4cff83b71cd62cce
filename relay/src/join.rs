//! Two channels as one.

use std::io;
use std::time::Duration;

use ssh_core::channel::{ChannelReader, ChannelWriter};
use ssh_core::{Channel, Session};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::bandwidth::Bandwidth;

/// One of two channels that are to be joined.
pub(crate) struct End {
    pub(crate) channel: Channel,
    /// As [`hears_eof`] says of its session.
    pub(crate) hears_eof: bool,
}

/// At most this much of one direction is on its way through the relay beside the channels' windows, in bytes.
const MOST: usize = 256 * 1024;
const CHUNKS: usize = 16;
/// An answer to a client that has ended its way is waited for so long, if the host has not heard of the end; as `pump` waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries bytes between the channel of a client, `near`, and that of a host, `far`, until both have ended or one is closed or
/// lost, which closes the other.
///
/// What is not taken stays in the window of the channel that it came from, so a slow reader stops the writer. SDK peers
/// neither send an end of data before they close nor answer a close, so a close counts for both directions once what came
/// before it has been passed on; past an end of data it counts at once, since whoever closes takes nothing any more. Both
/// directions are taken from the bucket, if there is one.
///
/// To a peer that [does not hear](hears_eof) of an end of data, the end of the host's is the end of both directions; that of the
/// client's is once nothing has come from the host for 30 s.
pub(crate) async fn join(near: End, far: End, bandwidth: Option<&Bandwidth>) {
    let (near_hears, far_hears) = (near.hears_eof, far.hears_eof);
    let (near, far) = (near.channel, far.channel);
    let _ = near.refuse_requests();
    let _ = far.refuse_requests();
    // Beside the halves, which the directions hold.
    let (near_lasts, far_lasts) = (near.writer(), far.writer());
    let (has_ended, client_ended) = watch::channel(false);
    let (mut near_reader, mut near_writer) = near.split();
    let (mut far_reader, mut far_writer) = far.split();
    let to_far = carry(&mut near_reader, &mut far_writer, bandwidth, None);
    let patience = (!far_hears).then_some(client_ended);
    let to_near = carry(&mut far_reader, &mut near_writer, bandwidth, patience);
    tokio::pin!(to_far, to_near);
    tokio::select! {
        ended = &mut to_far => if let Ok(Ended::Eof) = ended {
            has_ended.send_replace(true);
            tokio::select! {
                _ = to_near => {}
                () = near_lasts.closed() => {}
            }
        },
        ended = &mut to_near => if let Ok(Ended::Eof) = ended && near_hears {
            tokio::select! {
                _ = to_far => {}
                () = far_lasts.closed() => {}
            }
        },
    }
}

/// Whether the peer of a session tells whoever reads a channel of the end of its data. The Dev Tunnels libraries in TypeScript and
/// in Go do not: their streams and forwards end with a CLOSE only.
pub(crate) fn hears_eof(session: &Session) -> bool {
    let line = session.connection().peer_version();
    let name = line.strip_prefix("SSH-2.0-").and_then(|software| software.split(['_', ' ']).next());
    !matches!(name, Some("dev-tunnels-ssh" | "dev-tunnels-ssh-go"))
}

/// How a direction ended.
enum Ended {
    Eof,
    Closed,
}

async fn carry(
    reader: &mut ChannelReader,
    writer: &mut ChannelWriter,
    bandwidth: Option<&Bandwidth>,
    patience: Option<watch::Receiver<bool>>,
) -> io::Result<Ended> {
    let mut chunks = Vec::new();
    let most = bandwidth.map_or(MOST, |bandwidth| bandwidth.largest_take().min(MOST));
    loop {
        let count = tokio::select! {
            biased;
            count = reader.read_chunks(most, CHUNKS, &mut chunks) => count?,
            () = run_out(patience.clone()) => return Err(io::ErrorKind::TimedOut.into()),
        };
        if count == 0 {
            break;
        }
        for chunk in chunks.drain(..) {
            writer.write_all(&chunk).await?;
        }
        if let Some(bandwidth) = bandwidth {
            bandwidth.spend(count).await;
        }
    }
    if reader.is_closed() {
        return Ok(Ended::Closed);
    }
    writer.shutdown().await?;
    Ok(Ended::Eof)
}

/// Ready when the other direction has ended and nothing has come in this one for [`PATIENCE`] since; never if there is none to
/// run out.
async fn run_out(patience: Option<watch::Receiver<bool>>) {
    match patience {
        // Boxed, so that the many who never wait here are not larger for it.
        Some(mut has_ended) => {
            Box::pin(async move {
                if has_ended.wait_for(|ended| *ended).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(PATIENCE).await;
            })
            .await;
        }
        None => std::future::pending().await,
    }
}
