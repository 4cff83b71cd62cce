//! A scripted peer that breaks one rule a case: what the engine says about it, here and on the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod authentication;
mod certificates;
mod connection;
mod connection_info;
mod exchange;
mod limits;
mod negotiation;
mod packets;
mod reconnecting;
mod server_login;
mod strict;
mod version;
