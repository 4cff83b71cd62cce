//! OpenSSH private key files, `openssh-key-v1`.
//!
//! Armor around: a magic, the names of cipher and KDF with its options, the number of keys, the public key, and a
//! section that may be encrypted: two equal check ints, the private key, a comment, and padding 1, 2, 3, ….

use std::fmt;

use zeroize::Zeroizing;

use super::error::shown;
pub use super::openssh_cipher::OpenSshCipher;
use super::openssh_cipher::{FileCipher, Kdf};
use super::pem::{Pem, armor};
use super::public_line::clean_comment;
use super::random::random;
use super::rsa_numbers::RsaNumbers;
use super::{Curve, KeyError, KeyFormatError, KeyPair, PrivateKey, PublicKey};
use crate::protocol::wire::{Reader, Write as _};

/// The armor's label.
pub(super) const LABEL: &str = "OPENSSH PRIVATE KEY";
/// More KDF rounds are never done, whatever the caller allows. They would take hours.
pub const MAX_KDF_ROUNDS: u32 = 1 << 20;
/// More KDF rounds are refused unless the caller allows them. A round takes about 5 to 10 ms, so this is around half a
/// minute; `ssh-keygen` writes 16 or 24 rounds, and people who harden their keys a few hundred.
pub const DEFAULT_KDF_ROUNDS_LIMIT: u32 = 4096;
/// The rounds that [`write()`] asks for, as `ssh-keygen` does.
pub const KDF_ROUNDS: u32 = 24;

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Cipher and KDF names are under 32 bytes.
const MAX_NAME_LEN: usize = 64;
/// OpenSSH writes 16 bytes of salt. A longer one gives nothing.
const MAX_SALT_LEN: usize = 1024;
const SALT_LEN: usize = 16;
/// AES's block; an unencrypted section is padded to 8.
const CIPHER_BLOCK: usize = 16;
const PLAIN_BLOCK: usize = 8;
const ARMOR_WIDTH: usize = 70;

/// Parses the armored text of an OpenSSH private key. `max_rounds` says how many KDF rounds the caller is willing to
/// wait for; [`MAX_KDF_ROUNDS`] holds anyway.
///
/// # Errors
/// [`KeyFormatError`]. Without a passphrase for an encrypted key, [`KeyFormatError::PassphraseNeeded`].
pub fn parse(text: &[u8], passphrase: Option<&[u8]>, max_rounds: u32) -> Result<KeyPair, KeyFormatError> {
    parse_body(&body_of(text)?, passphrase, max_rounds)
}

/// The public half of the armored text of an OpenSSH private key. It stands there in the clear, so this takes no passphrase;
/// that it belongs to the private half shows only when that is read.
///
/// # Errors
/// [`KeyFormatError`].
pub fn public_key(text: &[u8]) -> Result<PublicKey, KeyFormatError> {
    Ok(PublicKey::from_blob(&public_blob(text)?)?)
}

/// As [`public_key`], the blob alone: that of a security key too, or of another kind that only an agent signs for.
///
/// # Errors
/// [`KeyFormatError`] if this is no such file, or holds more keys than one.
pub fn public_blob(text: &[u8]) -> Result<Vec<u8>, KeyFormatError> {
    let body = body_of(text)?;
    Head::read(&mut Reader::new(&body)).map(|head| head.public.to_vec())
}

/// How a private key is encrypted when it is written.
#[derive(Clone, Copy)]
pub struct Encryption<'a> {
    /// The passphrase, which must not be empty.
    pub passphrase: &'a [u8],
    /// The cipher.
    pub cipher: OpenSshCipher,
    /// Rounds of bcrypt_pbkdf, 1 to [`MAX_KDF_ROUNDS`].
    pub rounds: u32,
}

impl<'a> Encryption<'a> {
    /// AES-256-CTR and [`KDF_ROUNDS`], as `ssh-keygen` writes.
    #[must_use]
    pub fn new(passphrase: &'a [u8]) -> Self {
        Self { passphrase, cipher: OpenSshCipher::default(), rounds: KDF_ROUNDS }
    }
}

impl fmt::Debug for Encryption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encryption({}, {} rounds, [..])", self.cipher.name(), self.rounds)
    }
}

/// Writes a private key as armored text: encrypted with bcrypt and AES-256-CTR under a passphrase, in the clear
/// without. Line feeds and other control characters are left out of the comment.
///
/// # Errors
/// As for [`write_with`].
pub fn write(
    key: &PrivateKey,
    comment: &str,
    passphrase: Option<&[u8]>,
) -> Result<Zeroizing<String>, KeyFormatError> {
    write_with(key, comment, passphrase.map(Encryption::new))
}

