use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{KeyFormatError, KeyKind, MAX_KEY_FILE_LEN, PublicKey};
use crate::protocol::wire::Reader;

/// A public key file, `authorized_keys` or `known_hosts` line may not be longer, in bytes. A 16384 bit RSA key takes
/// under 3 KiB.
pub const MAX_LINE_LEN: usize = 16 * 1024;
/// A comment is cut here, in characters.
pub const MAX_COMMENT_CHARS: usize = 256;

/// A public key on one line, `type base64 [comment]` (RFC 4253 §6.6 in OpenSSH's text form).
///
/// RSA keys are written as `ssh-rsa` and read under that or an `rsa-sha2-*` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicLine {
    /// The key.
    pub key: PublicKey,
    /// The comment; empty if there is none. It has no control characters.
    pub comment: String,
}

impl PublicLine {
    /// A line. The comment's control characters are taken out, so that it cannot begin another line or change the
    /// terminal it is shown on, and it is cut at [`MAX_COMMENT_CHARS`].
    #[must_use]
    pub fn new(key: PublicKey, comment: &str) -> Self {
        Self { key, comment: clean_comment(comment) }
    }

    /// Parses a line. One line feed may end it, and blank lines and `#` comments may stand around it.
    ///
    /// # Errors
    /// [`KeyFormatError`] if a part is missing, the type text is not that of the key, the key is refused, or there
    /// are several keys.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFormatError> {
        let Words { kind, base64, comment } = only_line(text, MAX_LINE_LEN)?;
        Ok(Self::new(parse_key(kind, base64)?, comment))
    }

    /// The blob on such a line, whatever the type of its key or certificate: it may be one that only an agent signs for. A
    /// certificate's line may be longer than others.
    ///
    /// # Errors
    /// As for [`parse`](Self::parse), but what the blob holds behind its type is not looked at.
    pub fn blob(text: &[u8]) -> Result<Vec<u8>, KeyFormatError> {
        let Words { kind, base64, .. } = only_line(text, MAX_KEY_FILE_LEN)?;
        let blob = blob_of(kind, base64)?;
        let inside = Reader::new(&blob).string()?;
        let is_rsa = |name: &[u8]| matches!(name, b"ssh-rsa" | b"rsa-sha2-256" | b"rsa-sha2-512");
        if inside == kind.as_bytes() || (is_rsa(inside) && is_rsa(kind.as_bytes())) {
            Ok(blob)
        } else {
            Err(KeyFormatError::TypeMismatch)
        }
    }
}

impl FromStr for PublicLine {
    type Err = KeyFormatError;

    fn from_str(text: &str) -> Result<Self, KeyFormatError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for PublicLine {
    /// The line without a line feed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_line(f, self.key.kind().name(), &self.key.to_blob(), &self.comment)
    }
}

/// The words of a line.
pub(super) struct Words<'a> {
    pub(super) kind: &'a str,
    pub(super) base64: &'a str,
    pub(super) comment: &'a str,
}

/// The words of the one line of a file of at most `max_len` bytes, in which blank lines and `#` comments may stand too.
pub(super) fn only_line(text: &[u8], max_len: usize) -> Result<Words<'_>, KeyFormatError> {
    if text.len() > max_len {
        return Err(KeyFormatError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| KeyFormatError::NotUtf8)?;
    let mut lines = text.lines().map(trim_blanks).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or(KeyFormatError::NotALine)?;
    if lines.next().is_some() {
        return Err(KeyFormatError::NotALine);
    }
    let (kind, rest) = next_word(line);
    let (base64, comment) = next_word(rest);
    Ok(Words { kind, base64, comment })
}

/// Writes `type base64 [comment]`, the comment cleaned.
pub(super) fn write_line(f: &mut fmt::Formatter<'_>, kind: &str, blob: &[u8], comment: &str) -> fmt::Result {
    write!(f, "{kind} {}", STANDARD.encode(blob))?;
    let comment = clean_comment(comment);
    if comment.is_empty() { Ok(()) } else { write!(f, " {comment}") }
}

/// The key of `type base64`. The text must name the type that the blob has.
pub(super) fn parse_key(kind: &str, base64: &str) -> Result<PublicKey, KeyFormatError> {
    let key = PublicKey::from_blob(&blob_of(kind, base64)?)?;
    let fits = match key.kind() {
        // The three names are one key type (RFC 8332 §3).
        KeyKind::Rsa => matches!(kind, "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512"),
        other => kind == other.name(),
    };
    if fits { Ok(key) } else { Err(KeyFormatError::TypeMismatch) }
}

/// What the second word of a line holds; neither it nor the first may be missing.
pub(super) fn blob_of(kind: &str, base64: &str) -> Result<Vec<u8>, KeyFormatError> {
    if kind.is_empty() || base64.is_empty() {
        return Err(KeyFormatError::NotALine);
    }
    STANDARD.decode(base64).map_err(|_| KeyFormatError::BadBase64)
}

