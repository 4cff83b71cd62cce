use std::path::Path;
use std::sync::Arc;

use super::error::shown;
use super::line_warning::{LineProblem, LineWarning, Place, lines};
use super::public_line::{clean_comment, next_word, parse_key};
use super::{KeyFileError, PublicKey, files};

/// An `authorized_keys` file may not be longer, in bytes.
pub const MAX_AUTHORIZED_KEYS_LEN: usize = 1024 * 1024;

/// The keys that a user may log in with, as in OpenSSH's `authorized_keys` files (sshd(8), "AUTHORIZED_KEYS FILE
/// FORMAT").
///
/// Options are parsed and kept, but none is enforced yet. So a key with any option does not count, and is reported by
/// [`warnings`](Self::warnings): to ignore its options would give it more than its owner meant.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    entries: Vec<AuthorizedKey>,
    restricted: Vec<AuthorizedKey>,
    warnings: Vec<LineWarning>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The key.
    pub key: PublicKey,
    /// The comment; empty if there is none. It has no control characters.
    pub comment: String,
    /// The options in front of the key, in their order.
    pub options: Vec<KeyOption>,
    /// The line.
    pub place: Place,
}

/// An option in front of a key: `name` or `name="value"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOption {
    /// The name in lower case.
    pub name: String,
    /// What stood in the quotes, with `\"` undone.
    pub value: Option<String>,
}

impl AuthorizedKeys {
    /// Parses the text of a file. `source` is what the file is called in places and warnings.
    #[must_use]
    pub fn parse(text: &[u8], source: &str) -> Self {
        let source: Arc<str> = source.into();
        let mut keys = Self::default();
        for (line, content) in lines(text) {
            let place = Place { source: source.clone(), line };
            match content.and_then(|content| AuthorizedKey::parse(content, &place)) {
                Ok(entry) => keys.add(entry),
                Err(problem) => keys.warnings.push(LineWarning { place, problem }),
            }
        }
        keys
    }

    /// Reads a file. One that does not exist authorizes nobody.
    ///
    /// # Errors
    /// [`KeyFileError`] if it cannot be read or is over [`MAX_AUTHORIZED_KEYS_LEN`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyFileError> {
        let path = path.as_ref();
        let text = files::read_public(path, MAX_AUTHORIZED_KEYS_LEN)?;
        Ok(text.map(|text| Self::parse(&text, &path.to_string_lossy())).unwrap_or_default())
    }

    /// The entry that lets a key in. Lines with options do not.
    #[must_use]
    pub fn find(&self, key: &PublicKey) -> Option<&AuthorizedKey> {
        self.entries.iter().find(|entry| entry.key == *key)
    }

    /// The entries that count: those without options.
    #[must_use]
    pub fn entries(&self) -> &[AuthorizedKey] {
        &self.entries
    }

    /// The entries that do not count because they have options that are not enforced yet. They must not let anybody in.
    #[must_use]
    pub fn restricted(&self) -> &[AuthorizedKey] {
        &self.restricted
    }

    /// The lines that do not count, and why.
    #[must_use]
    pub fn warnings(&self) -> &[LineWarning] {
        &self.warnings
    }

    fn add(&mut self, entry: AuthorizedKey) {
        let Some(option) = entry.options.first() else {
            self.entries.push(entry);
            return;
        };
        let problem = LineProblem::UnsupportedOption(shown(option.name.as_bytes()));
        self.warnings.push(LineWarning { place: entry.place.clone(), problem });
        self.restricted.push(entry);
    }
}

impl AuthorizedKey {
    fn parse(line: &str, place: &Place) -> Result<Self, LineProblem> {
        let (options, key) = if begins_with_type(line) { (Vec::new(), line) } else { parse_options(line)? };
        let (kind, rest) = next_word(key);
        let (base64, comment) = next_word(rest);
        if base64.is_empty() {
            return Err(LineProblem::Truncated);
        }
        let key = parse_key(kind, base64).map_err(LineProblem::Key)?;
        Ok(Self { key, comment: clean_comment(comment), options, place: place.clone() })
    }
}

/// Whether the line begins with a key type. No option's name looks like one.
fn begins_with_type(line: &str) -> bool {
    ["ssh-", "ecdsa-", "rsa-sha2-", "sk-"].iter().any(|prefix| line.starts_with(prefix))
}

