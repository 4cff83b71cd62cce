//! What Dev Tunnels' Go library does on the wire and its TypeScript one, against which the interoperability tests run,
//! does not. The peers are scripted: they send what the Go library sends, in its order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod channel_ends;
mod channels;
mod forwarding;
mod plain_peer;
mod streams;
