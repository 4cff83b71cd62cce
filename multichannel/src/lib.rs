//! Many streams over one, without encryption.
//!
//! A [`MultiChannelStream`] runs the connection protocol of SSH (RFC 4254) with every algorithm `none` over any stream
//! that is private already: a pipe, a TLS or WebSocket connection, a channel of another session. Both ends may open and
//! accept channels, each with flow control of its own. It speaks the same bytes as the class of the same name in the Dev
//! Tunnels SSH libraries.
//!
//! **Nothing is encrypted or authenticated.** Over a network use `securestream` or `ssh_core` instead.
//!
//! ```
//! use multichannel::MultiChannelStream;
//! use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//! let (near, far) = (MultiChannelStream::client(near), MultiChannelStream::server(far));
//!
//! let greeter = async {
//!     let mut stream = far.accept_stream(Some("greeting")).await?;
//!     stream.write_all(b"hello").await?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! };
//! let caller = async {
//!     let mut stream = near.open_stream("greeting").await?;
//!     let mut said = String::new();
//!     stream.read_to_string(&mut said).await?;
//!     Ok::<_, Box<dyn std::error::Error>>(said)
//! };
//! let (greeted, said) = tokio::join!(greeter, caller);
//! greeted?;
//! assert_eq!(said?, "hello");
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod config;
mod multi_channel_stream;

pub use config::Config;
pub use multi_channel_stream::{MultiChannelStream, Role};
pub use ssh_core::channel::{Channel, ExitStatus};
pub use ssh_core::session::{IncomingChannel, OpenFailure, OpenFailureReason};
pub use ssh_core::{Error, OpenError, Session};
