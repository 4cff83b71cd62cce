//! A path that takes its time: every byte arrives later, and perhaps only so many in a second.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// One direction of a path.
#[derive(Debug, Clone, Default)]
pub struct Path {
    delay: Duration,
    bytes_a_second: Option<u64>,
    carried: Arc<AtomicU64>,
}

/// What is read at once, in bytes, and how much of that may be on its way: 64 MiB, which is 1.6 GB/s over 40 ms.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 1024;

impl Path {
    /// Every byte arrives this much later.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// It carries no more than this.
    #[must_use]
    pub fn with_rate(mut self, bytes_a_second: u64) -> Self {
        self.bytes_a_second = Some(bytes_a_second.max(1));
        self
    }

    /// How many bytes have arrived.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Carries bytes until the reader ends, and the end too.
    ///
    /// # Errors
    /// When either stream fails.
    pub async fn carry<R, W>(&self, mut reader: R, mut writer: W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        // A slow path holds little, so that its writer feels it.
        let pieces = if self.bytes_a_second.is_some() { 1 } else { PIECES };
        let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(pieces);
        let read = async {
            loop {
                let mut piece = Vec::with_capacity(PIECE);
                if reader.read_buf(&mut piece).await? == 0 {
                    break;
                }
                if sender.send((Instant::now() + self.delay, piece)).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok(())
        };
        let write = async {
            while let Some((at, piece)) = receiver.recv().await {
                tokio::time::sleep_until(at).await;
                writer.write_all(&piece).await?;
                let len = piece.len() as u64;
                self.carried.fetch_add(len, Ordering::Relaxed);
                if let Some(rate) = self.bytes_a_second {
                    tokio::time::sleep(Duration::from_nanos(len * 1_000_000_000 / rate)).await;
                }
            }
            writer.shutdown().await
        };
        tokio::try_join!(read, write).map(drop)
    }
}

/// Both ends of a stream in memory over `there` and `back`, carried by tasks of the current runtime.
#[must_use]
pub fn duplex(there: &Path, back: &Path) -> (DuplexStream, DuplexStream) {
    let (near, near_end) = tokio::io::duplex(PIECE);
    let (far_end, far) = tokio::io::duplex(PIECE);
    let (near_reader, near_writer) = tokio::io::split(near_end);
    let (far_reader, far_writer) = tokio::io::split(far_end);
    let (there, back) = (there.clone(), back.clone());
    // When one end has gone its path ends with an error, which the other end sees as an end.
    tokio::spawn(async move { there.carry(near_reader, far_writer).await });
    tokio::spawn(async move { back.carry(far_reader, near_writer).await });
    (near, far)
}
