//! The seam between the protocol and a crypto backend.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::{PrivateKey, PublicKey};
use crate::protocol::wire::Write;

/// A backend: the algorithms that it has, in no particular order. What is offered to a peer, and in which
/// order, is decided by [`Algorithms`](crate::config::Algorithms).
#[derive(Debug, Clone, Copy)]
pub struct CryptoProvider {
    /// Its name, for logs.
    pub name: &'static str,
    /// Key exchange methods (RFC 4253 §8, RFC 5656 §4, RFC 8731, …).
    pub key_exchanges: &'static [&'static dyn KeyExchange],
    /// Ciphers (RFC 4253 §6.3, RFC 4344 §4, RFC 5647, OpenSSH's).
    pub ciphers: &'static [&'static dyn Cipher],
    /// MACs (RFC 6668, OpenSSH's EtM forms).
    pub macs: &'static [&'static dyn Mac],
    /// Signatures for host and user keys.
    pub signatures: &'static dyn Signatures,
    /// Hashes for the exchange hash and key derivation.
    pub hashes: &'static dyn Hashes,
    /// The operating system's randomness.
    pub random: &'static dyn SecureRandom,
}

impl CryptoProvider {
    /// The key exchange with this name, if the backend has it.
    #[must_use]
    pub fn key_exchange(&self, name: &str) -> Option<&'static dyn KeyExchange> {
        self.key_exchanges.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The cipher with this name, if the backend has it.
    #[must_use]
    pub fn cipher(&self, name: &str) -> Option<&'static dyn Cipher> {
        self.ciphers.iter().copied().find(|algorithm| algorithm.name() == name)
    }

    /// The MAC with this name, if the backend has it.
    #[must_use]
    pub fn mac(&self, name: &str) -> Option<&'static dyn Mac> {
        self.macs.iter().copied().find(|algorithm| algorithm.name() == name)
    }
}

/// A failed operation. It says little on purpose: details would be an oracle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// A MAC, tag or signature did not verify.
    #[error("a MAC, tag or signature does not verify")]
    Unauthentic,
    /// The peer's public value is outside its group, off its curve, of low order or of the wrong length.
    #[error("the peer's key exchange value is not valid")]
    BadShare,
    /// A key is malformed, out of its size limits, or of a kind that the backend lacks.
    #[error("the key is malformed or not supported")]
    BadKey,
    /// The backend refused, for instance because randomness failed.
    #[error("the crypto backend failed")]
    Backend,
}

/// Randomness fit for keys.
pub trait SecureRandom: Send + Sync + fmt::Debug {
    /// Fills `out`.
    ///
    /// # Errors
    /// [`CryptoError::Backend`] if the operating system has none to give; the connection must then end.
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError>;
}

// ---- Hashes ------------------------------------------------------------------------------------------

/// The hash of a key exchange method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Digest length in bytes.
    #[must_use]
    pub const fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Hashing.
pub trait Hashes: Send + Sync + fmt::Debug {
    /// The digest of the concatenation of `parts`.
    fn digest(&self, algorithm: HashAlgorithm, parts: &[&[u8]]) -> Zeroizing<Vec<u8>>;
}

// ---- Key exchange ------------------------------------------------------------------------------------

/// How a value enters the exchange hash and the key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareEncoding {
    /// As `mpint`: classic Diffie-Hellman shares, and the secrets of every method that is not a hybrid.
    Mpint,
    /// As `string`: everything else.
    String,
}

/// A key exchange method of two messages, `SSH_MSG_KEXDH_INIT` and `SSH_MSG_KEXDH_REPLY`.
pub trait KeyExchange: Send + Sync + fmt::Debug {
    /// Its name in KEXINIT.
    fn name(&self) -> &'static str;
    /// The hash for the exchange hash and key derivation.
    fn hash(&self) -> HashAlgorithm;
    /// How both shares are written in messages and in the exchange hash.
    fn share_encoding(&self) -> ShareEncoding;
    /// Whether one part resists quantum computers.
    fn is_post_quantum(&self) -> bool {
        false
    }
    /// The client's first step: a fresh ephemeral key.
    ///
    /// # Errors
    /// [`CryptoError::Backend`] if there is no randomness.
    fn start(&self, random: &dyn SecureRandom) -> Result<Box<dyn ActiveKeyExchange>, CryptoError>;
    /// The server's only step: its share and the secret, from the client's share. A share is the content of the
    /// `mpint` (its magnitude without sign byte) or of the `string`.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] on a share that is not valid.
    fn respond(
        &self,
        client_share: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<(Vec<u8>, SharedSecret), CryptoError>;
}

/// A client's exchange whose share has been made.
pub trait ActiveKeyExchange: Send + Sync + fmt::Debug {
    /// The share for `SSH_MSG_KEXDH_INIT`.
    fn share(&self) -> &[u8];
    /// The secret, from the server's share.
    ///
    /// # Errors
    /// [`CryptoError::BadShare`] on a share that is not valid.
    fn finish(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, CryptoError>;
}

/// The secret K of a key exchange, encoded as it enters the exchange hash and the key derivation.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret {
    encoded: Vec<u8>,
}

impl SharedSecret {
    /// From a big-endian number (ECDH, DH, X25519).
    #[must_use]
    pub fn from_number(magnitude: &[u8]) -> Self {
        // Room for all of it, so that no copy is left behind by a growing buffer.
        let mut encoded = Vec::with_capacity(magnitude.len().saturating_add(5));
        encoded.put_mpint(magnitude);
        Self { encoded }
    }

