//! What is sent through a tunnel: reproducible bytes, servers that answer, and comparisons by SHA-256.

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::endpoint::{Duplex, listen_on_reserved};
use crate::outcome::{Outcome, ensure};

/// Bytes written or read at once: more than an SSH packet carries, so that packets are cut on both sides.
const BLOCK: usize = 48 * 1024 + 5;

/// How a connection ends after its bytes were exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client shuts down writing first and reads until the server does the same.
    HalfClose,
    /// The client has read all it wants and closes. For peers that keep no half-close.
    Close,
}

/// A TCP server on a free loopback port that treats each connection alike, until it is dropped.
pub struct Target {
    /// Its port.
    pub port: u16,
    task: AbortHandle,
}

impl Target {
    /// Sends everything back, and ends when the client does.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn echo() -> Outcome<Self> {
        Self::start(|stream| async move {
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await?;
            write.shutdown().await
        })
        .await
    }

    /// Reads until the client has finished, then sends `length` bytes of [`pattern`] `seed`.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn reply(seed: u64, length: u64) -> Outcome<Self> {
        Self::start(move |mut stream| async move {
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            let (_, sent) = send_pattern(&mut stream, seed, length).await;
            sent?;
            stream.shutdown().await
        })
        .await
    }

    /// Sends `length` bytes of [`pattern`] `seed` to whoever connects, and closes at once.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn greeting(seed: u64, length: u64) -> Outcome<Self> {
        Self::start(move |mut stream| async move { send_pattern(&mut stream, seed, length).await.1 }).await
    }

    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Outcome<Self>
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        // Peers that listen at the number of their target, or near it, are to find it free.
        let (listener, port) = listen_on_reserved().await?;
        let task = tokio::spawn(accept_all(listener, serve)).abort_handle();
        Ok(Self { port, task })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept_all<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        // Without this, delayed acknowledgements would make the tests slow, not wrong.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream));
    }
}

/// Sends `length` bytes to an echo server through `stream` and compares what comes back.
///
/// # Errors
/// When the stream fails, or returns other bytes or too few; or too many, if it is read to its end.
pub async fn exchange(stream: Box<dyn Duplex>, seed: u64, length: u64, ending: Ending) -> Outcome {
    let (mut read, mut write) = tokio::io::split(stream);
    let send = async {
        let (digest, sent) = send_pattern(&mut write, seed, length).await;
        sent?;
        if ending == Ending::HalfClose {
            write.shutdown().await?;
        }
        // Kept open: dropping it is not a shutdown, but the reader decides when we are through.
        Ok::<_, std::io::Error>((digest, write))
    };
    let receive = async {
        match ending {
            Ending::HalfClose => receive_digest(&mut read).await,
            Ending::Close => receive_digest(&mut (&mut read).take(length)).await,
        }
    };
    let (sent, received) = tokio::join!(send, receive);
    let (received, count) = received?;
    ensure(count == length, || format!("sent {length} bytes, got {count} back"))?;
    let (sent, _write) = sent?;
    ensure(sent == received, || format!("{length} bytes came back changed"))
}

/// Sends a short request through `stream`, shuts down writing, and reads the reply of a [`Target::reply`] whole.
///
/// # Errors
/// When the stream fails, or the reply is not the one expected.
pub async fn request(mut stream: Box<dyn Duplex>, seed: u64, length: u64) -> Outcome {
    stream.write_all(b"all of the request").await?;
    stream.shutdown().await?;
    let (received, count) = receive_digest(&mut stream).await?;
    let (expected, _) = send_pattern(&mut tokio::io::sink(), seed, length).await;
    ensure(count == length, || format!("expected a reply of {length} bytes, got {count}"))?;
    ensure(received == expected, || "the reply came changed".to_owned())
}

/// Reads what a [`Target::greeting`] sends to its end, which has to come, and sends nothing.
///
/// # Errors
/// When the stream fails, or what comes is not what is expected.
pub async fn greeted(mut stream: Box<dyn Duplex>, seed: u64, length: u64) -> Outcome {
    let (received, count) = receive_digest(&mut stream).await?;
    let (expected, _) = send_pattern(&mut tokio::io::sink(), seed, length).await;
    ensure(count == length, || format!("expected {length} bytes, got {count}"))?;
    ensure(received == expected, || format!("{length} bytes came changed"))
}

/// `length` bytes that look random and depend on `seed` alone.
#[must_use]
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut generator = Generator(seed);
    let mut bytes = vec![0; length];
    generator.fill(&mut bytes);
    bytes
}

async fn send_pattern(
    writer: &mut (impl AsyncWrite + Unpin),
    seed: u64,
    length: u64,
) -> ([u8; 32], std::io::Result<()>) {
    let mut generator = Generator(seed);
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut left = length;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
        let (piece, _) = block.split_at_mut(size);
        generator.fill(piece);
        digest.update(&*piece);
        if let Err(error) = writer.write_all(piece).await {
            return (digest.finalize().into(), Err(error));
        }
        left -= size as u64;
    }
    let flushed = writer.flush().await;
    (digest.finalize().into(), flushed)
}

async fn receive_digest(reader: &mut (impl AsyncRead + Unpin)) -> Outcome<([u8; 32], u64)> {
    let mut digest = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut count = 0;
    loop {
        let size = reader.read(&mut block).await?;
        if size == 0 {
            return Ok((digest.finalize().into(), count));
        }
        digest.update(block.get(..size).unwrap_or_default());
        count += size as u64;
    }
}

/// SplitMix64: fast, and no two seeds alike.
struct Generator(u64);

impl Generator {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            for (byte, value) in chunk.iter_mut().zip(word.to_le_bytes()) {
                *byte = value;
            }
        }
    }
}
