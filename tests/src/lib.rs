//! The test harness: the `adit` binary, real peers, tunnels between them, and what is sent through.
#![forbid(unsafe_code)]

pub mod adit;
pub mod algorithms;
pub mod cases;
pub mod endpoint;
pub mod keys;
pub mod mistake;
pub mod outcome;
pub mod peers;
pub mod process;
pub mod proxy;
pub mod scenarios;
pub mod traffic;
