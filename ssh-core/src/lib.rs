//! SSH2 sessions over any `AsyncRead + AsyncWrite`.
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod channel;
#[cfg(feature = "tokio")]
pub mod client;
pub mod config;
pub mod crypto;
#[cfg(feature = "tokio")]
mod driver;
pub mod error;
pub mod keys;
pub mod protocol;
#[cfg(feature = "tokio")]
pub mod server;
#[cfg(feature = "tokio")]
pub mod services;
#[cfg(feature = "tokio")]
pub mod session;

#[cfg(feature = "tokio")]
pub use channel::Channel;
#[cfg(feature = "tokio")]
pub use driver::Driver;
pub use error::Error;
pub use protocol::OpenError;
#[cfg(feature = "tokio")]
pub use session::Session;
