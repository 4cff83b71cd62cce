//! Memory of a stream that does nothing.

use std::net::TcpStream;
use std::time::Duration;

use super::error::{BenchError, Context, Result};
use super::options::ForwardOptions;
use super::report::{Better, Metric, Sample};
use super::target::{self, op};
use super::tunnel::Tunnel;

/// Wants a fresh tunnel: heap that earlier transfers left behind would hide what the streams take.
pub(crate) fn measure(tunnel: &Tunnel, options: &ForwardOptions) -> Result<Vec<Sample>> {
    tunnel.target().wait_untouched()?;
    std::thread::sleep(SETTLE);
    let before = ends(tunnel)?;
    let streams = open(tunnel, options.idle_streams)?;
    std::thread::sleep(SETTLE);
    let after = ends(tunnel)?;

    let count = streams.len() as f64;
    let [client, server] = [0, 1].map(|end| (after[end] as f64 - before[end] as f64) / count);
    Ok(vec![
        (&PER_STREAM, client + server),
        (&PER_STREAM_CLIENT, client),
        (&PER_STREAM_SERVER, server),
        (&BASE, (before[0] + before[1]) as f64),
        (&STREAMS, count),
    ])
}

/// KiB of client and server.
fn ends(tunnel: &Tunnel) -> Result<[u64; 2]> {
    <[u64; 2]>::try_from(tunnel.resident()?).map_err(|_| BenchError::new("a forward has two ends"))
}

/// Opens as many as work, up to `wanted`; a few hundred still give a usable average.
fn open(tunnel: &Tunnel, wanted: u32) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for number in 0..wanted {
        let opened = target::connect(tunnel.entry()).and_then(|mut stream| {
            target::exchange(&mut stream, op::PARK)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => streams.push(stream),
            Err(error) if streams.len() >= ENOUGH.min(wanted as usize) => {
                eprintln!("bench-forward: stopped at {number} idle streams: {error}");
                break;
            }
            Err(error) => return Err(error).context(format!("idle stream {number}")),
        }
    }
    if streams.is_empty() { Err(BenchError::new("no idle stream could be opened")) } else { Ok(streams) }
}

static PER_STREAM: Metric = Metric::new("idle stream, both", "KiB", Better::Lower);
static PER_STREAM_CLIENT: Metric = Metric::new("idle stream, client", "KiB", Better::Lower);
static PER_STREAM_SERVER: Metric = Metric::new("idle stream, server", "KiB", Better::Lower);
static BASE: Metric = Metric::new("rss, no stream, both", "KiB", Better::Lower);
static STREAMS: Metric = Metric::new("idle streams opened", "", Better::Higher);

/// Long enough for the processes to finish what the last connection started.
const SETTLE: Duration = Duration::from_millis(300);
const ENOUGH: usize = 100;
