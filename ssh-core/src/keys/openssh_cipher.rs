//! How an OpenSSH private key file is encrypted: bcrypt_pbkdf and AES, or ChaCha20.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20::ChaCha20;
use chacha20::cipher::StreamCipherSeek as _;
use poly1305::Poly1305;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::KeyFormatError;
use super::cbc_cipher::CbcCipher;

/// A cipher of the OpenSSH format, ChaCha20 and the ones of CBC mode for reading alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileCipher {
    Aes128Ctr,
    Aes192Ctr,
    Aes256Ctr,
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Cbc(CbcCipher),
}

impl FileCipher {
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"aes128-ctr" => Some(Self::Aes128Ctr),
            b"aes192-ctr" => Some(Self::Aes192Ctr),
            b"aes256-ctr" => Some(Self::Aes256Ctr),
            b"aes128-gcm@openssh.com" => Some(Self::Aes128Gcm),
            b"aes256-gcm@openssh.com" => Some(Self::Aes256Gcm),
            b"chacha20-poly1305@openssh.com" => Some(Self::ChaCha20Poly1305),
            b"aes128-cbc" => Some(Self::Cbc(CbcCipher::Aes128)),
            b"aes192-cbc" => Some(Self::Cbc(CbcCipher::Aes192)),
            b"aes256-cbc" => Some(Self::Cbc(CbcCipher::Aes256)),
            b"3des-cbc" => Some(Self::Cbc(CbcCipher::TripleDes)),
            _ => None,
        }
    }

    /// Bytes behind the encrypted section.
    pub(super) const fn tag_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm | Self::ChaCha20Poly1305 => 16,
            _ => 0,
        }
    }

    /// What the section is padded to.
    pub(super) const fn block_len(self) -> usize {
        match self {
            Self::Cbc(cipher) => cipher.block_len(),
            Self::ChaCha20Poly1305 => 8,
            _ => 16,
        }
    }

    const fn key_len(self) -> usize {
        match self {
            Self::Aes128Ctr | Self::Aes128Gcm => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Ctr | Self::Aes256Gcm => 32,
            Self::ChaCha20Poly1305 => 64,
            Self::Cbc(cipher) => cipher.key_len(),
        }
    }

    const fn iv_len(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes256Gcm => 12,
            Self::ChaCha20Poly1305 => 0,
            Self::Cbc(cipher) => cipher.block_len(),
            _ => 16,
        }
    }

    /// Decrypts `section` where it lies. Only those with a tag can tell that the passphrase is wrong; for the others the check ints
    /// do.
    pub(super) fn decrypt(self, kdf: &Kdf<'_>, section: &mut [u8], tag: &[u8]) -> Result<(), KeyFormatError> {
        let material = kdf.derive(self.key_len().saturating_add(self.iv_len()))?;
        let (key, iv) = material.split_at_checked(self.key_len()).ok_or(KeyFormatError::WrongPassphrase)?;
        let done = match self {
            Self::Aes128Ctr => ctr::<ctr::Ctr128BE<aes::Aes128>>(key, iv, section),
            Self::Aes192Ctr => ctr::<ctr::Ctr128BE<aes::Aes192>>(key, iv, section),
            Self::Aes256Ctr => ctr::<ctr::Ctr128BE<aes::Aes256>>(key, iv, section),
            Self::Aes128Gcm => open_gcm::<Aes128Gcm>(key, iv, section, tag),
            Self::Aes256Gcm => open_gcm::<Aes256Gcm>(key, iv, section, tag),
            Self::ChaCha20Poly1305 => open_chacha(key, section, tag),
            Self::Cbc(cipher) => cipher.decrypt(key, iv, section),
        };
        done.ok_or(KeyFormatError::WrongPassphrase)
    }
}

/// A cipher that private OpenSSH keys are written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OpenSshCipher {
    /// `aes256-ctr`, which is what `ssh-keygen` writes and every reader has.
    #[default]
    Aes256Ctr,
    /// `aes256-gcm@openssh.com`, which tells a damaged file from a sound one.
    Aes256Gcm,
}

impl OpenSshCipher {
    /// Its name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Ctr => "aes256-ctr",
            Self::Aes256Gcm => "aes256-gcm@openssh.com",
        }
    }

    /// Encrypts `section` where it lies; what comes out is the tag, empty if there is none.
    pub(super) fn encrypt(self, kdf: &Kdf<'_>, section: &mut [u8]) -> Result<Vec<u8>, KeyFormatError> {
        match self {
            Self::Aes256Ctr => FileCipher::Aes256Ctr.decrypt(kdf, section, &[]).map(|()| Vec::new()),
            Self::Aes256Gcm => {
                let cipher = FileCipher::Aes256Gcm;
                let material = kdf.derive(cipher.key_len().saturating_add(cipher.iv_len()))?;
                let (key, iv) = material.split_at(cipher.key_len().min(material.len()));
                seal_gcm(key, iv, section).ok_or(KeyFormatError::NoRandomness)
            }
        }
    }
}

/// What turns a passphrase into a key: bcrypt_pbkdf with a salt and a number of rounds.
pub(super) struct Kdf<'a> {
    pub(super) passphrase: &'a [u8],
    pub(super) salt: &'a [u8],
    pub(super) rounds: u32,
}

impl Kdf<'_> {
    fn derive(&self, len: usize) -> Result<Zeroizing<Vec<u8>>, KeyFormatError> {
        let mut out = Zeroizing::new(vec![0; len]);
        // The crate's own buffer would stay on the stack as it is.
        let mut memory = Zeroizing::new([0; 64]);
        bcrypt_pbkdf::bcrypt_pbkdf_with_memory(
            self.passphrase,
            self.salt,
            self.rounds,
            &mut out,
            &mut *memory,
        )
        .map_err(|_| KeyFormatError::UnsupportedKdf("bcrypt".into()))?;
        Ok(out)
    }
}

fn ctr<C: KeyIvInit + StreamCipher>(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<()> {
    C::new_from_slices(key, iv).ok()?.try_apply_keystream(data).ok()
}

fn open_gcm<C: KeyInit + AeadInOut>(key: &[u8], iv: &[u8], data: &mut [u8], tag: &[u8]) -> Option<()> {
    let cipher = C::new_from_slice(key).ok()?;
    let nonce = Nonce::<C>::try_from(iv).ok()?;
    let tag = Tag::<C>::try_from(tag).ok()?;
    cipher.decrypt_inout_detached(&nonce, &[], data.into(), &tag).ok()
}

/// As a packet with the number 0 (OpenSSH PROTOCOL.chacha20poly1305), but for the length: there is none, and the second
/// half of the key, which is for that, is of no use.
fn open_chacha(key: &[u8], data: &mut [u8], tag: &[u8]) -> Option<()> {
    let mut cipher = ChaCha20::new_from_slices(key.get(..32)?, &[0; 12]).ok()?;
    let mut one_time_key = Zeroizing::new([0; 32]);
    cipher.try_apply_keystream(&mut *one_time_key).ok()?;
    let found = Poly1305::new((&*one_time_key).into()).compute_unpadded(data);
    if !bool::from(found.as_slice().ct_eq(tag)) {
        return None;
    }
    cipher.try_seek(64_u64).ok()?;
    cipher.try_apply_keystream(data).ok()
}

fn seal_gcm(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<Vec<u8>> {
    let nonce = Nonce::<Aes256Gcm>::try_from(iv).ok()?;
    let tag = Aes256Gcm::new_from_slice(key).ok()?.encrypt_inout_detached(&nonce, &[], data.into()).ok()?;
    Some(tag.to_vec())
}
