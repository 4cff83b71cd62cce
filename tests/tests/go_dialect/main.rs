//! A peer that behaves on the wire as the Go implementation of Dev Tunnels SSH does, by its public source. It is not that
//! implementation: what is read here is facts about orders, payloads and keys, and each is played by a scripted peer.
//!
//! What Go shares with TypeScript is tested against the npm packages themselves; this holds what Go alone does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod channel_ends;
mod channels;
mod ends;
mod forwarding;
mod go_peer;
mod handshake;
mod login;
mod new_keys;
mod plain_peer;
mod reconnect;
mod signs_of_life;
mod streams;
