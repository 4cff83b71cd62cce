//! Settings that both sides share: what is offered, and what a session may cost.

mod algorithms;
mod extensions;
mod limits;

pub(crate) use algorithms::CHACHA;
pub use algorithms::{Algorithms, KNOWN_CIPHERS, KNOWN_KEX, KNOWN_MACS, UnknownAlgorithm};
pub use extensions::{CAN_CHANGE_PORT, Extensions, OPEN_CHANNEL_REQUEST};
pub use limits::{LimitError, Limits};

use crate::crypto::CryptoProvider;
#[cfg(feature = "tokio")]
use crate::error::Error;

/// What an engine needs to know, whichever side it is.
#[derive(Debug, Clone)]
pub struct Common {
    /// What is offered.
    pub algorithms: Algorithms,
    /// What it may cost.
    pub limits: Limits,
    /// Which extensions are offered.
    pub extensions: Extensions,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
}

/// The provider of a configuration that names none.
#[cfg(feature = "tokio")]
pub(crate) fn provider_or_default(
    provider: Option<&'static CryptoProvider>,
) -> Result<&'static CryptoProvider, Error> {
    #[cfg(any(feature = "rustcrypto", feature = "aws-lc"))]
    let provider = provider.or_else(|| Some(crate::crypto::default_provider()));
    provider.ok_or(Error::ApiMisuse(crate::error::ApiMisuse::Algorithms))
}
