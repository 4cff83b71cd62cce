//! OpenSSH private key files, `openssh-key-v1`.
//!
//! Armor around: a magic, the names of cipher and KDF with its options, the number of keys, the public key, and a
//! section that may be encrypted: two equal check ints, the private key, a comment, and padding 1, 2, 3, ….

use zeroize::Zeroizing;

use super::error::shown;
use super::openssh_cipher::{FileCipher, Kdf};
use super::pem::{Pem, armor};
use super::public_line::clean_comment;
use super::{Curve, KeyError, KeyFormatError, KeyPair, PrivateKey, PublicKey};
use crate::protocol::wire::{Reader, Write as _, trim_leading_zeros};

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
    if text.len() > super::MAX_KEY_FILE_LEN {
        return Err(KeyFormatError::TooLong);
    }
    let pem = Pem::parse(text)?;
    if pem.label != LABEL.as_bytes() {
        return Err(KeyFormatError::UnknownFormat(shown(pem.label)));
    }
    parse_body(&pem.body, passphrase, max_rounds)
}

/// Writes a private key as armored text: encrypted with bcrypt and AES-256-CTR under a passphrase, in the clear
/// without. Line feeds and other control characters are left out of the comment.
///
/// # Errors
/// [`KeyFormatError::EmptyPassphrase`], or [`KeyFormatError::NoRandomness`].
pub fn write(
    key: &PrivateKey,
    comment: &str,
    passphrase: Option<&[u8]>,
) -> Result<Zeroizing<String>, KeyFormatError> {
    if passphrase.is_some_and(<[u8]>::is_empty) {
        return Err(KeyFormatError::EmptyPassphrase);
    }
    let block = if passphrase.is_some() { CIPHER_BLOCK } else { PLAIN_BLOCK };
    let mut section = private_section(key, &clean_comment(comment), random()?, block);
    let mut body = Zeroizing::new(Vec::with_capacity(section.len().saturating_mul(2).saturating_add(512)));
    body.put_bytes(MAGIC);
    if let Some(passphrase) = passphrase {
        let salt: [u8; SALT_LEN] = random()?;
        FileCipher::encrypt_ctr(&Kdf { passphrase, salt: &salt, rounds: KDF_ROUNDS }, &mut section)?;
        let mut options = Vec::new();
        options.put_string(&salt);
        options.put_u32(KDF_ROUNDS);
        body.put_string(b"aes256-ctr");
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
    Ok(armor(LABEL, ARMOR_WIDTH, &body))
}

/// Parses what is inside the armor.
pub(super) fn parse_body(
    body: &[u8],
    passphrase: Option<&[u8]>,
    max_rounds: u32,
) -> Result<KeyPair, KeyFormatError> {
    let mut reader = Reader::new(body);
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
    let public = PublicKey::from_blob(reader.string()?)?;
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
    if !section.len().is_multiple_of(CIPHER_BLOCK) {
        return Err(KeyFormatError::WrongPassphrase);
    }
    let passphrase = passphrase.ok_or(KeyFormatError::PassphraseNeeded)?;
    if passphrase.is_empty() {
        return Err(KeyFormatError::WrongPassphrase);
    }
    let mut section = Zeroizing::new(section.to_vec());
    cipher.decrypt(&Kdf { passphrase, salt, rounds }, &mut section, tag)?;
    parse_section(&section, &public, CIPHER_BLOCK, KeyFormatError::WrongPassphrase)
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

/// The numbers of an RSA private key, big endian.
pub(super) struct RsaNumbers<'a> {
    pub(super) e: &'a [u8],
    pub(super) n: &'a [u8],
    pub(super) d: &'a [u8],
    pub(super) p: &'a [u8],
    pub(super) q: &'a [u8],
    pub(super) iqmp: &'a [u8],
}

impl PrivateKey {
    /// An ECDSA key from a scalar of at most the field's length and its point. Whether they belong together is for
    /// the crypto backend to say.
    pub(super) fn ecdsa(curve: Curve, d: &[u8], point: &[u8]) -> Result<Self, KeyFormatError> {
        PublicKey::ecdsa(curve, point)?;
        let d = trim_leading_zeros(d);
        let zeros = curve.field_len().checked_sub(d.len()).ok_or(KeyError::Mismatch)?;
        if d.is_empty() {
            return Err(KeyError::Mismatch.into());
        }
        let mut padded = Zeroizing::new(vec![0; curve.field_len()].into_boxed_slice());
        if let Some(room) = padded.get_mut(zeros..) {
            room.copy_from_slice(d);
        }
        Ok(Self::Ecdsa { curve, d: padded, point: point.into() })
    }

    /// An RSA key whose numbers have sizes that can be right. Whether they belong together is for the crypto backend
    /// to say.
    pub(super) fn rsa(numbers: &RsaNumbers<'_>) -> Result<Self, KeyFormatError> {
        let PublicKey::Rsa { e, n } = PublicKey::rsa(numbers.e, numbers.n)? else {
            return Err(KeyError::Mismatch.into());
        };
        let [d, p, q, iqmp] = [numbers.d, numbers.p, numbers.q, numbers.iqmp].map(trim_leading_zeros);
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        let product_len = p.len().saturating_add(q.len());
        // A product is as long as its factors together, or a byte shorter.
        let sizes_fit = (n.len()..=n.len().saturating_add(1)).contains(&product_len)
            && d.len() <= n.len()
            && iqmp.len() <= p.len()
            && !iqmp.is_empty();
        if !sizes_fit || ![d, p, q].into_iter().all(odd) {
            return Err(KeyFormatError::Mismatch);
        }
        let secret = |number: &[u8]| Zeroizing::new(Box::<[u8]>::from(number));
        Ok(Self::Rsa { e, n, d: secret(d), p: secret(p), q: secret(q), iqmp: secret(iqmp) })
    }
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

fn random<const N: usize>() -> Result<[u8; N], KeyFormatError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| KeyFormatError::NoRandomness)?;
    Ok(out)
}
