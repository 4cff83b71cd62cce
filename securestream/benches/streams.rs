//! Throughput and set-up cost of streams over an in-memory stream, with and without reconnecting.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

#[path = "support/mod.rs"]
mod support;

use support::{Mode, connect, pump};

const TRANSFER: usize = 16 * 1024 * 1024;

fn bulk(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("bulk");
    group.throughput(Throughput::Bytes(TRANSFER as u64)).sample_size(10);
    for mode in [Mode::Plain, Mode::Reconnect] {
        for size in [1024, 32 * 1024] {
            group.bench_function(format!("{mode:?}, writes of {size}"), |b| {
                let mut pair = runtime.block_on(connect(mode));
                b.iter(|| runtime.block_on(pump(&mut pair, TRANSFER, size)));
            });
        }
    }
    group.finish();
}

fn set_up(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("connect and close");
    group.sample_size(30);
    for mode in [Mode::Plain, Mode::Reconnect] {
        group.bench_function(format!("{mode:?}"), |b| {
            b.iter(|| runtime.block_on(async { drop(connect(mode).await) }));
        });
    }
    group.finish();
}

criterion_group!(benches, bulk, set_up);
criterion_main!(benches);
