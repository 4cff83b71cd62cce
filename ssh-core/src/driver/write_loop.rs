use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::shared::{EndOnDrop, Gone, Shared};
use super::stream::WriteLink;
use crate::trace::tell;

/// After the end, this much time to get rid of the last output.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// A buffer that one busy moment made larger than this, in bytes, is given back. A full batch of data has to stay under it,
/// or each would be allocated anew; buffers double, so that it may need twice its size.
const KEPT_CAPACITY: usize = 3 * 1024 * 1024;

/// Writes whatever the engine has to send, on one stream after the other. What is sealed while a write is under way
/// leaves in the next one.
pub(super) fn run(shared: Arc<Shared>, link: WriteLink) -> impl Future<Output = ()> {
    // Made now, so that a loop that is dropped before its first poll ends the session too.
    let guard = EndOnDrop::new(shared);
    keep_writing(guard, link)
}

async fn keep_writing(guard: EndOnDrop, mut link: WriteLink) {
    let shared = Arc::clone(&guard.0);
    loop {
        match write(&shared, &mut link).await {
            Gone::Ended => {
                drop(guard);
                if let Ok(Err(error)) = tokio::time::timeout(LAST_WRITE, link.stream.shutdown()).await {
                    tell!(StreamCloseError, %error, "closing failed");
                }
                return;
            }
            Gone::Moved(target, generation) => {
                guard.disarm();
                link.generation = generation;
                return target.deposit_writer(link);
            }
            Gone::Lost => {}
        }
        drop(link);
        link = loop {
            if let Some(link) = shared.take_writer() {
                break link;
            }
            tokio::select! {
                () = shared.writer_deposited() => {}
                _ = shared.ended() => match late(&shared).await {
                    Some(link) => break link,
                    None => return,
                },
            }
        };
    }
}

/// The stream that a session had just found when it ended: the peer is to be told.
async fn late(shared: &Shared) -> Option<WriteLink> {
    if shared.disconnected() {
        return None;
    }
    let deposited = async {
        loop {
            if let Some(link) = shared.take_writer() {
                return link;
            }
            shared.writer_deposited().await;
        }
    };
    tokio::time::timeout(LAST_WRITE, deposited).await.ok()
}

/// Writes until the stream is done with.
async fn write(shared: &Shared, link: &mut WriteLink) -> Gone {
    let WriteLink { stream, generation } = link;
    let generation = *generation;
    let mut buffer = Vec::new();
    loop {
        if let Err(gone) = std::future::poll_fn(|cx| shared.poll_output(generation, &mut buffer, cx)).await {
            return gone;
        }
        let write = async {
            stream.write_all(&buffer).await?;
            stream.flush().await
        };
        tokio::pin!(write);
        let written = tokio::select! {
            biased;
            written = write.as_mut() => written,
            // The stream is gone, and what was to be written is in the log.
            () = shared.replaced(generation) => return Gone::Lost,
            _ = shared.ended() => match shared.gone(generation) {
                // The stream goes on for another session, which needs all of this packet.
                Some(Gone::Moved(target, generation)) => tokio::select! {
                    written = write.as_mut() => written,
                    // That has another by now.
                    () = target.replaced(generation) => return Gone::Moved(target, generation),
                    _ = target.ended() => match tokio::time::timeout(LAST_WRITE, write.as_mut()).await {
                        Ok(written) => written,
                        Err(_) => return Gone::Ended,
                    },
                },
                // A peer that does not read must not hold on to a session that has ended.
                _ => match tokio::time::timeout(LAST_WRITE, write).await {
                    Ok(written) => written,
                    // Nothing may follow half a packet: it would look like a forged one.
                    Err(_) => return Gone::Ended,
                },
            },
        };
        if let Err(error) = written {
            tell!(StreamWriteError, %error, "writing failed");
            match shared.gone(generation) {
                Some(Gone::Moved(target, generation)) => {
                    let lose = |engine: &mut crate::protocol::Engine| engine.lose(error.into(), super::now());
                    let _ = target.with_stream(generation, lose);
                    return Gone::Moved(target, generation);
                }
                Some(gone) => return gone,
                None => {
                    let lost =
                        shared.with_stream(generation, |engine| engine.lose(error.into(), super::now()));
                    return lost.err().or_else(|| shared.gone(generation)).unwrap_or(Gone::Ended);
                }
            }
        }
        if buffer.capacity() > KEPT_CAPACITY {
            buffer = Vec::new();
        }
    }
}
