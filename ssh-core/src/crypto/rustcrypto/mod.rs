//! The pure Rust backend, from the RustCrypto and dalek projects.

mod aead;
mod hash;
mod kex;
mod mac;
mod random;
mod signature;
mod stream;

use super::CryptoProvider;

/// The backend.
pub static PROVIDER: CryptoProvider = CryptoProvider {
    name: "rustcrypto",
    key_exchanges: kex::ALL,
    ciphers: &[
        &aead::AES256_GCM,
        &aead::AES128_GCM,
        &aead::CHACHA20_POLY1305,
        &stream::AES256_CTR,
        &stream::AES192_CTR,
        &stream::AES128_CTR,
        &stream::AES256_CBC,
        &stream::AES192_CBC,
        &stream::AES128_CBC,
    ],
    macs: mac::ALL,
    signatures: &signature::RustCryptoSignatures,
    hashes: &hash::Sha2,
    random: &random::SystemRandom,
};
