//! TCP streams through a tunnel of which both ends are here: each end sends its own bytes, and neither may see an error.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::endpoint::{connect, listen};
use crate::outcome::{Failure, Outcome, STEP, ensure, within};
use crate::traffic::pattern;

/// Bytes written at once: more than an SSH packet carries, so that packets are cut on both sides.
const BLOCK: usize = 48 * 1024 + 5;

/// The far ends: a server for [`Flows`], until it is dropped.
pub struct FarEnds {
    /// Its port.
    pub port: u16,
    watched: Arc<Watched>,
    ended: mpsc::UnboundedReceiver<Outcome<(u64, Digests)>>,
    task: JoinHandle<()>,
}

/// The near ends, running.
pub struct Flows {
    length: u64,
    count: u64,
    watched: Arc<Watched>,
    far: FarEnds,
    near: Vec<JoinHandle<Outcome<Digests>>>,
}

/// What all ends say of themselves.
#[derive(Default)]
struct Watched {
    moved: AtomicU64,
    /// How much each end may send so far.
    allowed: watch::Sender<u64>,
    /// The first one.
    failure: OnceLock<String>,
}

impl Watched {
    fn note<T>(&self, outcome: Outcome<T>, end: &str) -> Outcome<T> {
        outcome.map_err(|failure| {
            let failure = failure.while_doing(end);
            // Others are seen where they happened.
            let _ = self.failure.set(failure.to_string());
            failure
        })
    }
}

/// SHA-256 of what one end has sent, and of what has come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digests {
    sent: [u8; 32],
    came: [u8; 32],
}

impl FarEnds {
    /// Waits for streams that carry `length` bytes each way.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn listen(length: u64) -> Outcome<Self> {
        let (listener, port) = listen().await?;
        Ok(Self::at(listener, port, length))
    }

    /// The same on a listener of this port.
    #[must_use]
    pub fn at(listener: TcpListener, port: u16, length: u64) -> Self {
        let (sender, ended) = mpsc::unbounded_channel();
        let watched = Arc::<Watched>::default();
        let task = tokio::spawn(accept(listener, length, sender, Arc::clone(&watched)));
        Self { port, watched, ended, task }
    }
}

impl Drop for FarEnds {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    length: u64,
    ended: mpsc::UnboundedSender<Outcome<(u64, Digests)>>,
    watched: Arc<Watched>,
) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (ended, watched) = (ended.clone(), Arc::clone(&watched));
        tokio::spawn(async move {
            let run = async {
                // Which stream it is.
                let number = stream.read_u64().await?;
                Ok((number, run(stream, !number, length, &watched).await?))
            };
            let outcome = watched.note(run.await, "at a far end");
            // Whoever has lost interest has failed for another reason.
            let _ = ended.send(outcome);
        });
    }
}

