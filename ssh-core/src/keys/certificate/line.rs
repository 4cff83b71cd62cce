use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::parse::kind_of_type;
use super::{Certificate, MAX_CERTIFICATE_LEN};
use crate::keys::public_line::{Words, blob_of, clean_comment, only_line, write_line};
use crate::keys::{KeyFileError, KeyFormatError, Overwrite, files};
use crate::protocol::wire::Reader;

/// A certificate on one line, `type base64 [comment]`, as in `-cert.pub` files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateLine {
    /// The certificate.
    pub certificate: Certificate,
    /// The comment; empty if there is none. It has no control characters.
    pub comment: String,
}

impl CertificateLine {
    /// A line. The comment is cleaned as that of a [`PublicLine`](crate::keys::PublicLine) is.
    #[must_use]
    pub fn new(certificate: Certificate, comment: &str) -> Self {
        Self { certificate, comment: clean_comment(comment) }
    }

    /// Parses a line. One line feed may end it, and blank lines and `#` comments may stand around it.
    ///
    /// # Errors
    /// [`KeyFormatError`] if a part is missing, the type text is not that of the certificate, the certificate is refused
    /// ([`KeyFormatError::Certificate`]), or there are several lines.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFormatError> {
        let Words { kind, base64, comment } = only_line(text, MAX_LINE_LEN)?;
        let certificate = Certificate::from_blob(&blob_of(kind, base64)?)?;
        if kind_of_type(kind.as_bytes()) != Some(certificate.key().kind()) {
            return Err(KeyFormatError::TypeMismatch);
        }
        Ok(Self::new(certificate, comment))
    }

    /// Reads a `-cert.pub` file. `None` if there is none.
    ///
    /// # Errors
    /// [`KeyFileError`], which names the file; [`KeyFileError::Format`] holds what [`parse`](Self::parse) says.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Option<Self>, KeyFileError> {
        let path = path.as_ref();
        let Some(text) = files::read_public(path, MAX_LINE_LEN)? else { return Ok(None) };
        let line = Self::parse(&text).map_err(|source| KeyFileError::Format { path: path.into(), source })?;
        Ok(Some(line))
    }

    /// The certificate beside a private key file: `KEY-cert.pub` beside `KEY`. `None` if there is none.
    ///
    /// Whether it certifies that key is for the caller to check.
    ///
    /// # Errors
    /// As for [`read_file`](Self::read_file).
    pub fn beside(key: impl AsRef<Path>) -> Result<Option<Self>, KeyFileError> {
        let mut name = key.as_ref().as_os_str().to_owned();
        name.push("-cert.pub");
        Self::read_file(PathBuf::from(name))
    }

    /// Writes a `-cert.pub` file with mode 0644, whole or not at all.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the file is there and `overwrite` does not allow it.
    pub fn write_file(&self, path: impl AsRef<Path>, overwrite: Overwrite) -> Result<(), KeyFileError> {
        files::write_whole(path.as_ref(), format!("{self}\n").as_bytes(), 0o644, overwrite)
    }
}

impl Certificate {
    /// The certificate of a line such as `-cert.pub` files hold; [`CertificateLine::parse`] gives its comment too.
    ///
    /// # Errors
    /// As for [`CertificateLine::parse`].
    pub fn parse_line(text: &[u8]) -> Result<Self, KeyFormatError> {
        CertificateLine::parse(text).map(|line| line.certificate)
    }
}

impl FromStr for CertificateLine {
    type Err = KeyFormatError;

    fn from_str(text: &str) -> Result<Self, KeyFormatError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for CertificateLine {
    /// The line without a line feed. Its type text is the one in the certificate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = self.certificate.as_blob();
        let kind = Reader::new(blob).text(64).unwrap_or_default();
        write_line(f, kind, blob, &self.comment)
    }
}

/// A line may not be longer, in bytes: a certificate in base64, with room for a comment.
const MAX_LINE_LEN: usize = MAX_CERTIFICATE_LEN * 3 / 2;
