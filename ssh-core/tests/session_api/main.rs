//! What the document says of sessions and channels, a rule a test; a peer by hand where the wire has to be seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod closing;
mod coming_back;
mod data;
mod ends;
mod metrics;
mod requests;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use ssh_core::config::Limits;
use ssh_core::{Channel, Session};
use support::raw::{Raw, message, string};

/// Long enough for whatever is to come, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A channel that a peer by hand has opened; its number 7 stands on the wire.
async fn by_hand(limits: Limits, window: u32, packet: u32) -> (Raw, Session, Channel, u32) {
    let (mut raw, session) = Raw::with_server(limits).await;
    let (channel, id) = tokio::join!(session.accept_channel(None), raw.open(b"session", window, packet));
    (raw, session, channel.unwrap(), id)
}

fn data(channel: u32, text: &[u8]) -> Vec<u8> {
    message(94, &[&channel.to_be_bytes(), &string(text)])
}

async fn channels(client: &Session, server: &Session) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    (opened.unwrap(), accepted.unwrap())
}

fn limits_of(window: u32) -> Limits {
    let mut limits = Limits::default();
    (limits.channel_window, limits.max_channel_window) = (window, window);
    limits
}
