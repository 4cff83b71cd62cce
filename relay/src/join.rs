//! Two channels as one.

use std::io;

use ssh_core::Channel;
use ssh_core::channel::{ChannelReader, ChannelWriter};
use tokio::io::AsyncWriteExt as _;

/// At most this much of one direction is on its way through the relay beside the channels' windows, in bytes.
const MOST: usize = 256 * 1024;
const CHUNKS: usize = 16;

/// Carries bytes between two channels until both have ended or one is closed, which closes the other.
///
/// What is not taken stays in the window of the channel that it came from, so a slow reader stops the writer. SDK peers
/// neither send an end of data before they close nor answer a close, so a close counts for both directions once what came
/// before it has been passed on.
pub(crate) async fn join(near: Channel, far: Channel) {
    let _ = near.refuse_requests();
    let _ = far.refuse_requests();
    let (mut near_reader, mut near_writer) = near.split();
    let (mut far_reader, mut far_writer) = far.split();
    let to_far = carry(&mut near_reader, &mut far_writer);
    let to_near = carry(&mut far_reader, &mut near_writer);
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

async fn carry(reader: &mut ChannelReader, writer: &mut ChannelWriter) -> io::Result<Ended> {
    let mut chunks = Vec::new();
    while reader.read_chunks(MOST, CHUNKS, &mut chunks).await? > 0 {
        for chunk in chunks.drain(..) {
            writer.write_all(&chunk).await?;
        }
    }
    if reader.is_closed() {
        return Ok(Ended::Closed);
    }
    writer.shutdown().await?;
    Ok(Ended::Eof)
}