/// The first word and what follows it. Only ASCII space and tab part words: other white space could show a line as
/// something that it is not.
pub(super) fn next_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (word, rest.trim_start_matches([' ', '\t']))
}

pub(super) fn trim_blanks(line: &str) -> &str {
    line.trim_matches([' ', '\t'])
}

/// A comment on one line, without control characters.
pub(super) fn clean_comment(comment: &str) -> String {
    let kept: String =
        comment.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    let cut: String = kept.trim_matches(' ').chars().take(MAX_COMMENT_CHARS).collect();
    cut.trim_end_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Curve, KeyError};
    use crate::protocol::wire::Write as _;

    fn ed25519() -> PublicKey {
        PublicKey::Ed25519([7; 32])
    }

    fn line(kind: &str, blob: &[u8]) -> String {
        format!("{kind} {}", STANDARD.encode(blob))
    }

    #[test]
    fn a_line_is_read_with_blanks_comments_and_returns() {
        let text = PublicLine::new(ed25519(), "me@here now").to_string();
        let plain = PublicLine { key: ed25519(), comment: "me@here now".into() };
        let (kind, rest) = text.split_once(' ').unwrap();
        for text in [text.clone(), format!("{text}\r\n"), format!("# x\n\n \t{kind} \t {rest}  \n\n")] {
            assert_eq!(PublicLine::parse(text.as_bytes()), Ok(plain.clone()), "{text:?}");
        }
        let bare = PublicLine::new(ed25519(), "").to_string();
        assert_eq!(bare.parse(), Ok(PublicLine { key: ed25519(), comment: String::new() }));
    }

    #[test]
    fn the_type_text_must_be_that_of_the_blob() {
        let blob = ed25519().to_blob();
        assert_eq!(line("ssh-rsa", &blob).parse::<PublicLine>(), Err(KeyFormatError::TypeMismatch));
        assert_eq!(line("ssh-ed25519x", &blob).parse::<PublicLine>(), Err(KeyFormatError::TypeMismatch));
        let rsa = PublicKey::rsa(&[1, 0, 1], &[0xff; 256]).unwrap();
        for kind in ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"] {
            assert_eq!(line(kind, &rsa.to_blob()).parse::<PublicLine>().unwrap().key, rsa);
            let mut blob = Vec::new();
            blob.put_string(kind.as_bytes());
            blob.put_mpint(&[1, 0, 1]);
            blob.put_mpint(&[0xff; 256]);
            assert_eq!(line("ssh-rsa", &blob).parse::<PublicLine>().unwrap().key, rsa);
        }
        let mut point = vec![1; 65];
        point[0] = 4;
        let p256 = PublicKey::ecdsa(Curve::P256, &point).unwrap();
        assert_eq!(
            line("ecdsa-sha2-nistp384", &p256.to_blob()).parse::<PublicLine>(),
            Err(KeyFormatError::TypeMismatch)
        );
    }

    #[test]
    fn the_blob_of_an_unknown_type_is_read() {
        let mut blob = Vec::new();
        blob.put_string(b"sk-ssh-ed25519@openssh.com");
        blob.put_string(&[7; 32]);
        blob.put_string(b"ssh:");
        let text = line("sk-ssh-ed25519@openssh.com", &blob);
        assert_eq!(PublicLine::blob(text.as_bytes()), Ok(blob.clone()));
        let text = line("ssh-ed25519", &blob);
        assert_eq!(PublicLine::blob(text.as_bytes()), Err(KeyFormatError::TypeMismatch));
        for text in ["root password", "x eHh4eA==", ""] {
            assert!(PublicLine::blob(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn broken_lines_are_refused() {
        let good = PublicLine::new(ed25519(), "").to_string();
        let mut long = ed25519().to_blob();
        long.push(0);
        for (text, error) in [
            (String::new(), KeyFormatError::NotALine),
            ("ssh-ed25519".into(), KeyFormatError::NotALine),
            (format!("{good}\n{good}"), KeyFormatError::NotALine),
            (good.replace(' ', "\u{a0}"), KeyFormatError::NotALine),
            ("ssh-ed25519 AAA*".into(), KeyFormatError::BadBase64),
            (line("ssh-ed25519", &long), KeyFormatError::from(crate::protocol::wire::WireError::Trailing)),
            (line("ssh-dss", b"\0\0\0\x07ssh-dss"), KeyFormatError::Key(KeyError::UnknownType)),
        ] {
            assert_eq!(text.parse::<PublicLine>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_comment_cannot_begin_another_line_or_reach_the_terminal() {
        let text = PublicLine { key: ed25519(), comment: "a\nssh-rsa \x1b[2J\tb\u{9b}\r".into() }.to_string();
        assert!(text.ends_with(" assh-rsa [2J b"), "{text:?}");
        assert_eq!(
            PublicLine::new(ed25519(), &"é".repeat(10_000)).comment.chars().count(),
            MAX_COMMENT_CHARS
        );
    }
}
