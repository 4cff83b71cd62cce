//! The conformance suite on the other backend.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "conformance/authentication/mod.rs"]
mod authentication;
#[path = "conformance/connection/mod.rs"]
mod connection;
#[path = "conformance/exchange.rs"]
mod exchange;
#[path = "conformance/limits.rs"]
mod limits;
#[path = "conformance/negotiation.rs"]
mod negotiation;
#[path = "conformance/packets.rs"]
mod packets;
#[path = "conformance/strict.rs"]
mod strict;
#[path = "conformance/version.rs"]
mod version;

#[test]
fn it_is_the_other_backend() {
    assert!(std::env::var("ADIT_TEST_BACKEND").is_ok() || tests::backend::is_second());
}
