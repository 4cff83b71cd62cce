//! A relay from outside, over TCP: its HTTP side byte by byte, its WebSockets frame by frame, sessions on them.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bandwidth;
mod comeback;
mod common;
mod connections;
mod frames;
mod joined;
mod management;
mod renewal;
mod requests;
mod rights;
mod sessions;
mod storm;
