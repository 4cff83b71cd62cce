use std::fmt;
use std::sync::Arc;

use super::{FingerprintError, KeyFormatError};

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or whatever name the text was given.
    pub source: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// A line of a `known_hosts` or `authorized_keys` file that is not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineWarning {
    /// The line.
    pub place: Place,
    /// Why it is not used.
    pub problem: LineProblem,
}

impl fmt::Display for LineWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the line is not used: {}", self.place, self.problem)
    }
}

/// Why a line is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// Over [`MAX_LINE_LEN`](super::MAX_LINE_LEN).
    #[error("it is over {} bytes", super::MAX_LINE_LEN)]
    TooLong,
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// A marker other than `@cert-authority` and `@revoked`.
    #[error("its marker is not known (there are `@cert-authority` and `@revoked`)")]
    UnknownMarker,
    /// A name field that is empty, or a hashed name that is malformed.
    #[error("its host names are malformed")]
    BadNames,
    /// A part is missing.
    #[error("it ends before its key")]
    Truncated,
    /// Options whose quotes do not close or that are malformed.
    #[error("its options are malformed")]
    BadOptions,
    /// An option that nobody knows. To ignore it would give the key more than its owner meant.
    #[error("its option `{0}` is not known; see sshd(8)")]
    UnknownOption(Box<str>),
    /// An option whose value is malformed, missing, one too many, or given twice.
    #[error("its option `{0}` is malformed or given twice; see sshd(8)")]
    BadOption(Box<str>),
    /// Something that begins as a fingerprint and is none.
    #[error("{0}")]
    Fingerprint(FingerprintError),
    /// The key is refused.
    #[error("{0}")]
    Key(KeyFormatError),
}

/// The lines of a text that say something, each with its number, or why it cannot be read. Empty lines and `#`
/// comments are left out; space and tab around a line are taken off.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, Result<&str, LineProblem>)> {
    text.split(|byte| *byte == b'\n').zip(1_usize..).filter_map(|(line, number)| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > super::MAX_LINE_LEN {
            return Some((number, Err(LineProblem::TooLong)));
        }
        match std::str::from_utf8(line).map(super::public_line::trim_blanks) {
            Ok(line) if line.is_empty() || line.starts_with('#') => None,
            Ok(line) => Some((number, Ok(line))),
            // A comment may be in any encoding.
            Err(_) if line.trim_ascii_start().first() == Some(&b'#') => None,
            Err(_) => Some((number, Err(LineProblem::NotUtf8))),
        }
    })
}
