//! How a client logs in, against a server that says whatever a test wants said.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod methods;
mod orders;
mod policy;
mod queries;
mod support;
mod wire;
