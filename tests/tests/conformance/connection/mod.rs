//! RFC 4254.

mod ends;
mod opening;
mod requests;
mod windows;

use std::task::{Context, Poll, Waker};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, RawPeer, message};

const PROTOCOL_ERROR: u32 = 2;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn logged_in(role: Role) -> RawPeer {
    limited(role, |_| {})
}

fn limited(role: Role, change: impl FnOnce(&mut Limits)) -> RawPeer {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut peer = RawPeer::with(role, Algorithms::default(), limits);
    peer.log_in();
    peer
}

fn number(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// A channel that the engine opened and we confirmed.
fn confirmed(peer: &mut RawPeer, window: u32, max_packet: u32) -> u32 {
    let id = peer.engine.open_channel("session", b"", peer.now).unwrap();
    peer.pull();
    peer.send(&message(91, &[Field::U32(id), Field::U32(77), Field::U32(window), Field::U32(max_packet)]));
    assert!(matches!(peer.engine.poll_opened(id, &mut cx()), Poll::Ready(Ok(_))));
    peer.received.clear();
    id
}

fn read_all(peer: &mut RawPeer, id: u32) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; 5000];
    while let Poll::Ready(Ok(n @ 1..)) = peer.engine.poll_read(id, &cx(), &mut buffer) {
        all.extend_from_slice(&buffer[..n]);
    }
    peer.pull();
    all
}

fn write(peer: &mut RawPeer, id: u32, bytes: &[u8]) -> Poll<Result<usize, Error>> {
    let written = peer.engine.poll_write(id, &cx(), &[std::io::IoSlice::new(bytes)]);
    peer.pull();
    written
}
