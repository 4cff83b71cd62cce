use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::PublicKey;

const PREFIX: &str = "SHA256:";
/// People copy fingerprints with and without the padding.
const READER: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 of a key blob, written as OpenSSH does: `SHA256:` and 43 characters of base64 without padding.
///
/// Comparing two takes constant time.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// It does not begin with `SHA256:`.
    #[error("a fingerprint begins with `SHA256:`; print one with `ssh-keygen -l -E sha256 -f FILE`")]
    NotSha256,
    /// What follows is not 32 bytes in base64.
    #[error("a fingerprint has 43 characters of base64 behind `SHA256:`; copy it again, whole")]
    BadLength,
}

impl Fingerprint {
    /// The fingerprint of a key blob.
    #[must_use]
    pub fn of_blob(blob: &[u8]) -> Self {
        Self(Sha256::digest(blob).into())
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PublicKey {
    /// The SHA-256 fingerprint of [`to_blob`](Self::to_blob), as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_blob(&self.to_blob())
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Fingerprint {}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads what `Display` writes, with or without the padding `=`.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let base64 = text.strip_prefix(PREFIX).ok_or(FingerprintError::NotSha256)?;
        if !(43..=44).contains(&base64.len()) {
            return Err(FingerprintError::BadLength);
        }
        let bytes = READER.decode(base64).map_err(|_| FingerprintError::BadLength)?;
        bytes.try_into().map(Self).map_err(|_| FingerprintError::BadLength)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The digest of the empty string, by coreutils.
    const EMPTY: &str = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";

    #[test]
    fn it_is_printed_without_and_read_with_or_without_padding() {
        let fingerprint = Fingerprint::of_blob(b"");
        assert_eq!(fingerprint.to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(fingerprint));
        assert_eq!(format!("{EMPTY}=").parse(), Ok(fingerprint));
        assert_ne!(Fingerprint::of_blob(b"x"), fingerprint);
    }

    #[test]
    fn other_texts_are_refused() {
        use FingerprintError::{BadLength, NotSha256};
        let cut = &EMPTY[..EMPTY.len() - 1];
        for (text, error) in [
            ("", NotSha256),
            ("MD5:d4:1d:8c", NotSha256),
            ("sha256:47DEQpj8", NotSha256),
            ("SHA256:", BadLength),
            (cut, BadLength),
            // The last character carries only 4 bits; the other 2 must be zero.
            (&format!("{cut}V"), BadLength),
            (&format!("{EMPTY}A"), BadLength),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(error), "{text}");
        }
    }
}
