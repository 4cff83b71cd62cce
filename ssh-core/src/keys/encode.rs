//! Writing a key in a format of the caller's choice.

use std::path::Path;

use zeroize::Zeroizing;

use super::files::{self, Overwrite};
use super::jwk::CurveNames;
use super::pem::armor;
use super::{
    Half, KeyFileError, KeyFormat, KeyFormatError, KeyPair, PublicKey, PublicLine, jwk, openssh, pbes2,
    pkcs1, pkcs8, sec1, ssh2,
};

/// RFC 7468 §2.
const PEM_WIDTH: usize = 64;

impl KeyPair {
    /// The private key as the text of a file, encrypted if there is a passphrase. The comment is kept where the format
    /// has room for one: in `openssh`, `ssh2`, `jwk` and `jwk-nist`.
    ///
    /// # Errors
    /// [`KeyFormatError::CannotHold`] if the format has no place for a private key of this kind,
    /// [`KeyFormatError::CannotEncrypt`] if there is a passphrase and it is none of `openssh` and `pkcs8`,
    /// [`KeyFormatError::EmptyPassphrase`], or [`KeyFormatError::NoRandomness`].
    pub fn encode(
        &self,
        format: KeyFormat,
        passphrase: Option<&[u8]>,
    ) -> Result<Zeroizing<String>, KeyFormatError> {
        let (key, comment) = (&self.private, &self.comment);
        let kind = key.public_key().kind();
        format.check(Half::Private, kind, passphrase)?;
        let armored = |label, body: &[u8]| Ok(armor(label, PEM_WIDTH, body));
        match (format, passphrase) {
            (KeyFormat::OpenSsh, _) => openssh::write(key, comment, passphrase),
            (KeyFormat::Pkcs8, None) => armored("PRIVATE KEY", &pkcs8::encode(key)?),
            (KeyFormat::Pkcs8, Some(passphrase)) => {
                armored("ENCRYPTED PRIVATE KEY", &pbes2::encrypt(&pkcs8::encode(key)?, passphrase)?)
            }
            (KeyFormat::Pkcs1, _) => armored("RSA PRIVATE KEY", &pkcs1::encode(key)?),
            (KeyFormat::Sec1, _) => armored("EC PRIVATE KEY", &sec1::encode(key, true)?),
            (KeyFormat::Ssh2, _) => ssh2::write(key, comment),
            (KeyFormat::Jwk, _) => jwk::write(key, comment, CurveNames::Registered),
            (KeyFormat::JwkNist, _) => jwk::write(key, comment, CurveNames::Ssh),
            (KeyFormat::Rfc4716, _) => Err(KeyFormatError::CannotHold { format, half: Half::Private, kind }),
        }
    }
}

impl PublicLine {
    /// The key as the text of a file, with a line feed at its end. The comment is kept where the format has room for
    /// one: in `openssh`, `rfc4716`, `ssh2`, `jwk` and `jwk-nist`.
    ///
    /// # Errors
    /// [`KeyFormatError::CannotHold`] if the format has no place for a public key of this kind.
    pub fn encode(&self, format: KeyFormat) -> Result<String, KeyFormatError> {
        let Self { key, comment } = self;
        format.check(Half::Public, key.kind(), None)?;
        let armored = |label, body: &[u8]| Ok(armor(label, PEM_WIDTH, body).to_string());
        match format {
            KeyFormat::OpenSsh => Ok(format!("{self}\n")),
            KeyFormat::Pkcs8 => armored("PUBLIC KEY", &pkcs8::encode_public(key)?),
            KeyFormat::Pkcs1 => armored("RSA PUBLIC KEY", &pkcs1::encode_public(key)?),
            KeyFormat::Rfc4716 | KeyFormat::Ssh2 => Ok(ssh2::write_public(key, comment)),
            KeyFormat::Jwk => Ok(jwk::write_public(key, comment, CurveNames::Registered)),
            KeyFormat::JwkNist => Ok(jwk::write_public(key, comment, CurveNames::Ssh)),
            KeyFormat::Sec1 => {
                Err(KeyFormatError::CannotHold { format, half: Half::Public, kind: key.kind() })
            }
        }
    }
}

impl PublicLine {
    /// Writes a file with mode 0644, whole or not at all, as [`KeyPair::write_file`] does.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], or [`KeyFileError::Format`] with what [`encode`](Self::encode) says.
    pub fn write_file(
        &self,
        path: impl AsRef<Path>,
        format: KeyFormat,
        overwrite: Overwrite,
    ) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let text =
            self.encode(format).map_err(|source| KeyFileError::Format { path: path.into(), source })?;
        files::write_whole(path, text.as_bytes(), 0o644, overwrite)
    }
}

impl PublicKey {
    /// The key as the text of a file, without a comment.
    ///
    /// # Errors
    /// As for [`PublicLine::encode`].
    pub fn encode(&self, format: KeyFormat) -> Result<String, KeyFormatError> {
        PublicLine::new(self.clone(), "").encode(format)
    }
}
