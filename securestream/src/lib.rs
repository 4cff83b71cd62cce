//! One authenticated, encrypted stream of bytes each way, over any other stream.
//!
//! A [`SecureStream`] is an SSH session (RFC 4253, RFC 4252) with a single channel that reads and writes like a socket. Both
//! ends prove who they are before the first byte: the client does not connect without having said how it
//! [verifies host keys](ssh_core::client::ConfigBuilder::verify_host_key), the server not without an
//! [authenticator](ssh_core::server::Authenticator). It speaks the same bytes as the class of the same name in the Dev Tunnels
//! SSH libraries.
//!
//! It may outlive the stream below. Where both sides offer that, reads and writes wait while there is none, and go on over
//! another without a byte lost or doubled. The client offers it with
//! [`offer_reconnect`](ssh_core::client::ConfigBuilder::offer_reconnect) and brings the next stream to
//! [`SecureStream::reconnect`], or with [`reconnect`](ssh_core::client::ConfigBuilder::reconnect) and a policy that dials by itself.
//! The server offers it with a set of [`DetachedSessions`](ssh_core::server::DetachedSessions), which several listeners may
//! share.
//!
//! ```
//! use securestream::{SecureStream, client, server};
//! use ssh_core::client::Credential;
//! use ssh_core::crypto::default_provider;
//! use ssh_core::keys::{KeyKind, SigningKey};
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//!
//! // A real server has an authenticator that looks at what it is shown.
//! let provider = default_provider();
//! let host_key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0)?, provider)?;
//! let config = server::Config::builder(server::danger::AcceptEverybody).host_key(host_key).build()?;
//! tokio::spawn(async move {
//!     let mut stream = SecureStream::server(far, config).await?;
//!     stream.write_all(b"hello").await?;
//!     stream.shutdown().await?;
//!     // Until the client has gone.
//!     stream.read_to_end(&mut Vec::new()).await?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//!
//! // A real client pins the host key.
//! let config = client::Config::builder("ada")
//!     .verify_host_key(client::danger::AcceptAnyHostKey)
//!     .authenticate(Credential::password("open sesame"))
//!     .build()?;
//! let mut stream = SecureStream::client(near, config).await?;
//! let mut said = String::new();
//! stream.read_to_string(&mut said).await?;
//! assert_eq!(said, "hello");
//! # Ok(())
//! # }
//! ```
//!
//! A client without a way to verify host keys does not build:
//!
//! ```compile_fail,E0599
//! let config = securestream::client::Config::builder("ada").build();
//! ```
#![forbid(unsafe_code)]

pub mod client;
mod events;
mod secure_stream;
pub mod server;
mod watch;

pub use events::StreamEvent;
pub use secure_stream::SecureStream;
/// Keys, algorithms, limits and everything else that configurations are made of.
pub use ssh_core;
pub use ssh_core::error::{ApiMisuse, DisconnectReason, ReconnectFailure};
pub use ssh_core::{Error, OpenError, Session};
