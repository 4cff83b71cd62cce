//! The pure Rust backend, from the RustCrypto and dalek projects.

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
    name: "rustcrypto",
    key_exchanges: RustCrypto::KEY_EXCHANGES,
    ciphers: RustCrypto::CIPHERS,
    macs: RustCrypto::MACS,
    signatures: &signature::RustCryptoSignatures,
    hashes: &hash::Sha2,
    random: &random::SystemRandom,
};

struct RustCrypto;

impl CipherSuite for RustCrypto {
    type Aes256Gcm = aead::Gcm<aes_gcm::Aes256Gcm>;
    type Aes128Gcm = aead::Gcm<aes_gcm::Aes128Gcm>;
    type ChaChaSealer = aead::ChaChaKeys;
    type ChaChaOpener = aead::ChaChaKeys;

    const STREAM: NewStream = stream::new;
}

impl MacSuite for RustCrypto {
    const HMAC: NewHmac = mac::new;
}

impl KexSuite for RustCrypto {
    const X25519: &'static dyn Agreement = &kex::X25519;
    const P256: &'static dyn Agreement = &kex::P256;
    const P384: &'static dyn Agreement = &kex::P384;
    const P521: &'static dyn Agreement = &kex::P521;
    const MLKEM768: &'static dyn Kem = &kex::MlKem768;
    const HASHES: &'static dyn Hashes = &hash::Sha2;
}