impl Flows {
    /// Opens `count` streams by way of a local port and starts them.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn start(local: u16, count: u64, length: u64, far: FarEnds) -> Outcome<Self> {
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(within(STEP, "connecting", async { connect(local).await }).await?);
        }
        Self::over(streams, length, far).await
    }

    /// Starts them on these streams.
    ///
    /// # Errors
    /// When one has ended already.
    pub async fn over(streams: Vec<TcpStream>, length: u64, far: FarEnds) -> Outcome<Self> {
        let (mut near, watched) = (Vec::new(), Arc::clone(&far.watched));
        let count = streams.len() as u64;
        for (number, mut stream) in (0_u64..).zip(streams) {
            stream.write_u64(number).await?;
            let watched = Arc::clone(&watched);
            near.push(tokio::spawn(async move {
                let outcome = run(stream, number, length, &watched).await;
                watched.note(outcome, &format!("stream {number}, near end"))
            }));
        }
        Ok(Self { length, count, watched, far, near })
    }

    /// How many bytes have come, at all ends together.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.watched.moved.load(Ordering::Relaxed)
    }

    /// Lets each end send this part of everything, and a block. Nothing is sent before.
    pub fn allow(&self, part: u64, of: u64) {
        let most = if part < of { self.length / of * part } else { u64::MAX };
        self.watched.allowed.send_replace(most);
    }

    /// How many bytes will have come in the end.
    #[must_use]
    pub fn total(&self) -> u64 {
        2 * self.length * self.count
    }

    /// Waits until so many bytes have come.
    ///
    /// # Errors
    /// When nothing at all comes for `patience`, or an end has failed.
    pub async fn reach(&self, goal: u64, patience: Duration) -> Outcome {
        let (mut before, mut since) = (self.moved(), Instant::now());
        while self.moved() < goal {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if let Some(failure) = self.watched.failure.get() {
                return Err(Failure::new(failure.clone()));
            }
            let now = self.moved();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            ensure(since.elapsed() < patience, || {
                format!("nothing has moved for {patience:?}, {now} bytes of {goal} have come")
            })?;
        }
        Ok(())
    }

    /// Waits for the end of all streams and compares: what either end has sent is what has come to the other.
    ///
    /// # Errors
    /// When an end has seen an error, or other bytes than were sent, or nothing moves for `patience`.
    pub async fn finish(mut self, patience: Duration) -> Outcome {
        self.reach(self.total(), patience).await?;
        let mut near = Vec::new();
        for task in self.near.drain(..) {
            near.push(within(patience, "the end of a stream", async { task.await? }).await?);
        }
        for _ in 0..near.len() {
            let next = async { self.far.ended.recv().await.ok_or_else(|| Failure::new("nobody is there"))? };
            let (number, far) = within(patience, "the far end of a stream", next).await?;
            let near = usize::try_from(number).ok().and_then(|number| near.get(number));
            let near = near.ok_or_else(|| Failure::new(format!("there is no stream {number}")))?;
            ensure(near.sent == far.came && far.sent == near.came, || {
                format!("stream {number} is changed: {near:02x?}, {far:02x?}")
            })?;
        }
        Ok(())
    }
}

/// Sends and receives at once, to the end of both.
async fn run(stream: TcpStream, seed: u64, length: u64, watched: &Watched) -> Outcome<Digests> {
    stream.set_nodelay(true)?;
    let (mut read, mut write) = stream.into_split();
    let send = async {
        let (mut digest, mut block, mut left) = (Sha256::new(), pattern(seed, BLOCK), length);
        let mut allowed = watched.allowed.subscribe();
        while left > 0 {
            // Its sender is kept for as long as this runs.
            let _ = allowed.wait_for(|allowed| *allowed > length - left).await;
            // No two blocks alike: one that is lost, doubled or moved shows.
            if let Some(start) = block.first_chunk_mut() {
                *start = left.to_be_bytes();
            }
            let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            let piece = block.get(..size).unwrap_or_default();
            digest.update(piece);
            write.write_all(piece).await.map_err(|error| Failure::new(format!("writing: {error}")))?;
            left -= size as u64;
        }
        write.shutdown().await.map_err(|error| Failure::new(format!("shutting down: {error}")))?;
        Ok::<_, Failure>(digest.finalize().into())
    };
    let receive = async {
        let (mut digest, mut block, mut count) = (Sha256::new(), vec![0; 64 * 1024], 0);
        loop {
            let size = read.read(&mut block).await;
            let size = size.map_err(|error| Failure::new(format!("reading after {count} bytes: {error}")))?;
            if size == 0 {
                ensure(count == length, || format!("it ends after {count} bytes of {length}"))?;
                return Ok::<_, Failure>(digest.finalize().into());
            }
            digest.update(block.get(..size).unwrap_or_default());
            count += size as u64;
            watched.moved.fetch_add(size as u64, Ordering::Relaxed);
        }
    };
    let (sent, came) = tokio::try_join!(send, receive)?;
    Ok(Digests { sent, came })
}
