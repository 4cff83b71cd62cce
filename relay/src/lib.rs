#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod access;
mod access_token;
mod backoff;
mod bandwidth;
pub mod client;
mod client_leg;
pub mod clock;
pub mod config;
mod database;
pub mod dial;
mod expiry;
mod forwarded;
mod frame_guard;
mod guard;
pub mod host;
mod host_leg;
mod join;
mod leg;
pub mod link;
mod live;
mod management;
mod metrics;
pub mod model;
pub mod problem;
mod rate;
pub mod relay;
mod roaming;
pub mod scopes;
mod server;
mod sessions;
mod status;
pub mod store;
pub mod tls;
pub mod tokens;
mod upgrade;
pub mod websocket_stream;
mod wire;

pub use access_token::AccessToken;
pub use config::Config;
pub use relay::Relay;
pub use server::Server;

/// What a peer sent, fit to be shown: without control characters, and cut at 256 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_default).collect()
}

/// An error and its causes, joined by colons, for a log: a field that holds an error shows its first line alone.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