    /// From the output of a hybrid's hash.
    #[must_use]
    pub fn from_string(bytes: &[u8]) -> Self {
        let mut encoded = Vec::with_capacity(bytes.len().saturating_add(4));
        encoded.put_string(bytes);
        Self { encoded }
    }

    /// K as `mpint` or `string`, length included.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret[..]")
    }
}

// ---- Packet protection -------------------------------------------------------------------------------

/// What kind of packet protection a cipher gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CipherKind {
    /// Encryption and integrity in one; the negotiated MAC is not used.
    Aead,
    /// A counter mode, with a MAC.
    Ctr,
    /// Cipher block chaining, with a MAC.
    Cbc,
}

/// A cipher with its key sizes.
pub trait Cipher: Send + Sync + fmt::Debug {
    /// Its name in KEXINIT.
    fn name(&self) -> &'static str;
    /// What it protects.
    fn kind(&self) -> CipherKind;
    /// Key length in bytes.
    fn key_len(&self) -> usize;
    /// IV length in bytes; 0 if it takes none.
    fn iv_len(&self) -> usize;
    /// What packets must be a multiple of, in bytes (at least 8).
    fn block_len(&self) -> usize;
    /// The sending half of one direction. `mac` is the negotiated MAC and its key; an AEAD cipher ignores it.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if a length is wrong or the MAC is missing.
    fn sealer(&self, key: &[u8], iv: &[u8], mac: Option<MacKey<'_>>) -> Result<Box<dyn Sealer>, CryptoError>;
    /// The receiving half of one direction.
    ///
    /// # Errors
    /// As for [`sealer`](Self::sealer).
    fn opener(&self, key: &[u8], iv: &[u8], mac: Option<MacKey<'_>>) -> Result<Box<dyn Opener>, CryptoError>;
}

/// A MAC algorithm and a key of its length.
#[derive(Clone, Copy)]
pub struct MacKey<'a> {
    /// The algorithm.
    pub mac: &'static dyn Mac,
    /// The key.
    pub key: &'a [u8],
}

impl fmt::Debug for MacKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacKey").field("mac", &self.mac).finish_non_exhaustive()
    }
}

/// What the packets of one direction look like from outside (RFC 4253 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Bytes behind the padding: the tag or MAC.
    pub tag_len: usize,
    /// What the packet is a multiple of, in bytes.
    pub block_len: usize,
    /// Whether the length field is left out of that multiple (AEAD and EtM) or counted (encrypt-and-MAC).
    pub length_is_separate: bool,
}

