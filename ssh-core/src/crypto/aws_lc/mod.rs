//! The AWS-LC backend: several times faster where it counts, at the price of a C and assembly library.
//!
//! AWS-LC has neither finite field Diffie-Hellman nor sntrup761 in its Rust interface; these, RSA beyond 8192 bits
//! and the generation of RSA keys come from the pure Rust crates that the other backend uses.

pub(super) mod aead;
mod hash;
mod kex;
mod mac;
mod random;
mod signature;
mod stream;

use super::agreement::Agreement;
use super::hmac::NewHmac;
use super::hybrid::Kem;
use super::stream::NewStream;
use super::suite::{CipherSuite, KexSuite, MacSuite};
use super::{CryptoProvider, Hashes};

/// The backend.
pub static PROVIDER: CryptoProvider = CryptoProvider {
    name: "aws-lc",
    key_exchanges: AwsLc::KEY_EXCHANGES,
    ciphers: AwsLc::CIPHERS,
    macs: AwsLc::MACS,
    signatures: &signature::AwsLcSignatures,
    hashes: &hash::Sha2,
    random: &random::SystemRandom,
};

struct AwsLc;

impl CipherSuite for AwsLc {
    type Aes256Gcm = aead::Gcm<32>;
    type Aes128Gcm = aead::Gcm<16>;
    type ChaChaSealer = aead::ChaChaSealer;
    type ChaChaOpener = aead::ChaChaOpener;

    const STREAM: NewStream = stream::new;
}

impl MacSuite for AwsLc {
    const HMAC: NewHmac = mac::new;
}

impl KexSuite for AwsLc {
    const X25519: &'static dyn Agreement = &kex::X25519;
    const P256: &'static dyn Agreement = &kex::P256;
    const P384: &'static dyn Agreement = &kex::P384;
    const P521: &'static dyn Agreement = &kex::P521;
    const MLKEM768: &'static dyn Kem = &kex::MlKem768;
    const HASHES: &'static dyn Hashes = &hash::Sha2;
}
