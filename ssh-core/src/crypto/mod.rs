//! Cryptography behind one provider struct, one folder a backend.
//!
//! The protocol knows only the traits of this module. A backend is a `static` [`CryptoProvider`].

#[cfg(feature = "shared-crypto")]
mod aead;
#[cfg(feature = "shared-crypto")]
mod agreement;
#[cfg(feature = "aws-lc")]
pub mod aws_lc;
#[cfg(feature = "shared-crypto")]
mod dh;
#[cfg(feature = "shared-crypto")]
mod ecdsa_blob;
#[cfg(feature = "aws-lc")]
mod ed25519_order;
#[cfg(feature = "shared-crypto")]
mod gcm;
#[cfg(feature = "shared-crypto")]
mod gcm_nonce;
#[cfg(feature = "shared-crypto")]
mod hmac;
#[cfg(feature = "shared-crypto")]
mod hybrid;
mod packet;
mod provider;
#[cfg(feature = "shared-crypto")]
mod rsa_keys;
#[cfg(feature = "rustcrypto")]
pub mod rustcrypto;
#[cfg(feature = "shared-crypto")]
mod seeded;
#[cfg(feature = "shared-crypto")]
mod sntrup761;
#[cfg(feature = "shared-crypto")]
mod stream;
#[cfg(feature = "shared-crypto")]
mod suite;

pub use packet::{BLOCK_LEN, EncryptAndMac, EncryptThenMac, StreamMode};
pub use provider::*;

/// The backend that a configuration uses unless it names one: the pure Rust one if it is built in, else AWS-LC.
#[cfg(any(feature = "rustcrypto", feature = "aws-lc"))]
#[must_use]
pub fn default_provider() -> &'static CryptoProvider {
    #[cfg(feature = "rustcrypto")]
    let provider = &rustcrypto::PROVIDER;
    #[cfg(not(feature = "rustcrypto"))]
    let provider = &aws_lc::PROVIDER;
    provider
}
