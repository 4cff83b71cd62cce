//! What every backend offers, best first, out of the little that a backend makes itself.

use super::aead::{Aead, OpenKey, SealKey};
use super::agreement::{Agreement, CurveExchange};
use super::gcm::{AesGcm, GcmKey};
use super::hmac::{HmacSha2, NewHmac};
use super::hybrid::{Hybrid, Kem};
use super::sntrup761::Sntrup761;
use super::stream::{AesStream, NewStream};
use super::{Cipher, HashAlgorithm, Hashes, KeyExchange, Mac, dh};

/// A backend's ciphers.
pub(super) trait CipherSuite {
    type Aes256Gcm: GcmKey;
    type Aes128Gcm: GcmKey;
    type ChaChaSealer: SealKey;
    type ChaChaOpener: OpenKey;

    const STREAM: NewStream;

    /// The table.
    const CIPHERS: &'static [&'static dyn Cipher] = &[
        &AesGcm::<Self::Aes256Gcm>::gcm("aes256-gcm@openssh.com"),
        &AesGcm::<Self::Aes128Gcm>::gcm("aes128-gcm@openssh.com"),
        &Aead::<Self::ChaChaSealer, Self::ChaChaOpener>::CHACHA20_POLY1305,
        &AesStream::ctr("aes256-ctr", 32, Self::STREAM),
        &AesStream::ctr("aes192-ctr", 24, Self::STREAM),
        &AesStream::ctr("aes128-ctr", 16, Self::STREAM),
        &AesStream::cbc("aes256-cbc", 32, Self::STREAM),
        &AesStream::cbc("aes192-cbc", 24, Self::STREAM),
        &AesStream::cbc("aes128-cbc", 16, Self::STREAM),
    ];
}

/// A backend's MACs.
pub(super) trait MacSuite {
    const HMAC: NewHmac;

    /// The table.
    const MACS: &'static [&'static dyn Mac] = &[
        &HmacSha2::etm("hmac-sha2-512-etm@openssh.com", HashAlgorithm::Sha512, Self::HMAC),
        &HmacSha2::etm("hmac-sha2-256-etm@openssh.com", HashAlgorithm::Sha256, Self::HMAC),
        &HmacSha2::plain("hmac-sha2-512", HashAlgorithm::Sha512, Self::HMAC),
        &HmacSha2::plain("hmac-sha2-256", HashAlgorithm::Sha256, Self::HMAC),
    ];
}

/// A backend's key exchanges. Finite fields and sntrup761 are the same in all.
pub(super) trait KexSuite {
    const X25519: &'static dyn Agreement;
    const P256: &'static dyn Agreement;
    const P384: &'static dyn Agreement;
    const P521: &'static dyn Agreement;
    const MLKEM768: &'static dyn Kem;
    const HASHES: &'static dyn Hashes;

    /// The table.
    const KEY_EXCHANGES: &'static [&'static dyn KeyExchange] = &[
        &&Hybrid {
            name: "mlkem768x25519-sha256",
            hash: HashAlgorithm::Sha256,
            kem: Self::MLKEM768,
            x25519: Self::X25519,
            hashes: Self::HASHES,
        },
        &&Hybrid {
            name: "sntrup761x25519-sha512",
            hash: HashAlgorithm::Sha512,
            kem: &Sntrup761,
            x25519: Self::X25519,
            hashes: Self::HASHES,
        },
        &&Hybrid {
            name: "sntrup761x25519-sha512@openssh.com",
            hash: HashAlgorithm::Sha512,
            kem: &Sntrup761,
            x25519: Self::X25519,
            hashes: Self::HASHES,
        },
        &CurveExchange { name: "curve25519-sha256", hash: HashAlgorithm::Sha256, agreement: Self::X25519 },
        &CurveExchange {
            name: "curve25519-sha256@libssh.org",
            hash: HashAlgorithm::Sha256,
            agreement: Self::X25519,
        },
        &CurveExchange { name: "ecdh-sha2-nistp256", hash: HashAlgorithm::Sha256, agreement: Self::P256 },
        &CurveExchange { name: "ecdh-sha2-nistp384", hash: HashAlgorithm::Sha384, agreement: Self::P384 },
        &CurveExchange { name: "ecdh-sha2-nistp521", hash: HashAlgorithm::Sha512, agreement: Self::P521 },
        &&dh::GROUP16_SHA512,
        &&dh::GROUP14_SHA256,
    ];
}
