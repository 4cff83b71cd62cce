//! How an OpenSSH private key file is encrypted: bcrypt_pbkdf and AES.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use zeroize::Zeroizing;

use super::KeyFormatError;

/// A cipher of the OpenSSH format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileCipher {
    Aes128Ctr,
    Aes192Ctr,
    Aes256Ctr,
    Aes256Gcm,
}

impl FileCipher {
    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"aes128-ctr" => Some(Self::Aes128Ctr),
            b"aes192-ctr" => Some(Self::Aes192Ctr),
            b"aes256-ctr" => Some(Self::Aes256Ctr),
            b"aes256-gcm@openssh.com" => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Bytes behind the encrypted section.
    pub(super) const fn tag_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 16,
            _ => 0,
        }
    }

    const fn key_len(self) -> usize {
        match self {
            Self::Aes128Ctr => 16,
            Self::Aes192Ctr => 24,
            Self::Aes256Ctr | Self::Aes256Gcm => 32,
        }
    }

    const fn iv_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 12,
            _ => 16,
        }
    }

    /// Decrypts `section` where it lies. Only GCM can tell that the passphrase is wrong; for CTR the check ints do.
    pub(super) fn decrypt(self, kdf: &Kdf<'_>, section: &mut [u8], tag: &[u8]) -> Result<(), KeyFormatError> {
        let material = kdf.derive(self.key_len().saturating_add(self.iv_len()))?;
        let (key, iv) = material.split_at_checked(self.key_len()).ok_or(KeyFormatError::WrongPassphrase)?;
        let done = match self {
            Self::Aes128Ctr => ctr::<ctr::Ctr128BE<aes::Aes128>>(key, iv, section),
            Self::Aes192Ctr => ctr::<ctr::Ctr128BE<aes::Aes192>>(key, iv, section),
            Self::Aes256Ctr => ctr::<ctr::Ctr128BE<aes::Aes256>>(key, iv, section),
            Self::Aes256Gcm => open_gcm(key, iv, section, tag),
        };
        done.ok_or(KeyFormatError::WrongPassphrase)
    }

    /// Encrypts with AES-256-CTR, which is what `ssh-keygen` writes.
    pub(super) fn encrypt_ctr(kdf: &Kdf<'_>, section: &mut [u8]) -> Result<(), KeyFormatError> {
        Self::Aes256Ctr.decrypt(kdf, section, &[])
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

fn open_gcm(key: &[u8], iv: &[u8], data: &mut [u8], tag: &[u8]) -> Option<()> {
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    let nonce = Nonce::try_from(iv).ok()?;
    let tag = Tag::try_from(tag).ok()?;
    cipher.decrypt_inout_detached(&nonce, &[], data.into(), &tag).ok()
}