/// [`write()`] with a cipher and rounds of the caller's choice.
///
/// # Errors
/// [`KeyFormatError::EmptyPassphrase`], [`KeyFormatError::TooManyRounds`] over [`MAX_KDF_ROUNDS`], or
/// [`KeyFormatError::NoRandomness`].
pub fn write_with(
    key: &PrivateKey,
    comment: &str,
    encryption: Option<Encryption<'_>>,
) -> Result<Zeroizing<String>, KeyFormatError> {
    let block = if encryption.is_some() { CIPHER_BLOCK } else { PLAIN_BLOCK };
    let mut section = private_section(key, &clean_comment(comment), random()?, block);
    let mut body = Zeroizing::new(Vec::with_capacity(section.len().saturating_mul(2).saturating_add(512)));
    body.put_bytes(MAGIC);
    let mut tag = Vec::new();
    if let Some(Encryption { passphrase, cipher, rounds }) = encryption {
        if passphrase.is_empty() {
            return Err(KeyFormatError::EmptyPassphrase);
        }
        if rounds > MAX_KDF_ROUNDS {
            return Err(KeyFormatError::TooManyRounds { rounds, limit: MAX_KDF_ROUNDS });
        }
        let rounds = rounds.max(1);
        let salt: [u8; SALT_LEN] = random()?;
        tag = cipher.encrypt(&Kdf { passphrase, salt: &salt, rounds }, &mut section)?;
        let mut options = Vec::new();
        options.put_string(&salt);
        options.put_u32(rounds);
        body.put_string(cipher.name().as_bytes());
        body.put_string(b"bcrypt");
        body.put_string(&options);
    } else {
        body.put_string(b"none");
        body.put_string(b"none");
        body.put_string(b"");
    }
    body.put_u32(1);
    body.put_string(&key.public_key().to_blob());
    body.put_string(&section);
    body.put_bytes(&tag);
    Ok(armor(LABEL, ARMOR_WIDTH, &body))
}

/// What is inside the armor.
fn body_of(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    if text.len() > super::MAX_KEY_FILE_LEN {
        return Err(KeyFormatError::TooLong);
    }
    let pem = Pem::parse(text)?;
    if pem.label != LABEL.as_bytes() {
        return Err(KeyFormatError::UnknownFormat(shown(pem.label)));
    }
    Ok(pem.body)
}

/// What stands in front of the private section, in the clear.
struct Head<'a> {
    cipher_name: &'a [u8],
    kdf_name: &'a [u8],
    kdf_options: &'a [u8],
    public: &'a [u8],
}

impl<'a> Head<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, KeyFormatError> {
        if reader.bytes(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(KeyFormatError::UnknownFormat("file without the openssh-key-v1 magic".into()));
        }
        let cipher_name = reader.string_max(MAX_NAME_LEN)?;
        let kdf_name = reader.string_max(MAX_NAME_LEN)?;
        let kdf_options = reader.string()?;
        match reader.u32()? {
            1 => {}
            count => return Err(KeyFormatError::NotOneKey(count)),
        }
        let public = reader.string()?;
        Ok(Self { cipher_name, kdf_name, kdf_options, public })
    }
}

/// Parses what is inside the armor.
pub(super) fn parse_body(
    body: &[u8],
    passphrase: Option<&[u8]>,
    max_rounds: u32,
) -> Result<KeyPair, KeyFormatError> {
    let mut reader = Reader::new(body);
    let Head { cipher_name, kdf_name, kdf_options, public } = Head::read(&mut reader)?;
    let public = PublicKey::from_blob(public)?;
    let section = reader.string()?;

    if cipher_name == b"none" {
        if kdf_name != b"none" || !kdf_options.is_empty() {
            return Err(KeyFormatError::UnsupportedKdf(shown(kdf_name)));
        }
        reader.finish()?;
        return parse_section(section, &public, PLAIN_BLOCK, KeyFormatError::Mismatch);
    }
    let cipher = FileCipher::from_name(cipher_name)
        .ok_or_else(|| KeyFormatError::UnsupportedCipher(shown(cipher_name)))?;
    if kdf_name != b"bcrypt" {
        return Err(KeyFormatError::UnsupportedKdf(shown(kdf_name)));
    }
    let tag = reader.bytes(cipher.tag_len())?;
    reader.finish()?;
    let (salt, rounds) = read_kdf_options(kdf_options, max_rounds)?;
    if !section.len().is_multiple_of(cipher.block_len()) {
        return Err(KeyFormatError::WrongPassphrase);
    }
    let passphrase = passphrase.ok_or(KeyFormatError::PassphraseNeeded)?;
    if passphrase.is_empty() {
        return Err(KeyFormatError::WrongPassphrase);
    }
    let mut section = Zeroizing::new(section.to_vec());
    cipher.decrypt(&Kdf { passphrase, salt, rounds }, &mut section, tag)?;
    parse_section(&section, &public, cipher.block_len(), KeyFormatError::WrongPassphrase)
}

