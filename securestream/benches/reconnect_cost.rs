//! What being able to reconnect costs in bulk throughput: pairs of transfers, one with and one without, in turns so that both
//! see the same machine. The target is a median of at most 15 % over TCP. Time and CPU time are told; the latter
//! is less disturbed by whatever else runs.
//!
//! `cargo bench -p securestream --bench reconnect_cost -- [PAIRS] [MIB]`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark, which asks the clock"
)]

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use securestream::SecureStream;
use securestream::ssh_core::crypto::{CryptoProvider, aws_lc, rustcrypto};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

#[path = "support/mod.rs"]
mod support;

use support::{Mode, connect_over, pump};

/// What the streams go over.
#[derive(Debug, Clone, Copy)]
enum Below {
    Tcp,
    Memory,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let pairs = numbers.next().unwrap_or(15);
    let mib = numbers.next().unwrap_or(512);
    let runtime = Runtime::new().unwrap();
    println!("{pairs} pairs of {mib} MiB; min / median / max");
    for (name, provider) in [("aws-lc", &aws_lc::PROVIDER), ("rustcrypto", &rustcrypto::PROVIDER)] {
        for below in [Below::Tcp, Below::Memory] {
            for size in [32 * 1024, 1024] {
                let run = |mode| runtime.block_on(measure(below, mode, provider, mib, size));
                println!("{name}, {below:?}, writes of {size} bytes:");
                compare(pairs, mib, run);
            }
        }
    }
}

fn compare(pairs: u32, mib: u32, run: impl Fn(Mode) -> (Duration, Duration)) {
    let (mut off, mut on, mut cost, mut cpu_cost) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (without, with) = if pair % 2 == 0 {
            let without = run(Mode::Plain);
            (without, run(Mode::Reconnect))
        } else {
            let with = run(Mode::Reconnect);
            (run(Mode::Plain), with)
        };
        let speed = |time: Duration| f64::from(mib) / time.as_secs_f64();
        off.push(speed(without.0));
        on.push(speed(with.0));
        cost.push((1.0 - speed(with.0) / speed(without.0)) * 100.0);
        cpu_cost.push((with.1.as_secs_f64() / without.1.as_secs_f64() - 1.0) * 100.0);
    }
    println!("  off         {} MiB/s", spread(&mut off));
    println!("  on          {} MiB/s", spread(&mut on));
    println!("  slower by   {} %", spread(&mut cost));
    println!("  CPU more by {} %", spread(&mut cpu_cost));
}

/// The time, and the CPU time of both ends.
async fn measure(
    below: Below,
    mode: Mode,
    provider: &'static CryptoProvider,
    mib: u32,
    size: usize,
) -> (Duration, Duration) {
    const MIB: usize = 1024 * 1024;
    let mut pair = match below {
        Below::Tcp => over_tcp(mode, provider).await,
        Below::Memory => {
            let (near, far) = tokio::io::duplex(256 * 1024);
            connect_over(near, far, mode, provider).await
        }
    };
    // Windows and buffers have to grow first.
    pump(&mut pair, 32 * MIB, size).await;
    let (start, cpu) = (Instant::now(), cpu_time());
    pump(&mut pair, mib as usize * MIB, size).await;
    (start.elapsed(), cpu_time().saturating_sub(cpu))
}

async fn over_tcp(mode: Mode, provider: &'static CryptoProvider) -> (SecureStream, SecureStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    connect_over(near.unwrap(), far.unwrap().0, mode, provider).await
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.1} / {:.1} / {:.1}", at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}
