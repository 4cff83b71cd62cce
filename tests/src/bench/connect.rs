//! Connections a second: open, a byte there and back, close.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::net::SocketAddr;
use std::time::Instant;

use super::error::{BenchError, Context, Result};
use super::options::Load;
use super::report::{Better, Metric, Sample};
use super::target::{self, op};
use super::tunnel::Tunnel;

pub(crate) fn measure(tunnel: &Tunnel, load: &Load) -> Result<Vec<Sample>> {
    touch_in_a_row(tunnel.entry(), WARM_UP_CONNECTIONS)?;
    let count = load.connections;
    let sequential = rate(tunnel, count, || touch_in_a_row(tunnel.entry(), count))?;
    let each = count.div_ceil(PARALLEL);
    let parallel = rate(tunnel, each * PARALLEL, || touch_in_parallel(tunnel.entry(), each))?;
    Ok(vec![(&SEQUENTIAL, sequential), (&PARALLEL_16, parallel)])
}

/// The clock stops when the last close has reached the target, so that work put off until later counts.
fn rate(tunnel: &Tunnel, count: u32, load: impl FnOnce() -> Result<()>) -> Result<f64> {
    tunnel.target().wait_untouched()?;
    let start = Instant::now();
    load()?;
    tunnel.target().wait_untouched()?;
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn touch_in_a_row(entry: SocketAddr, count: u32) -> Result<()> {
    for number in 0..count {
        let mut stream = target::connect(entry).context(format!("connection {number}"))?;
        target::exchange(&mut stream, op::TOUCH).context(format!("connection {number}"))?;
    }
    Ok(())
}

fn touch_in_parallel(entry: SocketAddr, each: u32) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(|| touch_in_a_row(entry, each))).collect();
        let outcome = |joined: std::thread::Result<Result<()>>| {
            joined.unwrap_or_else(|_| Err(BenchError::new("a load thread panicked")))
        };
        threads.into_iter().try_for_each(|thread| outcome(thread.join()))
    })
}

static SEQUENTIAL: Metric = Metric::new("connect, 1 at a time", "1/s", Better::Higher);
static PARALLEL_16: Metric = Metric::new("connect, 16 at a time", "1/s", Better::Higher);

const PARALLEL: u32 = 16;
const WARM_UP_CONNECTIONS: u32 = 20;
