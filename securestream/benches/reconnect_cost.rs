//! What being able to reconnect costs in bulk throughput: pairs of transfers, one with and one without, in turns so that both
//! see the same machine. The target is a median of at most 15 %.
//!
//! `cargo bench -p securestream --bench reconnect_cost -- [PAIRS] [MIB]`
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark, which asks the clock"
)]

use std::time::Instant;

use securestream::ssh_core::crypto::{CryptoProvider, aws_lc, rustcrypto};
use tokio::runtime::Runtime;

#[path = "support/mod.rs"]
mod support;

use support::{Mode, connect_with, pump};

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let pairs = numbers.next().unwrap_or(15);
    let mib = numbers.next().unwrap_or(256);
    let runtime = Runtime::new().unwrap();
    println!("{pairs} pairs of {mib} MiB; min / median / max");
    for (name, provider) in [("aws-lc", &aws_lc::PROVIDER), ("rustcrypto", &rustcrypto::PROVIDER)] {
        for size in [1024, 32 * 1024] {
            let (mut off, mut on, mut cost) = (Vec::new(), Vec::new(), Vec::new());
            for pair in 0..pairs {
                let run = |mode| runtime.block_on(mib_per_second(mode, provider, mib, size));
                let (without, with) = if pair % 2 == 0 {
                    let without = run(Mode::Plain);
                    (without, run(Mode::Reconnect))
                } else {
                    let with = run(Mode::Reconnect);
                    (run(Mode::Plain), with)
                };
                off.push(without);
                on.push(with);
                cost.push((1.0 - with / without) * 100.0);
            }
            println!("{name}, writes of {size} bytes:");
            println!("  off  {} MiB/s", spread(&mut off));
            println!("  on   {} MiB/s", spread(&mut on));
            println!("  cost {} %", spread(&mut cost));
        }
    }
}

async fn mib_per_second(mode: Mode, provider: &'static CryptoProvider, mib: u32, size: usize) -> f64 {
    const MIB: usize = 1024 * 1024;
    let mut pair = connect_with(mode, provider).await;
    // Windows and buffers have to grow first.
    pump(&mut pair, 16 * MIB, size).await;
    let start = Instant::now();
    pump(&mut pair, mib as usize * MIB, size).await;
    f64::from(mib) / start.elapsed().as_secs_f64()
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.1} / {:.1} / {:.1}", at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}
