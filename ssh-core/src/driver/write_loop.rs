use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _, WriteHalf};

use super::shared::{EndOnDrop, Shared};
use crate::error::Error;

/// After the end, this much time to get rid of the last output.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// A buffer that one busy moment made larger than this, in bytes, is given back. A full batch of data has to stay under it,
/// or each would be allocated anew; buffers double, so that it may need twice its size.
const KEPT_CAPACITY: usize = 3 * 1024 * 1024;

/// Writes whatever the engine has to send. What is sealed while a write is under way leaves in the next one.
pub(super) fn run<S>(shared: Arc<Shared>, stream: WriteHalf<S>) -> impl Future<Output = ()>
where
    S: AsyncWrite,
{
    // Made now, so that a loop that is dropped before its first poll ends the session too.
    let guard = EndOnDrop(shared);
    write(guard, stream)
}

async fn write<S>(guard: EndOnDrop, mut stream: WriteHalf<S>)
where
    S: AsyncWrite,
{
    let shared = Arc::clone(&guard.0);
    let mut buffer = Vec::new();
    while std::future::poll_fn(|cx| shared.poll_output(&mut buffer, cx)).await {
        let write = async {
            stream.write_all(&buffer).await?;
            stream.flush().await
        };
        tokio::pin!(write);
        let written = tokio::select! {
            biased;
            written = write.as_mut() => written,
            // A peer that does not read must not hold on to a session that has ended.
            _ = shared.ended() => match tokio::time::timeout(LAST_WRITE, write).await {
                Ok(written) => written,
                // Nothing may follow half a packet: it would look like a forged one.
                Err(_) => break,
            },
        };
        if let Err(error) = written {
            shared.with(|engine| engine.end(Error::from(error)));
            break;
        }
        if buffer.capacity() > KEPT_CAPACITY {
            buffer = Vec::new();
        }
    }
    drop(guard);
    let _ = tokio::time::timeout(LAST_WRITE, stream.shutdown()).await;
}
