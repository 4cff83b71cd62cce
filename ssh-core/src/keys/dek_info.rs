//! The encryption of old PEM files (RFC 1421 headers, with the key derivation that OpenSSL has for them). Its KDF is
//! one round of MD5, so it is read and never written.

use md5::{Digest as _, Md5};
use zeroize::{Zeroize as _, Zeroizing};

use super::KeyFormatError;
use super::cbc_cipher::{CbcCipher, unpadded};
use super::error::shown;

/// Decrypts the content of a file whose `DEK-Info` header is `CIPHER,IV`.
pub(super) fn decrypt(
    dek_info: &[u8],
    body: &[u8],
    passphrase: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
    let unsupported = || KeyFormatError::UnsupportedCipher(shown(dek_info));
    let (name, iv) =
        std::str::from_utf8(dek_info).ok().and_then(|text| text.split_once(',')).ok_or_else(unsupported)?;
    let cipher = match name.trim() {
        "AES-128-CBC" => CbcCipher::Aes128,
        "AES-192-CBC" => CbcCipher::Aes192,
        "AES-256-CBC" => CbcCipher::Aes256,
        "DES-EDE3-CBC" => CbcCipher::TripleDes,
        _ => return Err(unsupported()),
    };
    let iv = from_hex(iv.trim()).filter(|iv| iv.len() == cipher.block_len()).ok_or_else(unsupported)?;
    let salt = iv.first_chunk::<8>().ok_or_else(unsupported)?;
    let passphrase = passphrase.ok_or(KeyFormatError::PassphraseNeeded)?;
    let key = derive(passphrase, salt, cipher.key_len());
    let mut content = Zeroizing::new(body.to_vec());
    cipher.decrypt(&key, &iv, &mut content).ok_or(KeyFormatError::WrongPassphrase)?;
    let len = unpadded(&content, cipher.block_len()).ok_or(KeyFormatError::WrongPassphrase)?.len();
    content.truncate(len);
    Ok(content)
}

/// D₁ = MD5(passphrase ‖ salt), Dᵢ₊₁ = MD5(Dᵢ ‖ passphrase ‖ salt); the key is D₁ ‖ D₂ ‖ … cut to `len`.
pub(super) fn derive(passphrase: &[u8], salt: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(len.next_multiple_of(16)));
    let mut last = [0; 16];
    while out.len() < len {
        let mut hash = Md5::new();
        if !out.is_empty() {
            hash.update(last);
        }
        hash.update(passphrase);
        hash.update(salt);
        last = hash.finalize().into();
        out.extend_from_slice(&last);
    }
    last.zeroize();
    out.truncate(len);
    out
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks_exact(2).map(byte).collect()
}
