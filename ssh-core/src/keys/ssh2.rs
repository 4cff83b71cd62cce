//! RFC 4716 public keys, and the private RSA keys of ssh.com's SSH2, which have the same armor.
//!
//! The content of a private key is a magic, its own length, the names of key type and cipher, and a blob: its length
//! again, then e, d, n, q⁻¹ mod p, q and p, each as a number of bits and big-endian bytes.

use zeroize::Zeroizing;

use super::cbc_cipher::CbcCipher;
use super::dek_info;
use super::error::shown;
use super::pem;
use super::public::bit_len;
use super::public_line::clean_comment;
use super::rsa_numbers::RsaNumbers;
use super::{Half, KeyFormat, KeyFormatError, KeyPair, PrivateKey, PublicKey, PublicLine};
use crate::protocol::wire::{Reader, Write as _, trim_leading_zeros};

const PUBLIC: &str = "SSH2 PUBLIC KEY";
const PRIVATE: &str = "SSH2 ENCRYPTED PRIVATE KEY";
const MAGIC: u32 = 0x3f6f_f9eb;
const RSA_TYPE: &[u8] = b"if-modn{sign{rsa-pkcs1-sha1},encrypt{rsa-pkcs1v2-oaep}}";
/// RFC 4716 §3.1: no line is longer than 72 bytes.
const LINE: usize = 72;
const WIDTH: usize = 70;

/// One armored block, `---- BEGIN ... ----` with four dashes.
struct Block {
    half: Half,
    comment: String,
    body: Zeroizing<Vec<u8>>,
}

/// Which half the first block holds. `None` if there is none.
pub(super) fn half_of(text: &[u8]) -> Option<Half> {
    lines(text).find_map(|line| half_at(line, "BEGIN"))
}

/// Parses a private key.
pub(super) fn parse(text: &[u8], passphrase: Option<&[u8]>) -> Result<KeyPair, KeyFormatError> {
    let block = Block::parse(text)?;
    match block.half {
        Half::Public => Err(KeyFormatError::IsPublic),
        Half::Private => Ok(KeyPair::new(parse_private(&block.body, passphrase)?, &block.comment)),
    }
}

/// Parses a public key.
pub(super) fn parse_public(text: &[u8]) -> Result<PublicLine, KeyFormatError> {
    let block = Block::parse(text)?;
    match block.half {
        Half::Private => Err(KeyFormatError::IsPrivate),
        Half::Public => Ok(PublicLine::new(PublicKey::from_blob(&block.body)?, &block.comment)),
    }
}

/// Writes a private RSA key in the clear.
pub(super) fn write(key: &PrivateKey, comment: &str) -> Result<Zeroizing<String>, KeyFormatError> {
    let PrivateKey::Rsa { e, n, d, p, q, iqmp } = key else {
        let kind = key.public_key().kind();
        return Err(KeyFormatError::CannotHold { format: KeyFormat::Ssh2, half: Half::Private, kind });
    };
    let numbers: [&[u8]; 6] = [e, d, n, iqmp, q, p];
    let len: usize = numbers.iter().map(|number| number.len().saturating_add(4)).sum();
    let room = len.saturating_add(128);
    let mut body = Zeroizing::new(Vec::with_capacity(room));
    body.put_u32(MAGIC);
    body.put_u32(0);
    body.put_string(RSA_TYPE);
    body.put_string(b"none");
    body.put_len(len.saturating_add(4));
    body.put_len(len);
    for number in numbers {
        body.put_len(bit_len(number));
        body.put_bytes(number);
    }
    debug_assert!(body.len() <= room);
    let total = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if let Some(field) = body.get_mut(4..8) {
        field.copy_from_slice(&total.to_be_bytes());
    }
    Ok(armor(PRIVATE, comment, &body))
}

/// Writes a public key.
pub(super) fn write_public(key: &PublicKey, comment: &str) -> String {
    armor(PUBLIC, comment, &key.to_blob()).to_string()
}

fn armor(label: &str, comment: &str, body: &[u8]) -> Zeroizing<String> {
    let begin = format!("---- BEGIN {label} ----\n{}", comment_header(&clean_comment(comment)));
    pem::frame(&begin, &format!("---- END {label} ----\n"), WIDTH, body)
}

/// The header with its value in quotes, folded by a backslash at the end of a line (RFC 4716 §3.3).
fn comment_header(comment: &str) -> String {
    if comment.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    let mut line = 0_usize;
    for c in format!("Comment: \"{comment}\"").chars() {
        if line.saturating_add(c.len_utf8()) >= LINE {
            out.push_str("\\\n");
            line = 0;
        }
        out.push(c);
        line = line.saturating_add(c.len_utf8());
    }
    out.push('\n');
    out
}

