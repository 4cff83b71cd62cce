//! The test harness: real peers, scripted links, pairs of engines.
#![forbid(unsafe_code)]

pub mod link;
pub mod pair;
pub mod random;
pub mod raw_peer;
pub mod vectors;
