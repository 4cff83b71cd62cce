//! The AWS-LC backend: several times faster where it counts, at the price of a C and assembly library.
//!
//! AWS-LC has neither finite field Diffie-Hellman nor sntrup761 in its Rust interface; these, RSA beyond 8192 bits
//! and the generation of RSA keys come from the pure Rust crates that the other backend uses.

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
    name: "aws-lc",
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
    signatures: &signature::AwsLcSignatures,
    hashes: &hash::Sha2,
    random: &random::SystemRandom,
};
