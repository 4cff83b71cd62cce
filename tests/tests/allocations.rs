//! Memory: what a packet costs in steady state, and what unread data can pin.
//!
//! One test, because the counter is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::alloc::System;
use std::io::IoSlice;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{CryptoProvider, aws_lc, rustcrypto};
use ssh_core::protocol::{Engine, Inbound, Input, Packet, Role};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tests::driven;
use tests::pair::{Pair, Setup, start_of_time};
use tests::raw_peer::{Field, RawPeer, data, message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn memory() {
    for cipher in ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"] {
        for len in [32 * 1024, 9000, 1024] {
            for read in [Read::Copy, Read::Chunks] {
                bulk_transfer_allocates_nothing_per_packet(&aws_lc::PROVIDER, cipher, len, read);
            }
        }
    }
    // Slow in a build that is not optimised, so once.
    let cipher = "aes256-gcm@openssh.com";
    bulk_transfer_allocates_nothing_per_packet(&rustcrypto::PROVIDER, cipher, 1024, Read::Chunks);
    for len in [32 * 1024, 1024] {
        for read in [Read::Copy, Read::Chunks] {
            neither_does_the_driver(len, read);
        }
    }
    small_unread_messages_do_not_pin_large_blocks(100, 4);
    small_unread_messages_do_not_pin_large_blocks(2100, 4);
    small_unread_messages_do_not_pin_large_blocks(15_000, 4);
    for len in [1, 10, 3000] {
        extended_data_to_be_passed_on_takes_about_its_window(len, &[1], 2);
        // Each change of type is noted.
        extended_data_to_be_passed_on_takes_about_its_window(len, &[1, 2], 2 + 20 / len);
    }
}

/// What the driver reads at most at a time.
const LARGEST_READ: usize = 1024 * 1024;
/// Receiving is bursty: one burst may find a block or a list of chunks too small, the next ones find them large enough.
const RECEIVING: f64 = 0.005;

#[derive(Clone, Copy, Debug)]
enum Read {
    /// Into the application's buffer.
    Copy,
    /// As slices of the blocks that were read into.
    Chunks,
}

/// Calls of the allocator, as they are counted around a piece of work.
fn counted(calls: &mut usize, work: impl FnOnce()) {
    let region = Region::new(COUNTED);
    work();
    let change = region.change();
    *calls += change.allocations + change.reallocations;
}

/// From `poll_write` to `poll_read`, as the driver moves it, without its socket.
fn bulk_transfer_allocates_nothing_per_packet(
    provider: &'static CryptoProvider,
    cipher: &str,
    len: usize,
    read: Read,
) {
    let algorithms = Setup::default().algorithms.with_ciphers(cipher).unwrap();
    let mut limits = Limits::default();
    limits.channel_window = 4 << 20;
    let setup = Setup { algorithms, client: limits.clone(), server: limits, provider, ..Setup::default() };
    let mut pair = Pair::new(&setup, 1);
    pair.login();
    let sent_on = pair.client.engine.open_channel("session", b"", pair.now).unwrap();
    pair.settle();
    let received_on = pair.server.offered().unwrap();
    pair.server.engine.accept_channel(received_on, b"").unwrap();
    pair.settle();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pair.client.engine.poll_opened(sent_on, &mut cx).is_ready());

    let (mut there, mut back) = (Wire::default(), Wire::default());
    let message = vec![7; len];
    let mut buffer = vec![0; 1 << 20];
    let mut chunks: Vec<Bytes> = Vec::with_capacity(64);
    let (mut sending, mut receiving) = (0, 0);
    let mut round = |packets: usize, sending: &mut usize, receiving: &mut usize| {
        let mut moved = 0;
        while moved < packets {
            counted(sending, || {
                while let Poll::Ready(Ok(_)) =
                    pair.client.engine.poll_write(sent_on, &cx, &[IoSlice::new(&message)])
                {
                    moved += 1;
                }
                pair.client.engine.take_output(&mut there.bytes, start_of_time());
                pair.client.settle();
            });
            counted(receiving, || {
                there.deliver(&mut pair.server.engine, &mut pair.server.inbound);
                let engine = &mut pair.server.engine;
                match read {
                    Read::Copy => {
                        while let Poll::Ready(Ok(1..)) = engine.poll_read(received_on, &cx, &mut buffer) {}
                    }
                    Read::Chunks => {
                        while let Poll::Ready(Ok(1..)) =
                            engine.poll_read_chunks(received_on, &cx, 1 << 20, 64, &mut chunks)
                        {
                            chunks.clear();
                        }
                    }
                }
            });
            // The window adjusts go the other way.
            counted(receiving, || {
                pair.server.engine.take_output(&mut back.bytes, start_of_time());
                pair.server.settle();
            });
            counted(sending, || back.deliver(&mut pair.client.engine, &mut pair.client.inbound));
        }
        moved
    };
    // Until the output and what it is exchanged for are as large as they get.
    round((24 << 20) / len.max(4096), &mut 0, &mut 0);
    let packets = round((16 << 20) / len.max(8192), &mut sending, &mut receiving) as f64;
    let what = format!("{}, {cipher}, {len} bytes, {read:?}", provider.name);
    println!("{what}: {sending} and {receiving} allocations to send and to receive {packets} packets");
    // A list or a buffer may grow once more than before.
    assert!(sending <= 1, "{what}: {sending} allocations to send {packets} packets");
    assert!(receiving as f64 / packets < RECEIVING, "{what}: {receiving} allocations for {packets} packets");
}