/// Checked before the KDF runs, so that a hostile file costs nothing.
fn read_kdf_options(options: &[u8], max_rounds: u32) -> Result<(&[u8], u32), KeyFormatError> {
    let mut reader = Reader::new(options);
    let salt = reader.string_max(MAX_SALT_LEN)?;
    let rounds = reader.u32()?;
    reader.finish()?;
    let limit = max_rounds.min(MAX_KDF_ROUNDS);
    if rounds > limit {
        return Err(KeyFormatError::TooManyRounds { rounds, limit });
    }
    if salt.is_empty() || rounds == 0 {
        return Err(KeyFormatError::UnsupportedKdf("bcrypt without salt or rounds".into()));
    }
    Ok((salt, rounds))
}

/// Parses the decrypted section. `unequal` is what unequal check ints mean.
fn parse_section(
    section: &[u8],
    public: &PublicKey,
    block: usize,
    unequal: KeyFormatError,
) -> Result<KeyPair, KeyFormatError> {
    let mut reader = Reader::new(section);
    if reader.u32()? != reader.u32()? {
        return Err(unequal);
    }
    let private = read_private(&mut reader)?;
    let comment = String::from_utf8_lossy(reader.string()?).into_owned();
    let padding = reader.rest();
    let expected = (1..=u8::MAX).take(padding.len());
    if padding.len() >= block || !section.len().is_multiple_of(block) || !padding.iter().copied().eq(expected)
    {
        return Err(KeyFormatError::BadArmor);
    }
    if private.public_key() != *public {
        return Err(KeyFormatError::Mismatch);
    }
    Ok(KeyPair::new(private, &comment))
}

fn read_private(reader: &mut Reader<'_>) -> Result<PrivateKey, KeyFormatError> {
    match reader.string_max(MAX_NAME_LEN)? {
        b"ssh-ed25519" => read_ed25519(reader),
        b"ecdsa-sha2-nistp256" => read_ecdsa(Curve::P256, reader),
        b"ecdsa-sha2-nistp384" => read_ecdsa(Curve::P384, reader),
        b"ecdsa-sha2-nistp521" => read_ecdsa(Curve::P521, reader),
        b"ssh-rsa" => read_rsa(reader),
        other => Err(KeyFormatError::UnsupportedType(shown(other))),
    }
}

fn read_ed25519(reader: &mut Reader<'_>) -> Result<PrivateKey, KeyFormatError> {
    let public: [u8; 32] = reader.string()?.try_into().map_err(|_| KeyError::Mismatch)?;
    let (seed, again) = reader.string()?.split_first_chunk::<32>().ok_or(KeyError::Mismatch)?;
    // The private field is seed ‖ public.
    if again != public.as_slice() {
        return Err(KeyFormatError::Mismatch);
    }
    Ok(PrivateKey::Ed25519 { seed: Zeroizing::new(*seed), public })
}

fn read_ecdsa(curve: Curve, reader: &mut Reader<'_>) -> Result<PrivateKey, KeyFormatError> {
    if reader.string()? != curve.name().as_bytes() {
        return Err(KeyError::Mismatch.into());
    }
    let point = reader.string()?;
    // An mpint for OpenSSH; Dev Tunnels' Go peer leaves the sign byte out, so this reads a plain number.
    PrivateKey::ecdsa(curve, reader.string()?, point)
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<PrivateKey, KeyFormatError> {
    let n = reader.mpint()?;
    let e = reader.mpint()?;
    let d = reader.mpint()?;
    let iqmp = reader.mpint()?;
    let p = reader.mpint()?;
    let q = reader.mpint()?;
    PrivateKey::rsa(&RsaNumbers { e, n, d, p, q, iqmp })
}

fn private_section(key: &PrivateKey, comment: &str, check: [u8; 4], block: usize) -> Zeroizing<Vec<u8>> {
    let public_len = key.public_key().to_blob().len();
    // Every private form is under four times its public one; with room to spare the buffer never moves.
    let room = public_len.saturating_mul(4).saturating_add(comment.len()).saturating_add(512);
    let mut out = Zeroizing::new(Vec::with_capacity(room));
    out.put_bytes(&check);
    out.put_bytes(&check);
    out.put_string(key.public_key().kind().name().as_bytes());
    match key {
        PrivateKey::Ed25519 { seed, public } => {
            out.put_string(public);
            out.put_len(64);
            out.put_bytes(&**seed);
            out.put_bytes(public);
        }
        PrivateKey::Ecdsa { curve, d, point } => {
            out.put_string(curve.name().as_bytes());
            out.put_string(point);
            out.put_mpint(d);
        }
        PrivateKey::Rsa { e, n, d, p, q, iqmp } => {
            for number in [&**n, &**e, &***d, &***iqmp, &***p, &***q] {
                out.put_mpint(number);
            }
        }
    }
    out.put_string(comment.as_bytes());
    let padding = out.len().next_multiple_of(block).saturating_sub(out.len());
    out.extend((1..=u8::MAX).take(padding));
    debug_assert!(out.len() <= room);
    out
}
