//! Two channels as one.

use std::io;

use ssh_core::Channel;
use ssh_core::channel::{ChannelReader, ChannelWriter};
use tokio::io::AsyncWriteExt as _;

use crate::bandwidth::Bandwidth;

/// At most this much of one direction is on its way through the relay beside the channels' windows, in bytes.
const MOST: usize = 256 * 1024;
const CHUNKS: usize = 16;

/// Carries bytes between two channels until both have ended or one is closed, which closes the other.
///
/// What is not taken stays in the window of the channel that it came from, so a slow reader stops the writer. SDK peers
/// neither send an end of data before they close nor answer a close, so a close counts for both directions once what came
/// before it has been passed on. Both directions are taken from the bucket, if there is one.
pub(crate) async fn join(near: Channel, far: Channel, bandwidth: Option<&Bandwidth>) {
    let _ = near.refuse_requests();
    let _ = far.refuse_requests();
    let (mut near_reader, mut near_writer) = near.split();
    let (mut far_reader, mut far_writer) = far.split();
    let to_far = carry(&mut near_reader, &mut far_writer, bandwidth);
    let to_near = carry(&mut far_reader, &mut near_writer, bandwidth);
    tokio::pin!(to_far, to_near);
    tokio::select! {
        ended = &mut to_far => match ended {
            Ok(Ended::Eof) => drop(to_near.await),
            Ok(Ended::Closed) | Err(_) => {}
        },
        ended = &mut to_near => match ended {
            Ok(Ended::Eof) => drop(to_far.await),
            Ok(Ended::Closed) | Err(_) => {}
        },
    }
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
) -> io::Result<Ended> {
    let mut chunks = Vec::new();
    let most = bandwidth.map_or(MOST, |bandwidth| bandwidth.largest_take().min(MOST));
    loop {
        let count = reader.read_chunks(most, CHUNKS, &mut chunks).await?;
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
