//! The test harness: the `adit` binary, real peers, tunnels between them, and what is sent through; engines without
//! either, on a clock and a network that are moved by hand.
#![forbid(unsafe_code)]

pub mod adit;
pub mod algorithms;
#[expect(clippy::panic, reason = "a harness fails by panicking")]
pub mod backend;
#[cfg(target_os = "linux")]
pub mod bench;
pub mod cases;
pub mod delay;
#[expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod driven;
pub mod endpoint;
pub mod evil_relay;
pub mod flows;
pub mod interop_driver;
pub mod keys;
pub mod link;
#[cfg(target_os = "linux")]
pub mod memory;
pub mod mistake;
#[cfg(target_os = "linux")]
pub mod network;
pub mod outcome;
#[expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod pair;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod random;
#[expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod raw_peer;
pub mod relay;
pub mod scenarios;
#[expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod scripted_server;
#[expect(clippy::unwrap_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod simulation;
#[expect(clippy::expect_used, clippy::panic, reason = "a harness fails by panicking")]
pub mod sources;
#[cfg(target_os = "linux")]
pub mod terminal;
pub mod traffic;
pub mod tunnel;
#[expect(clippy::panic, reason = "a harness fails by panicking")]
pub mod vectors;
pub mod wire;