/// The options and what stands behind them. Blanks end them, but not inside quotes.
fn parse_options(line: &str) -> Result<(Vec<KeyOption>, &str), LineProblem> {
    let mut options = Vec::new();
    let mut rest = line;
    loop {
        let name_len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(name_len).ok_or(LineProblem::BadOptions)?;
        if name.is_empty() {
            return Err(LineProblem::BadOptions);
        }
        let (value, after) = match after.strip_prefix("=\"") {
            Some(quoted) => {
                let (value, after) = parse_quoted(quoted)?;
                (Some(value), after)
            }
            None => (None, after),
        };
        options.push(KeyOption { name: name.to_ascii_lowercase(), value });
        if let Some(next) = after.strip_prefix(',') {
            rest = next;
            continue;
        }
        // What follows must be a blank: `name=value` without quotes is malformed.
        return match after.strip_prefix([' ', '\t']) {
            Some(key) => Ok((options, key.trim_start_matches([' ', '\t']))),
            None if after.is_empty() => Err(LineProblem::Truncated),
            None => Err(LineProblem::BadOptions),
        };
    }
}

/// The text up to the closing quote, with `\"` undone, and what follows. Other backslashes stand for themselves.
fn parse_quoted(text: &str) -> Result<(String, &str), LineProblem> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, text.get(at.saturating_add(1)..).unwrap_or_default())),
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                value.push('"');
            }
            other => value.push(other),
        }
    }
    Err(LineProblem::BadOptions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PublicLine;

    fn line(comment: &str) -> String {
        PublicLine::new(PublicKey::Ed25519([7; 32]), comment).to_string()
    }

    #[test]
    fn plain_keys_count_and_restricted_ones_do_not() {
        let key = PublicKey::Ed25519([7; 32]);
        let text = format!("# team\n\n{}\r\n", line("me"));
        let keys = AuthorizedKeys::parse(text.as_bytes(), "f");
        assert_eq!(keys.find(&key).unwrap().comment, "me");
        assert_eq!(keys.find(&key).unwrap().place.line, 3);
        assert!(keys.warnings().is_empty());
        for options in ["restrict", "no-pty", "from=\"10.0.0.0/8\"", "cert-authority", "x-unknown"] {
            let keys = AuthorizedKeys::parse(format!("{options} {}", line("me")).as_bytes(), "f");
            assert_eq!(keys.find(&key), None, "{options}");
            assert_eq!(keys.entries().len(), 0);
            assert_eq!(keys.restricted().len(), 1);
            assert!(matches!(keys.warnings()[0].problem, LineProblem::UnsupportedOption(_)));
        }
    }

    #[test]
    fn quotes_hold_blanks_commas_and_escaped_quotes() {
        let text = format!("command=\"say \\\"a, b\\\" \\n\",Restrict\t {}", line("me"));
        let keys = AuthorizedKeys::parse(text.as_bytes(), "f");
        let option = |name: &str, value: Option<&str>| KeyOption {
            name: name.into(),
            value: value.map(str::to_owned),
        };
        let expected = [option("command", Some("say \"a, b\" \\n")), option("restrict", None)];
        assert_eq!(keys.restricted()[0].options, expected);
    }

    #[test]
    fn broken_lines_are_warned_about() {
        let key = line("");
        for (text, problem) in [
            ("ssh-ed25519".to_owned(), LineProblem::Truncated),
            (format!("command=\"a {key}"), LineProblem::BadOptions),
            (format!("command=a {key}"), LineProblem::BadOptions),
            (format!(",restrict {key}"), LineProblem::BadOptions),
            (format!("restrict, {key}"), LineProblem::BadOptions),
            (format!("=\"a\" {key}"), LineProblem::BadOptions),
            ("restrict".to_owned(), LineProblem::Truncated),
            (format!("\u{a0}{key}"), LineProblem::BadOptions),
            ("x".repeat(20_000), LineProblem::TooLong),
        ] {
            let keys = AuthorizedKeys::parse(format!("\n{text}\n{key}").as_bytes(), "f");
            assert_eq!(keys.warnings().len(), 1, "{text}");
            assert_eq!((keys.warnings()[0].place.line, &keys.warnings()[0].problem), (2, &problem), "{text}");
            assert_eq!(keys.entries().len(), 1);
        }
    }
}
