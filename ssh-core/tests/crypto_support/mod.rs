//! What the tests of the crypto backends share.

use ssh_core::crypto::CryptoProvider;

/// Every backend that is built in.
pub(crate) fn providers() -> Vec<&'static CryptoProvider> {
    vec![
        #[cfg(feature = "rustcrypto")]
        &ssh_core::crypto::rustcrypto::PROVIDER,
        #[cfg(feature = "aws-lc")]
        &ssh_core::crypto::aws_lc::PROVIDER,
    ]
}

/// The bytes of pairs of hex digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}
