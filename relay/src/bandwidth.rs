//! How fast an owner's tunnels may carry bytes.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The buckets of owners who are connected, or have been until just now.
#[derive(Debug)]
pub(crate) struct Bandwidths {
    rate: Option<NonZeroU64>,
    owners: DashMap<String, Arc<Bandwidth>>,
    waited: Waited,
}

/// Seconds that connections have waited.
pub(crate) type Waited = Counter<f64, AtomicU64>;

/// The token bucket of one owner, which all of its connections take from: it holds what may be sent in [`BURST`]. Nothing is
/// dropped; whoever has taken too much waits before it takes, and so reads, anything more.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    rate: NonZeroU64,
    /// When all that was taken is paid for.
    paid: Mutex<Instant>,
    waited: Waited,
}

/// What a bucket holds, in time: so much of a second's bytes may go at once after a pause.
const BURST: Duration = Duration::from_millis(500);
/// Takes of one connection a second, about: with larger ones others would wait for it, with smaller ones it costs more.
const TAKES: u64 = 64;
/// A take is not smaller, in bytes.
const SMALLEST_TAKE: u64 = 4096;

impl Bandwidths {
    /// Buckets of this many bytes a second; none at all without a rate.
    pub(crate) fn new(rate: Option<NonZeroU64>, waited: Waited) -> Self {
        Self { rate, owners: DashMap::new(), waited }
    }

    /// The bucket of an owner, if there are buckets.
    pub(crate) fn of(&self, owner: &str) -> Option<Arc<Bandwidth>> {
        let rate = self.rate?;
        if let Some(found) = self.owners.get(owner) {
            return Some(Arc::clone(&found));
        }
        // One that is kept too long costs little; one that goes too early would be full again for who comes back.
        self.owners.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full());
        let new =
            || Arc::new(Bandwidth { rate, paid: Mutex::new(Instant::now()), waited: self.waited.clone() });
        Some(Arc::clone(&self.owners.entry(owner.to_owned()).or_insert_with(new)))
    }
}

impl Bandwidth {
    /// No more than this should be taken at once, in bytes.
    pub(crate) fn largest_take(&self) -> usize {
        let take = (self.rate.get() / TAKES).max(SMALLEST_TAKE);
        usize::try_from(take).unwrap_or(usize::MAX)
    }

    /// Takes this many bytes; when more may be taken.
    fn take(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid = self.paid.lock();
        let full = now.checked_sub(BURST).unwrap_or(now);
        *paid = paid.max(full) + cost;
        if let Some(wait) = paid.checked_duration_since(now) {
            self.waited.inc_by(wait.as_secs_f64());
        }
        *paid
    }

    /// Takes this many bytes, and waits until more may be taken.
    ///
    /// # Cancel safety
    /// They are taken all the same.
    pub(crate) async fn spend(&self, bytes: usize) {
        tokio::time::sleep_until(self.take(bytes)).await;
    }

    fn is_full(&self) -> bool {
        self.paid.lock().checked_add(BURST).is_none_or(|full| full <= Instant::now())
    }
}

/// A stream that takes what is read from it and written to it from a bucket, and stands still while that is empty.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    inner: S,
    bucket: Option<Arc<Bandwidth>>,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// As fast as it goes, without a bucket.
    pub(crate) fn new(inner: S, bucket: Option<Arc<Bandwidth>>) -> Self {
        Self { inner, bucket, reading: None, writing: None }
    }

    pub(crate) fn into_inner(self) -> S {
        self.inner
    }
}

fn wait(sleep: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    if let Some(sleeping) = sleep {
        ready!(sleeping.as_mut().poll(cx));
        *sleep = None;
    }
    Poll::Ready(())
}

fn pay(bucket: &Bandwidth, bytes: usize) -> Option<Pin<Box<Sleep>>> {
    let until = bucket.take(bytes);
    (until > Instant::now()).then(|| Box::pin(tokio::time::sleep_until(until)))
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(bucket) = &this.bucket else { return Pin::new(&mut this.inner).poll_read(cx, buf) };
        ready!(wait(&mut this.reading, cx));
        let most = buf.remaining().min(bucket.largest_take());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        let count = part.filled().len();
        buf.advance(count);
        this.reading = pay(bucket, count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(bucket) = &this.bucket else { return Pin::new(&mut this.inner).poll_write(cx, bytes) };
        if this.writing.is_some() {
            // What was written before must not wait as well.
            let _ = Pin::new(&mut this.inner).poll_flush(cx)?;
        }
        ready!(wait(&mut this.writing, cx));
        let part = bytes.get(..bucket.largest_take()).unwrap_or(bytes);
        let count = ready!(Pin::new(&mut this.inner).poll_write(cx, part))?;
        this.writing = pay(bucket, count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const RATE: u64 = 100_000;

    fn buckets() -> Bandwidths {
        Bandwidths::new(NonZeroU64::new(RATE), Waited::default())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_takes_its_time_whoever_takes_it() {
        let buckets = buckets();
        let bucket = buckets.of("ada").unwrap();
        let started = Instant::now();
        let spend = async |bucket: Arc<Bandwidth>| {
            for _ in 0..50 {
                bucket.spend(2000).await;
            }
        };
        // Two connections, 200 000 bytes: 2 s, less the burst. Somebody else's do not count.
        tokio::join!(spend(Arc::clone(&bucket)), spend(buckets.of("ada").unwrap()), async {
            spend(buckets.of("bob").unwrap()).await;
            assert!(started.elapsed() <= Duration::from_millis(1010));
        });
        let elapsed = started.elapsed();
        assert!(
            (Duration::from_millis(1500)..=Duration::from_millis(2010)).contains(&elapsed),
            "{elapsed:?}"
        );
        assert!(buckets.waited.get() > 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_is_kept_until_it_is_full_again() {
        let buckets = buckets();
        buckets.of("ada").unwrap().take(500_000);
        buckets.of("bob").unwrap();
        assert!(buckets.owners.contains_key("ada"), "whoever comes back has an empty bucket still");
        tokio::time::sleep(Duration::from_secs(6)).await;
        buckets.of("cleo").unwrap();
        assert!(!buckets.owners.contains_key("ada") && !buckets.owners.contains_key("bob"));
        assert!(Bandwidths::new(None, Waited::default()).of("ada").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_paced_stream_carries_everything_slowly() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = Paced::new(near, buckets().of("ada"));
        let started = Instant::now();
        let sent: Vec<u8> = (0..300_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        near.write_all(&sent).await.unwrap();
        let written = started.elapsed();
        assert!(
            (Duration::from_millis(2400)..=Duration::from_millis(3010)).contains(&written),
            "{written:?}"
        );
        let mut received = vec![0; sent.len()];
        far.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        far.write_all(&sent).await.unwrap();
        near.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        assert!(started.elapsed() - written >= Duration::from_millis(2400));
    }
}