/// The same through the driver and a duplex stream in memory, both ways counted together.
fn neither_does_the_driver(len: usize, read: Read) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, server) =
            driven::pair(&driven::Settings { provider: &aws_lc::PROVIDER, ..Default::default() }).await;
        let (writer, reader) = driven::channel(&client, &server).await;
        let (_keep_reading, mut writer) = writer.split();
        let (mut reader, _keep_writing) = reader.split();
        let message = vec![7; len];
        let mut buffer = vec![0; 1 << 18];
        let mut chunks: Vec<Bytes> = Vec::with_capacity(64);
        let mut transfer = async |packets: usize| {
            let write = async {
                for _ in 0..packets {
                    writer.write_all(&message).await.unwrap();
                }
            };
            let read = async {
                let mut left = packets * len;
                while left > 0 {
                    left -= match read {
                        Read::Copy => reader.read(&mut buffer).await.unwrap(),
                        Read::Chunks => {
                            chunks.clear();
                            reader.read_chunks(1 << 20, 64, &mut chunks).await.unwrap()
                        }
                    };
                }
            };
            tokio::join!(write, read);
        };
        let packets = (32 << 20) / len.max(4096);
        transfer(packets).await;
        let region = Region::new(COUNTED);
        transfer(packets).await;
        let change = region.change();
        let calls = change.allocations + change.reallocations;
        println!("driver, {len} bytes, {read:?}: {calls} allocations for {packets} packets");
        assert!((calls as f64) < RECEIVING * packets as f64, "{len} bytes, {read:?}: {calls} for {packets}");
    });
}

#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    batch: Vec<Packet>,
}

impl Wire {
    fn deliver(&mut self, engine: &mut Engine, inbound: &mut Inbound) {
        for piece in self.bytes.chunks(LARGEST_READ) {
            inbound.reserve(LARGEST_READ).extend_from_slice(piece);
            while let Some(input) = inbound.poll().unwrap() {
                if let Input::Packet(packet) = input {
                    self.batch.push(packet);
                }
            }
            for packet in self.batch.drain(..) {
                engine.handle_packet(packet, start_of_time()).unwrap();
            }
        }
    }
}

/// A peer that sends a little data in every block of other traffic must not make us keep the blocks.
fn small_unread_messages_do_not_pin_large_blocks(len: usize, channels: u32) {
    let mut peer = RawPeer::with(Role::Server, Algorithms::default(), Limits::default());
    peer.log_in();
    let ids: Vec<u32> = (0..channels).map(|ours| peer.open_channel(ours, 1 << 20, 1 << 15)).collect();
    let filler = message(2, &[Field::Bytes(&vec![0; 200_000])]);
    let payload = vec![1; len];
    let before = Region::new(COUNTED);
    let mut sent = 0;
    let mut wire = Vec::new();
    for block in 0..120 {
        wire.clear();
        wire.extend(peer.seal(&data(ids[block % ids.len()], &payload)));
        sent += len;
        for _ in 0..2 {
            wire.extend(peer.seal(&filler));
        }
        peer.inbound.buffer().reserve(LARGEST_READ);
        peer.send_bytes(&wire);
    }
    peer.assert_alive();
    let change = before.change();
    let kept = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!("{sent} unread bytes in messages of {len} keep {kept} bytes");
    // As many blocks as channels, and one that is being filled; and the copies.
    let allowed = (channels as usize + 3) * LARGEST_READ + 3 * sent + (2 << 20);
    assert!(kept < allowed, "{sent} unread bytes in messages of {len} keep {kept} bytes");
}

/// What a pipe holds of extended data that its other end does not take: `times` what the peer may send, and the room that
/// short messages share.
fn extended_data_to_be_passed_on_takes_about_its_window(len: usize, codes: &[u32], times: usize) {
    const WINDOW: u32 = 256 * 1024;
    const SHARED: usize = 512 * 1024;
    const READ: usize = 64 * 1024;
    let mut limits = Limits::default();
    (limits.channel_window, limits.max_channel_window) = (WINDOW, WINDOW);
    let mut peer = RawPeer::with(Role::Server, Algorithms::default(), limits);
    peer.log_in();
    let id = peer.open_channel(0, 1 << 20, 1 << 15);
    peer.engine.keep_extended(id);
    let payload = vec![1; len];
    let mut codes_in_turn = codes.iter().cycle();
    let before = Region::new(COUNTED);
    let (mut sent, mut wire) = (0, Vec::new());
    while sent + len <= WINDOW as usize {
        wire.clear();
        while wire.len() < READ / 2 && sent + len <= WINDOW as usize {
            let code = codes_in_turn.next().copied().unwrap_or_default();
            let fields = [Field::U32(id), Field::U32(code), Field::Bytes(&payload)];
            wire.extend(peer.seal(&message(95, &fields)));
            sent += len;
        }
        peer.inbound.buffer().reserve(READ);
        peer.send_bytes(&wire);
    }
    peer.assert_alive();
    let change = before.change();
    let kept = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!("{sent} bytes of extended data in messages of {len}, types {codes:?}, keep {kept} bytes");
    // The blocks that were read into are the session's.
    assert!(kept < times * sent + SHARED + 8 * READ, "{len} {codes:?}: {kept} bytes for {sent}");
}
