//! What an idle stream costs. One test, because the counter is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::alloc::System;

use multichannel::{Config, MultiChannelStream, Role};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 2000;
/// Bytes for one end of one idle stream, its place in tables included. The README names the measured figure.
const MOST: usize = 640;

#[tokio::test]
async fn an_idle_stream_costs_a_few_hundred_bytes() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let near = MultiChannelStream::new(near, Role::Client, &Config::default());
    let far = MultiChannelStream::new(far, Role::Server, &Config::default());
    let mut streams = Vec::with_capacity(STREAMS + 1);
    open(&near, &far, &mut streams, 1).await;
    let before = Region::new(COUNTED);
    open(&near, &far, &mut streams, STREAMS).await;
    let change = before.change();
    let kept = change.bytes_allocated - change.bytes_deallocated;
    let each = kept / (2 * STREAMS);
    println!("{each} bytes for one end of an idle stream");
    assert!(each <= MOST, "{each} bytes for one end of an idle stream");
}

/// Each has carried a few bytes both ways before it is idle.
async fn open(
    near: &MultiChannelStream,
    far: &MultiChannelStream,
    streams: &mut Vec<(multichannel::Channel, multichannel::Channel)>,
    count: usize,
) {
    for _ in 0..count {
        let (opened, accepted) = tokio::join!(near.open_stream(""), far.accept_stream(None));
        let (mut near, mut far) = (opened.unwrap(), accepted.unwrap());
        near.write_u64(1).await.unwrap();
        let said = far.read_u64().await.unwrap();
        far.write_u64(said).await.unwrap();
        assert_eq!(near.read_u64().await.unwrap(), 1);
        streams.push((near, far));
    }
}
