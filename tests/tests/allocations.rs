//! Memory: what a packet costs in steady state, and what unread data can pin.
//!
//! One test, because the counter is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::alloc::System;
use std::io::IoSlice;
use std::task::{Context, Poll, Waker};

use ssh_core::config::{Algorithms, Limits};
use ssh_core::protocol::{Engine, Inbound, Input, Packet, Role};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tests::pair::{Pair, Setup, start_of_time};
use tests::raw_peer::{Field, RawPeer, data, message};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn memory() {
    for cipher in ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr"] {
        for len in [32 * 1024, 1024] {
            bulk_transfer_allocates_nothing_per_packet(cipher, len);
        }
    }
    small_unread_messages_do_not_pin_large_blocks(100, 4);
    small_unread_messages_do_not_pin_large_blocks(2100, 4);
    small_unread_messages_do_not_pin_large_blocks(15_000, 4);
}

/// What the driver reads at most at a time.
const LARGEST_READ: usize = 512 * 1024;

/// From `poll_write` to `poll_read`, as the driver moves it, without its socket.
fn bulk_transfer_allocates_nothing_per_packet(cipher: &str, len: usize) {
    let algorithms = Setup::default().algorithms.with_ciphers(cipher).unwrap();
    let mut limits = Limits::default();
    limits.channel_window = 4 << 20;
    let setup = Setup { algorithms, client: limits.clone(), server: limits, ..Setup::default() };
    let mut pair = Pair::new(&setup, 1);
    pair.login();
    let sent_on = pair.client.engine.open_channel("session", b"", pair.now).unwrap();
    pair.settle();
    let received_on = pair.server.offered().unwrap();
    pair.server.engine.accept_channel(received_on, b"").unwrap();
    pair.settle();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pair.client.engine.poll_opened(sent_on, &mut cx).is_ready());

    let mut wire = Wire::default();
    let message = vec![7; len];
    let mut buffer = vec![0; 1 << 20];
    let mut round = |packets: usize| {
        let mut moved = 0;
        while moved < packets {
            while let Poll::Ready(Ok(_)) =
                pair.client.engine.poll_write(sent_on, &cx, &[IoSlice::new(&message)])
            {
                moved += 1;
            }
            pair.client.engine.take_output(&mut wire.bytes, start_of_time());
            wire.deliver(&mut pair.server.engine, &mut pair.server.inbound);
            while let Poll::Ready(Ok(1..)) = pair.server.engine.poll_read(received_on, &cx, &mut buffer) {}
            pair.server.engine.take_output(&mut wire.bytes, start_of_time());
            wire.deliver(&mut pair.client.engine, &mut pair.client.inbound);
        }
        moved
    };
    round(600);
    let region = Region::new(COUNTED);
    let packets = round(1500);
    let change = region.change();
    let calls = change.allocations + change.reallocations;
    let each = calls as f64 / packets as f64;
    println!("{cipher}, {len} bytes: {each:.4} allocations a packet");
    // A block of the read buffer, and what counts who has a piece of it, for the 8 large packets of a batch.
    let allowed = if len > 8192 { 0.25 } else { 0.05 };
    assert!(each < allowed, "{cipher}, {len} bytes: {each} allocations a packet ({change:?})");
}

#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    batch: Vec<Packet>,
}

impl Wire {
    fn deliver(&mut self, engine: &mut Engine, inbound: &mut Inbound) {
        for piece in self.bytes.chunks(LARGEST_READ) {
            inbound.buffer().reserve(LARGEST_READ);
            inbound.buffer().extend_from_slice(piece);
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
