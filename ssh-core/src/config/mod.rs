//! Settings that both sides share: what is offered, and what a session may cost.

mod algorithms;
mod limits;

pub use algorithms::{Algorithms, KNOWN_CIPHERS, KNOWN_KEX, KNOWN_MACS, UnknownAlgorithm};
pub use limits::Limits;

use crate::crypto::CryptoProvider;

/// What an engine needs to know, whichever side it is.
#[derive(Debug, Clone)]
pub struct Common {
    /// What is offered.
    pub algorithms: Algorithms,
    /// What it may cost.
    pub limits: Limits,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
}
