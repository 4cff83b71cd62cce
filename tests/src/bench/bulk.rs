//! Throughput and CPU time of one connection, each direction.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::io;
use std::net::TcpStream;
use std::time::Instant;

use super::error::{BenchError, Context, Result};
use super::options::Load;
use super::pattern::Pattern;
use super::report::{Better, Metric, Sample};
use super::target::{self, op};
use super::tunnel::Tunnel;

pub(crate) fn measure(tunnel: &Tunnel, load: &Load) -> Result<Vec<Sample>> {
    let bytes = load.bulk_bytes();
    let mut samples = upload(tunnel, bytes).context("upload")?;
    samples.extend(download(tunnel, bytes).context("download")?);
    Ok(samples)
}

fn upload(tunnel: &Tunnel, bytes: u64) -> Result<Vec<Sample>> {
    let pattern = Pattern::new();
    let mut stream = tunnel.connect()?;
    send(&mut stream, &pattern, op::UPLOAD_CHECKED, WARM_UP_BYTES)?;
    let timed = Timed::run(tunnel, || send(&mut stream, &pattern, op::UPLOAD, bytes))?;
    Ok(timed.samples(bytes, &UPLOAD, &UPLOAD_CPU))
}

fn download(tunnel: &Tunnel, bytes: u64) -> Result<Vec<Sample>> {
    let mut stream = tunnel.connect()?;
    let pattern = Pattern::new();
    receive(&mut stream, WARM_UP_BYTES, |stream, length| pattern.receive_checked(stream, length))?;
    let timed = Timed::run(tunnel, || receive(&mut stream, bytes, Pattern::receive))?;
    Ok(timed.samples(bytes, &DOWNLOAD, &DOWNLOAD_CPU))
}

/// Sends, and waits until the sink confirms the last byte.
fn send(stream: &mut TcpStream, pattern: &Pattern, op: u8, bytes: u64) -> Result<()> {
    target::request(stream, op, bytes).context("request")?;
    pattern.send(stream, bytes).context("sending")?;
    complete(target::read_u64(stream).context("confirmation")?, bytes)
}

fn receive(
    stream: &mut TcpStream,
    bytes: u64,
    read: impl FnOnce(&mut TcpStream, u64) -> io::Result<u64>,
) -> Result<()> {
    target::request(stream, op::DOWNLOAD, bytes).context("request")?;
    complete(read(stream, bytes).context("receiving")?, bytes)
}

fn complete(got: u64, bytes: u64) -> Result<()> {
    if got == bytes {
        return Ok(());
    }
    Err(BenchError::new(format!("{got} of {bytes} bytes arrived intact")))
}

struct Timed {
    seconds: f64,
    cpu_seconds: Option<f64>,
}

impl Timed {
    fn run(tunnel: &Tunnel, transfer: impl FnOnce() -> Result<()>) -> Result<Self> {
        let cpu_before = tunnel.cpu_seconds()?;
        let start = Instant::now();
        transfer()?;
        let seconds = start.elapsed().as_secs_f64();
        let cpu_after = tunnel.cpu_seconds()?;
        Ok(Self { seconds, cpu_seconds: cpu_after.zip(cpu_before).map(|(after, before)| after - before) })
    }

    fn samples(&self, bytes: u64, speed: &'static Metric, cpu: &'static Metric) -> Vec<Sample> {
        let gib = bytes as f64 / (1024.0 * 1024.0 * 1024.0);
        let mut samples = vec![(speed, gib / self.seconds)];
        samples.extend(self.cpu_seconds.map(|seconds| (cpu, seconds / gib)));
        samples
    }
}

static UPLOAD: Metric = Metric::new("upload", "GiB/s", Better::Higher);
static UPLOAD_CPU: Metric = Metric::new("upload cpu", "s/GiB", Better::Lower);
static DOWNLOAD: Metric = Metric::new("download", "GiB/s", Better::Higher);
static DOWNLOAD_CPU: Metric = Metric::new("download cpu", "s/GiB", Better::Lower);

/// Opens channel and TCP windows, and proves on the way that the bytes arrive as they were sent.
const WARM_UP_BYTES: u64 = 32 * 1024 * 1024;
