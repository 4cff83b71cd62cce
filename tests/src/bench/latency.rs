//! Round trips of small messages over one connection.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::error::{BenchError, Context, Result};
use super::options::Load;
use super::report::{Better, Metric, Sample};
use super::target::{self, op};
use super::tunnel::Tunnel;

pub(crate) fn measure(tunnel: &Tunnel, load: &Load) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (size, p50, p99) in [(1, &BYTE_P50, &BYTE_P99), (1024, &KIB_P50, &KIB_P99)] {
        let times =
            ping_pong(tunnel, size, load.round_trips).context(format!("ping-pong of {size} bytes"))?;
        samples.push((p50, micros(percentile(&times, 50))));
        samples.push((p99, micros(percentile(&times, 99))));
    }
    Ok(samples)
}

/// The round-trip times, sorted.
fn ping_pong(tunnel: &Tunnel, size: usize, rounds: u32) -> Result<Vec<Duration>> {
    let mut stream = tunnel.connect()?;
    target::request(&mut stream, op::ECHO, size as u64).context("request")?;
    let (message, mut answer) = (vec![0x5A; size], vec![0; size]);
    for _ in 0..WARM_UP_ROUNDS {
        round_trip(&mut stream, &message, &mut answer)?;
    }
    let mut times = Vec::with_capacity(rounds as usize);
    for _ in 0..rounds {
        let start = Instant::now();
        round_trip(&mut stream, &message, &mut answer)?;
        times.push(start.elapsed());
    }
    if answer != message {
        return Err(BenchError::new("the answer is not what was sent"));
    }
    times.sort_unstable();
    Ok(times)
}

fn round_trip(stream: &mut TcpStream, message: &[u8], answer: &mut [u8]) -> Result<()> {
    stream.write_all(message).and_then(|()| stream.read_exact(answer)).context("round trip")
}

/// Nearest rank: the smallest time that `percent` of all times don't exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

static BYTE_P50: Metric = Metric::new("rtt 1 B p50", "us", Better::Lower);
static BYTE_P99: Metric = Metric::new("rtt 1 B p99", "us", Better::Lower);
static KIB_P50: Metric = Metric::new("rtt 1 KiB p50", "us", Better::Lower);
static KIB_P99: Metric = Metric::new("rtt 1 KiB p99", "us", Better::Lower);

const WARM_UP_ROUNDS: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&times, 50), Duration::from_micros(100));
        assert_eq!(percentile(&times, 99), Duration::from_micros(198));
        assert_eq!(percentile(&times[..1], 99), Duration::from_micros(1));
    }
}
