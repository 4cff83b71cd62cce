//! A self-hosted relay that speaks the Dev Tunnels relay protocol.
#![forbid(unsafe_code)]

pub mod access;
pub mod config;
mod management;
pub mod model;
pub mod problem;
pub mod relay;
pub mod scopes;
pub mod store;
pub mod tokens;
pub mod websocket_stream;

pub use config::Config;
pub use relay::Relay;

/// What a peer sent, fit to be shown: without control characters, and cut at 256 characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().take(256).flat_map(char::escape_default).collect()
}
