//! Cryptography behind one provider struct, one folder a backend.
//!
//! The protocol knows only the traits of [`provider`]. A backend is a `static` [`CryptoProvider`].

#[cfg(feature = "aws-lc")]
pub mod aws_lc;
mod packet;
mod provider;
#[cfg(feature = "rustcrypto")]
pub mod rustcrypto;

pub use packet::{EncryptAndMac, EncryptThenMac};
pub use provider::*;
