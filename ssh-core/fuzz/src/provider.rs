//! Cryptography that does nothing: every share and signature is right, nothing is encrypted and no tag is checked.

use ssh_core::crypto::{
    ActiveKeyExchange, Cipher, CipherKind, CryptoError, CryptoProvider, Framing, HashAlgorithm, Hashes,
    KeyExchange, KeyedMac, Mac, MacKey, Opener, Sealer, SecureRandom, ShareEncoding, SharedSecret, SignatureAlgorithm,
    Signatures, Signer,
};
use ssh_core::keys::{KeyKind, PrivateKey, PublicKey};
use zeroize::Zeroizing;

/// The provider. Its methods carry the names of real ones, so that they can be negotiated.
pub static PROVIDER: CryptoProvider = CryptoProvider {
    name: "nothing",
    key_exchanges: &[&Nothing, &Number],
    ciphers: &[&Nothing],
    macs: &[&Nothing],
    signatures: &Nothing,
    hashes: &Nothing,
    random: &Nothing,
};

/// Everything that does nothing.
#[derive(Debug)]
struct Nothing;

/// A key exchange whose share is a number.
#[derive(Debug)]
struct Number;

impl SecureRandom for Nothing {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        out.fill(7);
        Ok(())
    }
}

impl Hashes for Nothing {
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(vec![sum(parts); algorithm.output_len()])
    }
}

fn sum(parts: &[&[u8]]) -> u8 {
    parts.iter().copied().flatten().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

macro_rules! exchange {
    ($type:ty, $name:literal, $encoding:expr) => {
        impl KeyExchange for $type {
            fn name(&self) -> &'static str {
                $name
            }
            fn hash(&self) -> HashAlgorithm {
                HashAlgorithm::Sha256
            }
            fn share_encoding(&self) -> ShareEncoding {
                $encoding
            }
            fn start(&self, _: &dyn SecureRandom) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
                Ok(Box::new(Nothing))
            }
            fn respond(
                &self,
                share: &[u8],
                _: &dyn SecureRandom,
            ) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
                // One share is refused, so that refusing is fuzzed too.
                if share == b"bad" { Err(CryptoError::BadShare) } else { Ok((b"share".to_vec(), secret())) }
            }
        }
    };
}

exchange!(Nothing, "curve25519-sha256", ShareEncoding::String);
exchange!(Number, "diffie-hellman-group14-sha256", ShareEncoding::Mpint);

fn secret() -> SharedSecret {
    SharedSecret::from_number(&[5; 32])
}

impl ActiveKeyExchange for Nothing {
    fn share(&self) -> &[u8] {
        b"share"
    }
    fn finish(self: Box<Self>, share: &[u8]) -> Result<SharedSecret, CryptoError> {
        if share == b"bad" { Err(CryptoError::BadShare) } else { Ok(secret()) }
    }
}

impl Cipher for Nothing {
    fn name(&self) -> &'static str {
        "aes256-gcm@openssh.com"
    }
    fn kind(&self) -> CipherKind {
        CipherKind::Aead
    }
    fn key_len(&self) -> usize {
        32
    }
    fn iv_len(&self) -> usize {
        12
    }
    fn block_len(&self) -> usize {
        8
    }
    fn sealer(&self, _: &[u8], _: &[u8], _: Option<MacKey<'_>>) -> Result<Box<dyn Sealer>, CryptoError> {
        Ok(Box::new(Nothing))
    }
    fn opener(&self, _: &[u8], _: &[u8], _: Option<MacKey<'_>>) -> Result<Box<dyn Opener>, CryptoError> {
        Ok(Box::new(Nothing))
    }
}

/// Nothing is sealed with it; it is what the tokens of a reconnect are made with.
impl Mac for Nothing {
    fn name(&self) -> &'static str {
        "hmac-sha2-256-etm@openssh.com"
    }
    fn key_len(&self) -> usize {
        32
    }
    fn tag_len(&self) -> usize {
        32
    }
    fn is_etm(&self) -> bool {
        true
    }
    fn with_key(&self, _: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError> {
        Ok(Box::new(Nothing))
    }
}

impl KeyedMac for Nothing {
    fn sign(&mut self, parts: &[&[u8]], tag: &mut [u8]) {
        tag.fill(sum(parts));
    }
    fn verify(&mut self, parts: &[&[u8]], tag: &[u8]) -> Result<(), CryptoError> {
        let sum = sum(parts);
        if tag.iter().all(|byte| *byte == sum) { Ok(()) } else { Err(CryptoError::Unauthentic) }
    }
}

impl Sealer for Nothing {
    fn framing(&self) -> Framing {
        Framing { tag_len: 0, block_len: 8, length_is_separate: true }
    }
    fn seal(&mut self, _: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        // What the engine frames must be a packet.
        let length = packet.first_chunk().map(|length| u32::from_be_bytes(*length));
        assert_eq!(length, u32::try_from(packet.len() - 4).ok());
        Ok(())
    }
}

impl Opener for Nothing {
    fn framing(&self) -> Framing {
        // A fuzzer should not have to learn alignment to get anywhere; `Inbound`'s check has its own tests.
        Framing { tag_len: 0, block_len: 1, length_is_separate: true }
    }
    fn head_len(&self) -> usize {
        4
    }
    fn open_length(&mut self, _: u32, head: &mut [u8]) -> u32 {
        head.first_chunk().map_or(u32::MAX, |length| u32::from_be_bytes(*length))
    }
    fn open(&mut self, _: u32, packet: &mut [u8]) -> Result<(), CryptoError> {
        // A padding of 251 stands for a tag that does not verify.
        if packet.get(4) == Some(&251) { Err(CryptoError::Unauthentic) } else { Ok(()) }
    }
}

impl Signatures for Nothing {
    fn verify(
        &self,
        _: SignatureAlgorithm,
        _: &PublicKey,
        _: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        if signature == b"bad" { Err(CryptoError::Unauthentic) } else { Ok(()) }
    }
    fn signer(&self, _: &PrivateKey) -> Result<Box<dyn Signer>, CryptoError> {
        Ok(Box::new(Nothing))
    }
    fn generate(&self, _: KeyKind, _: u32) -> Result<PrivateKey, CryptoError> {
        Ok(PrivateKey::Ed25519 { seed: Zeroizing::new([1; 32]), public: [2; 32] })
    }
}

impl Signer for Nothing {
    fn sign(&self, _: SignatureAlgorithm, _: &[u8]) -> Result<Vec<u8>, CryptoError> {
        Ok(vec![3; 64])
    }
}
