//! SSH2 sessions over any `AsyncRead + AsyncWrite` (RFC 4250 to 4254), for tunnels.
//!
//! [`client::connect`] and [`server::accept`] turn a stream into an authenticated [`Session`], which opens and accepts
//! [`Channel`]s: streams of bytes each way, each with its own flow control. [`services`] builds port forwarding on them.
//!
//! The protocol itself is a value that does no I/O: [`protocol::Engine`]. The features `tokio` (on by default), `rustcrypto`
//! (on by default) and `aws-lc` add the driver over it and the two crypto backends; `passwords` adds [password hashes](passwords).
//!
//! ```
//! use ssh_core::client::{self, Credential};
//! use ssh_core::crypto::default_provider;
//! use ssh_core::keys::{KeyKind, SigningKey};
//! use ssh_core::server;
//! use ssh_core::session::Incoming;
//! use futures::StreamExt as _;
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//!
//! // The server takes everybody in and says hello on every channel.
//! let provider = default_provider();
//! let host_key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0)?, provider)?;
//! let config = server::Config::builder(server::danger::AcceptEverybody).host_key(host_key).build()?;
//! tokio::spawn(async move {
//!     let session = server::accept(far, config).await?;
//!     let mut incoming = session.incoming();
//!     while let Some(item) = incoming.next().await {
//!         if let Incoming::Channel(offer) = item {
//!             offer.accept()?.write_all(b"hello").await.ok();
//!         }
//!     }
//!     Ok::<_, ssh_core::Error>(())
//! });
//!
//! // The client. A real one verifies the host key instead, for instance by `client::KnownHost`.
//! let config = client::Config::builder("ada")
//!     .verify_host_key(client::danger::AcceptAnyHostKey)
//!     .authenticate(Credential::password("open sesame"))
//!     .build()?;
//! let session = client::connect(near, config).await?;
//! let mut channel = session.open_channel("greeting").await?;
//! let mut said = String::new();
//! channel.read_to_string(&mut said).await?;
//! assert_eq!(said, "hello");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
mod accept;
#[cfg(feature = "tokio")]
pub mod channel;
#[cfg(feature = "tokio")]
mod channel_extras;
#[cfg(feature = "tokio")]
pub mod client;
pub mod config;
mod connection_info;
pub mod crypto;
#[cfg(feature = "tokio")]
pub mod custom;
#[cfg(feature = "tokio")]
mod driver;
pub mod error;
pub mod keys;
pub mod metrics;
#[cfg(feature = "tokio")]
pub mod network;
#[cfg(feature = "tokio")]
mod part;
#[cfg(feature = "passwords")]
pub mod passwords;
#[cfg(feature = "tokio")]
mod pipe;
pub mod progress;
pub mod protocol;
pub mod requests;
#[cfg(feature = "tokio")]
pub mod server;
#[cfg(feature = "tokio")]
pub mod services;
#[cfg(feature = "tokio")]
pub mod session;

pub mod trace;

#[cfg(feature = "tokio")]
pub use channel::Channel;
pub use connection_info::{Addresses, ConnectionInfo, SessionId};
#[cfg(feature = "tokio")]
pub use driver::{Driver, Wires};
pub use error::Error;
pub use protocol::OpenError;
#[cfg(feature = "tokio")]
pub use session::Session;