/// Seals the packets of one direction, each in the buffer that it is sent from.
pub trait Sealer: Send + Sync + fmt::Debug {
    /// What it makes. It never changes.
    fn framing(&self) -> Framing;
    /// Seals `packet`: `u32 length ‖ u8 padding length ‖ payload ‖ padding ‖ room of tag_len bytes`.
    /// `sequence` is the packet's number since the last reset (RFC 4253 §6.4).
    ///
    /// # Errors
    /// [`CryptoError::Backend`] if the packet is shorter than its frame or the key is used up.
    fn seal(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError>;
}

/// Opens the packets of one direction where they lie.
pub trait Opener: Send + Sync + fmt::Debug {
    /// What it expects. It never changes.
    fn framing(&self) -> Framing;
    /// How many bytes [`open_length`](Self::open_length) needs: 4, or a whole block where the length is encrypted
    /// together with what follows it.
    fn head_len(&self) -> usize;
    /// The `packet_length` field (not authenticated yet). Called exactly once for each packet, with its first
    /// `head_len` bytes, which it may decrypt in place.
    fn open_length(&mut self, sequence: u32, head: &mut [u8]) -> u32;
    /// Verifies and decrypts a whole packet, `4 + packet_length + tag_len` bytes, whose head has been through
    /// `open_length`. Afterwards everything from byte 4 to the tag is plaintext.
    ///
    /// # Errors
    /// [`CryptoError::Unauthentic`] if the tag or MAC is wrong; nothing of the packet may then be used.
    fn open(&mut self, sequence: u32, packet: &mut [u8]) -> Result<(), CryptoError>;
}

/// A MAC algorithm.
pub trait Mac: Send + Sync + fmt::Debug {
    /// Its name in KEXINIT.
    fn name(&self) -> &'static str;
    /// Key length in bytes.
    fn key_len(&self) -> usize;
    /// Tag length in bytes.
    fn tag_len(&self) -> usize;
    /// Whether the MAC is over the ciphertext (OpenSSH's `-etm` forms).
    fn is_etm(&self) -> bool;
    /// The MAC under a key.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the length is wrong.
    fn with_key(&self, key: &[u8]) -> Result<Box<dyn KeyedMac>, CryptoError>;
}

/// A MAC under a key.
pub trait KeyedMac: Send + Sync + fmt::Debug {
    /// Writes the MAC of the concatenation of `parts` into `tag`, which is `tag_len` bytes.
    fn sign(&mut self, parts: &[&[u8]], tag: &mut [u8]);
    /// Compares in constant time.
    ///
    /// # Errors
    /// [`CryptoError::Unauthentic`] if the tag is another one.
    fn verify(&mut self, parts: &[&[u8]], tag: &[u8]) -> Result<(), CryptoError>;
}

// ---- Signatures --------------------------------------------------------------------------------------

/// A signature algorithm for host and user keys (RFC 4253 §6.6, RFC 5656 §3, RFC 8332, RFC 8709).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// `ssh-ed25519`.
    Ed25519,
    /// `ecdsa-sha2-nistp256`.
    EcdsaP256,
    /// `ecdsa-sha2-nistp384`.
    EcdsaP384,
    /// `ecdsa-sha2-nistp521`.
    EcdsaP521,
    /// `rsa-sha2-256`.
    RsaSha256,
    /// `rsa-sha2-512`.
    RsaSha512,
}

impl SignatureAlgorithm {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ed25519, Self::EcdsaP256, Self::EcdsaP384, Self::EcdsaP521, Self::RsaSha256, Self::RsaSha512];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
            Self::RsaSha256 => "rsa-sha2-256",
            Self::RsaSha512 => "rsa-sha2-512",
        }
    }

    /// The algorithm with this name. `ssh-rsa`, which is SHA-1, is not one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// What the algorithm is called where the key comes in an OpenSSH certificate (PROTOCOL.certkeys). The signature
    /// itself still carries [`name`](Self::name).
    #[must_use]
    pub const fn certificate_name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
            Self::RsaSha256 => "rsa-sha2-256-cert-v01@openssh.com",
            Self::RsaSha512 => "rsa-sha2-512-cert-v01@openssh.com",
        }
    }

    /// The algorithm with this certificate name. `ssh-rsa-cert-v01@openssh.com`, which is SHA-1, is not one.
    #[must_use]
    pub fn from_certificate_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.certificate_name() == name)
    }
}

/// Making and checking signatures. A signature here is the inner blob of RFC 4253 §6.6: 64 bytes for Ed25519,
/// `mpint r ‖ mpint s` for ECDSA, the number at modulus length for RSA.
pub trait Signatures: Send + Sync + fmt::Debug {
    /// Checks a signature strictly.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key does not fit the algorithm or is out of limits (RSA 2048 to 16384 bits,
    /// odd e from 3 to 64 bits), [`CryptoError::Unauthentic`] if the signature is wrong.
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError>;

    /// A signer for a private key.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the key is not valid: numbers out of range, or halves that do not belong together.
    fn signer(&self, key: &PrivateKey) -> Result<Box<dyn Signer>, CryptoError>;

    /// A fresh key. `rsa_bits` counts only for RSA (3072 to 16384).
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] for a size that is refused, [`CryptoError::Backend`] without randomness.
    fn generate(&self, kind: crate::keys::KeyKind, rsa_bits: u32) -> Result<PrivateKey, CryptoError>;
}

/// A private key ready to sign.
pub trait Signer: Send + Sync + fmt::Debug {
    /// Signs.
    ///
    /// # Errors
    /// [`CryptoError::BadKey`] if the algorithm is not one of the key.
    fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Result<Vec<u8>, CryptoError>;
}
