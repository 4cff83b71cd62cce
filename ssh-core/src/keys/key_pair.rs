use std::path::Path;

use zeroize::Zeroizing;

use super::files::{self, Overwrite};
use super::{
    Half, KdfLimits, KeyFileError, KeyFormat, KeyFormatError, KeyKind, MAX_KEY_FILE_LEN, PrivateKey,
    PublicKey, PublicLine, openssh,
};
use crate::crypto::{CryptoError, CryptoProvider};

/// A private key and the comment it is stored with.
#[derive(Debug)]
pub struct KeyPair {
    /// The key.
    pub private: PrivateKey,
    /// The comment; empty if there is none. It has no control characters.
    pub comment: String,
}

impl KeyPair {
    /// A key with a comment, whose control characters are taken out.
    #[must_use]
    pub fn new(private: PrivateKey, comment: &str) -> Self {
        Self { private, comment: super::public_line::clean_comment(comment) }
    }

    /// A fresh key without a comment. `rsa_bits` counts only for RSA (3072 to 16384).
    ///
    /// # Errors
    /// As for [`Signatures::generate`](crate::crypto::Signatures::generate).
    pub fn generate(provider: &CryptoProvider, kind: KeyKind, rsa_bits: u32) -> Result<Self, CryptoError> {
        Ok(Self::new(provider.signatures.generate(kind, rsa_bits)?, ""))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.private.public_key()
    }

    /// The public half as the line that `.pub` files hold, with the comment.
    #[must_use]
    pub fn public_line(&self) -> PublicLine {
        PublicLine::new(self.public_key(), &self.comment)
    }

    /// Parses a private key in any [`KeyFormat`], which is told by what it looks like: OpenSSH, PKCS#8, PKCS#1 or SEC1
    /// (in PEM, or DER without armor), SSH2, or JWK. An encrypted key is opened within [`KdfLimits::default`];
    /// [`parse_within`](Self::parse_within) lets the caller choose the limits.
    ///
    /// That the two halves belong together is checked as far as it goes without curve arithmetic;
    /// [`check`](Self::check) and [`Signatures::signer`](crate::crypto::Signatures::signer) check the rest.
    ///
    /// # Errors
    /// [`KeyFormatError`]. An encrypted key without a passphrase gives [`KeyFormatError::PassphraseNeeded`], so the
    /// caller can ask for one and try again.
    pub fn parse(input: &[u8], passphrase: Option<&[u8]>) -> Result<Self, KeyFormatError> {
        Self::parse_within(input, passphrase, &KdfLimits::default())
    }

    /// Makes sure that the two halves belong together, by the arithmetic of a crypto backend.
    ///
    /// # Errors
    /// [`KeyFormatError::Mismatch`] if they do not.
    pub fn check(&self, provider: &CryptoProvider) -> Result<(), KeyFormatError> {
        provider.signatures.signer(&self.private).map(drop).map_err(|_| KeyFormatError::Mismatch)
    }

    /// Reads a private key file. On Unix a file that its group or others may use is refused.
    ///
    /// # Errors
    /// [`KeyFileError`], which names the file; [`KeyFileError::Format`] holds what [`parse`](Self::parse) says.
    pub fn read_file(path: impl AsRef<Path>, passphrase: Option<&[u8]>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let format = |source| KeyFileError::Format { path: path.into(), source };
        let text = match files::read_private(path, MAX_KEY_FILE_LEN) {
            // A public key is open to others as it should be, but it is not what was asked for.
            Err(KeyFileError::OpenToOthers { .. }) if is_public(path) => {
                return Err(format(KeyFormatError::IsPublic));
            }
            read => read?,
        };
        Self::parse(&text, passphrase).map_err(format)
    }

    /// The key as an OpenSSH private key file, encrypted if there is a passphrase.
    ///
    /// # Errors
    /// [`KeyFormatError::EmptyPassphrase`], or [`KeyFormatError::NoRandomness`].
    pub fn to_openssh(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyFormatError> {
        openssh::write(&self.private, &self.comment, passphrase)
    }

    /// Writes an OpenSSH private key file with mode 0600, whole or not at all: to a temporary file beside it, synced,
    /// then renamed. Missing directories are made with mode 0700.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the file is there and `overwrite` does not allow it.
    pub fn write_file(
        &self,
        path: impl AsRef<Path>,
        passphrase: Option<&[u8]>,
        overwrite: Overwrite,
    ) -> Result<(), KeyFileError> {
        self.write_file_as(path, KeyFormat::OpenSsh, passphrase, overwrite)
    }

    /// [`write_file`](Self::write_file) in a format of the caller's choice.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], or [`KeyFileError::Format`] with what [`encode`](Self::encode) says.
    pub fn write_file_as(
        &self,
        path: impl AsRef<Path>,
        format: KeyFormat,
        passphrase: Option<&[u8]>,
        overwrite: Overwrite,
    ) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let text = self
            .encode(format, passphrase)
            .map_err(|source| KeyFileError::Format { path: path.into(), source })?;
        files::write_whole(path, text.as_bytes(), 0o600, overwrite)
    }

    /// Puts the key in the place of a file that exists, whole or not at all, and keeps the file's mode. A symbolic link
    /// stays one: the file that it leads to is replaced.
    ///
    /// # Errors
    /// [`KeyFileError::Format`] with what [`encode`](Self::encode) says, or what the operating system says.
    pub fn replace_file(
        &self,
        path: impl AsRef<Path>,
        format: KeyFormat,
        passphrase: Option<&[u8]>,
    ) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let text = self
            .encode(format, passphrase)
            .map_err(|source| KeyFileError::Format { path: path.into(), source })?;
        files::replace_whole(path, text.as_bytes())
    }

    /// Writes the public line to a file with mode 0644, in the same way.
    ///
    /// # Errors
    /// As for [`write_file`](Self::write_file).
    pub fn write_public_file(
        &self,
        path: impl AsRef<Path>,
        overwrite: Overwrite,
    ) -> Result<(), KeyFileError> {
        files::write_whole(path.as_ref(), format!("{}\n", self.public_line()).as_bytes(), 0o644, overwrite)
    }
}

/// Whether the file holds a public key.
fn is_public(path: &Path) -> bool {
    let text = files::read_public(path, MAX_KEY_FILE_LEN).ok().flatten();
    text.is_some_and(|text| {
        matches!(KeyFormat::detect(&text), Some((_, Half::Public))) || PublicLine::blob(&text).is_ok()
    })
}