impl Block {
    fn parse(text: &[u8]) -> Result<Self, KeyFormatError> {
        let mut lines = lines(text);
        let half = lines.find_map(|line| half_at(line, "BEGIN")).ok_or(KeyFormatError::NoPrivateKey)?;
        let mut comment = Vec::new();
        let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(KeyFormatError::BadArmor)?;
            if half_at(line, "END") == Some(half) {
                break;
            }
            if line.contains(&b':') {
                let mut header = line.trim_ascii_start().to_vec();
                while header.last() == Some(&b'\\') {
                    header.pop();
                    header.extend_from_slice(lines.next().ok_or(KeyFormatError::BadArmor)?);
                }
                // The tag's case does not count (RFC 4716 §3.3).
                if let Some((tag, value)) = header.split_at_checked(8)
                    && tag.eq_ignore_ascii_case(b"comment:")
                    && comment.is_empty()
                {
                    comment = value.to_vec();
                }
            } else {
                base64.extend_from_slice(line.trim_ascii_start());
            }
        }
        if lines.any(|line| !line.is_empty()) {
            return Err(KeyFormatError::Trailing);
        }
        let comment = String::from_utf8_lossy(&comment);
        let comment = comment.trim();
        let unquoted = comment.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(comment);
        Ok(Self { half, comment: clean_comment(unquoted), body: pem::decode(&base64)? })
    }
}

/// Blanks at the beginning stay: a header may have been folded in front of one.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
}

fn half_at(line: &[u8], word: &str) -> Option<Half> {
    let label = line
        .trim_ascii_start()
        .strip_prefix(b"---- ")?
        .strip_prefix(word.as_bytes())?
        .strip_suffix(b" ----")?;
    match label.strip_prefix(b" ")? {
        label if label == PUBLIC.as_bytes() => Some(Half::Public),
        label if label == PRIVATE.as_bytes() => Some(Half::Private),
        _ => None,
    }
}

fn parse_private(body: &[u8], passphrase: Option<&[u8]>) -> Result<PrivateKey, KeyFormatError> {
    let mut reader = Reader::new(body);
    if reader.u32()? != MAGIC {
        return Err(KeyFormatError::UnknownFormat("file without the SSH2 magic".into()));
    }
    // The total length says nothing that the armor does not; writers differ in it.
    reader.u32()?;
    let kind = reader.string_max(256)?;
    if !kind.starts_with(b"if-modn") {
        return Err(KeyFormatError::UnsupportedType(shown(kind)));
    }
    let cipher = reader.string_max(64)?;
    let blob = reader.string()?;
    reader.finish()?;
    match cipher {
        b"none" => parse_blob(blob),
        b"3des-cbc" => {
            let cipher = CbcCipher::TripleDes;
            let passphrase = passphrase.ok_or(KeyFormatError::PassphraseNeeded)?;
            // MD5(passphrase) ‖ MD5(passphrase ‖ the first), and no IV.
            let key = derive(passphrase);
            let mut blob = Zeroizing::new(blob.to_vec());
            cipher.decrypt(&key, &[0; 8], &mut blob).ok_or(KeyFormatError::WrongPassphrase)?;
            // There is no check value: a wrong passphrase shows in numbers that are no key.
            parse_blob(&blob).map_err(|_| KeyFormatError::WrongPassphrase)
        }
        other => Err(KeyFormatError::UnsupportedCipher(shown(other))),
    }
}

fn derive(passphrase: &[u8]) -> Zeroizing<Vec<u8>> {
    let first = dek_info::derive(passphrase, b"", 16);
    let second = dek_info::derive(passphrase, &first, 16);
    let mut key = Zeroizing::new(Vec::with_capacity(32));
    key.extend_from_slice(&first);
    key.extend_from_slice(&second);
    key.truncate(CbcCipher::TripleDes.key_len());
    key
}

fn parse_blob(blob: &[u8]) -> Result<PrivateKey, KeyFormatError> {
    let mut reader = Reader::new(blob);
    // Go writes bits here and others bytes. The numbers say themselves where they end, and padding may follow.
    reader.u32()?;
    let mut number = || {
        let bits = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        Ok::<_, KeyFormatError>(trim_leading_zeros(reader.bytes(bits.div_ceil(8))?))
    };
    let (e, d, n, iqmp, q, p) = (number()?, number()?, number()?, number()?, number()?, number()?);
    if reader.rest().len() >= CbcCipher::TripleDes.block_len() {
        return Err(KeyFormatError::BadArmor);
    }
    PrivateKey::rsa(&RsaNumbers { e, n, d, p, q, iqmp })
}
