mod expiry;
mod options;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use options::{KeyOptions, LoginFacts, OptionRefusal};

use super::line_warning::{LineProblem, LineWarning, Place, lines};
use super::public_line::{clean_comment, next_word, parse_key};
use super::{Fingerprint, KeyFileError, PublicKey, files};

/// An `authorized_keys` file may not be longer, in bytes.
pub const MAX_AUTHORIZED_KEYS_LEN: usize = 1024 * 1024;

/// The keys that a user may log in with, as in OpenSSH's `authorized_keys` files (sshd(8), "AUTHORIZED_KEYS FILE
/// FORMAT"). In the place of the key there may also be its fingerprint, `SHA256:...`, as `ssh-keygen -l` prints it.
///
/// A line with an option that is unknown or malformed does not count: to ignore it would give the key more than its
/// owner meant.
#[derive(Debug, Clone, Default)]
pub struct AuthorizedKeys {
    entries: Vec<AuthorizedKey>,
    warnings: Vec<LineWarning>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizedKey {
    /// The key.
    pub key: StoredKey,
    /// The comment; empty if there is none. It has no control characters.
    pub comment: String,
    /// The options in front of the key.
    pub options: KeyOptions,
    /// The line.
    pub place: Place,
}

/// How a line holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKey {
    /// The whole key.
    Whole(PublicKey),
    /// Its fingerprint.
    Fingerprint(Fingerprint),
}

/// Why no line lets a key in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAuthorized {
    /// No line holds it.
    #[error("no line holds the key")]
    Unknown,
    /// The lines that hold it do not allow it here and now; the first of them.
    #[error("{place} holds the key, but {refusal}")]
    Refused {
        /// The line.
        place: Place,
        /// The option that does not allow it.
        refusal: OptionRefusal,
    },
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
                Ok(entry) => keys.entries.push(entry),
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

    /// The first entry that lets a key in, there and then. The lines of certificate authorities do not.
    ///
    /// # Errors
    /// [`NotAuthorized`] if there is none.
    pub fn find(&self, key: &PublicKey, facts: LoginFacts) -> Result<&AuthorizedKey, NotAuthorized> {
        let mut refused = None;
        for entry in self.holding(key).filter(|entry| !entry.options.cert_authority) {
            match entry.options.check(facts) {
                Ok(()) => return Ok(entry),
                Err(refusal) => {
                    let place = || entry.place.clone();
                    refused.get_or_insert_with(|| NotAuthorized::Refused { place: place(), refusal });
                }
            }
        }
        Err(refused.unwrap_or(NotAuthorized::Unknown))
    }

    /// The entries that count, in their order.
    #[must_use]
    pub fn entries(&self) -> &[AuthorizedKey] {
        &self.entries
    }

    /// The lines that do not count, and why.
    #[must_use]
    pub fn warnings(&self) -> &[LineWarning] {
        &self.warnings
    }

    /// The entries that hold a key, whatever their options say, those of certificate authorities included.
    pub fn holding(&self, key: &PublicKey) -> impl Iterator<Item = &AuthorizedKey> {
        let fingerprint = key.fingerprint();
        self.entries.iter().filter(move |entry| match &entry.key {
            StoredKey::Whole(whole) => whole == key,
            StoredKey::Fingerprint(stored) => *stored == fingerprint,
        })
    }
}

impl AuthorizedKey {
    fn parse(line: &str, place: &Place) -> Result<Self, LineProblem> {
        let (options, rest) =
            if begins_with_key(line) { (KeyOptions::default(), line) } else { KeyOptions::parse(line)? };
        let (kind, rest) = next_word(rest);
        if kind.starts_with(FINGERPRINT) {
            let fingerprint = kind.parse().map_err(LineProblem::Fingerprint)?;
            let (key, comment) = (StoredKey::Fingerprint(fingerprint), clean_comment(rest));
            return Ok(Self { key, comment, options, place: place.clone() });
        }
        let (base64, comment) = next_word(rest);
        if base64.is_empty() {
            return Err(LineProblem::Truncated);
        }
        let key = StoredKey::Whole(parse_key(kind, base64).map_err(LineProblem::Key)?);
        Ok(Self { key, comment: clean_comment(comment), options, place: place.clone() })
    }
}

impl fmt::Display for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(key) => key.fingerprint().fmt(f),
            Self::Fingerprint(fingerprint) => fingerprint.fmt(f),
        }
    }
}

/// Whether the line begins with a key type or a fingerprint. No option's name looks like one.
fn begins_with_key(line: &str) -> bool {
    ["ssh-", "ecdsa-", "rsa-sha2-", "sk-", FINGERPRINT].iter().any(|prefix| line.starts_with(prefix))
}

const FINGERPRINT: &str = "SHA256:";

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::keys::{ForwardPermit, PublicLine, SourcePatterns};

    fn key() -> PublicKey {
        PublicKey::Ed25519([7; 32])
    }

    fn line(comment: &str) -> String {
        PublicLine::new(key(), comment).to_string()
    }

    fn parse(options: &str) -> AuthorizedKeys {
        AuthorizedKeys::parse(format!("{options} {}", line("me")).as_bytes(), "f")
    }

    fn from(source: &str) -> LoginFacts {
        LoginFacts {
            source: Some(source.parse::<IpAddr>().unwrap()),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn plain_keys_and_fingerprints_are_found() {
        let facts = from("127.0.0.1");
        let text = format!("# team\n\n{}\r\n", line("me"));
        let keys = AuthorizedKeys::parse(text.as_bytes(), "f");
        let found = keys.find(&key(), facts).unwrap();
        assert_eq!((found.comment.as_str(), found.place.line), ("me", 3));
        assert_eq!(found.options, KeyOptions::default());
        assert!(keys.warnings().is_empty());

        let fingerprint = key().fingerprint();
        for text in [format!("{fingerprint}"), format!("restrict,from=\"*\" {fingerprint}=\tmy own")] {
            let keys = AuthorizedKeys::parse(text.as_bytes(), "f");
            assert_eq!(keys.find(&key(), facts).unwrap().key, StoredKey::Fingerprint(fingerprint));
            let other = PublicKey::Ed25519([8; 32]);
            assert_eq!(keys.find(&other, facts).unwrap_err(), NotAuthorized::Unknown);
        }
        for broken in ["SHA256:", "SHA256:AAAA me", "restrict SHA256:x"] {
            let keys = AuthorizedKeys::parse(broken.as_bytes(), "f");
            assert!(matches!(keys.warnings()[0].problem, LineProblem::Fingerprint(_)), "{broken}");
        }
    }

    #[test]
    fn options_decide_where_and_when() {
        let refusal = |options: &str, facts| match parse(options).find(&key(), facts) {
            Ok(_) => None,
            Err(NotAuthorized::Refused { refusal, .. }) => Some(refusal),
            Err(other) => panic!("{options}: {other}"),
        };
        let home = from("127.0.0.1");
        for (options, expected) in [
            ("from=\"10.0.0.0/8\"", Some(OptionRefusal::Source)),
            ("from=\"10.0.0.0/8,127.0.0.1\"", None),
            ("FROM=\"*,!127.0.0.0/8\"", Some(OptionRefusal::Source)),
            ("expiry-time=\"20200101Z\"", Some(OptionRefusal::Expired)),
            ("expiry-time=\"20200101\"", Some(OptionRefusal::Expired)),
            ("expiry-time=\"99990101Z\"", None),
            ("expiry-time=\"99990101Z\",expiry-time=\"20200101Z\"", Some(OptionRefusal::Expired)),
            ("expiry-time=\"20200101Z\",expiry-time=\"99990101Z\"", Some(OptionRefusal::Expired)),
            ("command=\"x\",no-pty,restrict,environment=\"A_1=b c\",tunnel=\"0\"", None),
        ] {
            assert_eq!(refusal(options, home), expected, "{options}");
        }
        let nowhere = LoginFacts { source: None, now: home.now };
        assert_eq!(refusal("from=\"*\"", nowhere), Some(OptionRefusal::Source));
        assert_eq!(refusal("restrict", nowhere), None);
        // The very second is too late.
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        for (now, expected) in
            [(second, Some(OptionRefusal::Expired)), (second - Duration::from_nanos(1), None)]
        {
            let facts = LoginFacts { source: None, now };
            assert_eq!(refusal("expiry-time=\"20260101Z\"", facts), expected);
        }
    }

    #[test]
    fn a_later_line_may_let_in_what_an_earlier_one_does_not() {
        let text = format!("from=\"10.0.0.1\" {0}\nrestrict {0}\n{0}", line("me"));
        let keys = AuthorizedKeys::parse(text.as_bytes(), "f");
        assert_eq!(keys.find(&key(), from("127.0.0.1")).unwrap().place.line, 2);
        assert_eq!(keys.find(&key(), from("10.0.0.1")).unwrap().place.line, 1);
    }

    #[test]
    fn authorities_do_not_log_in_themselves() {
        let keys = parse("cert-authority,principals=\"ada,bob\"");
        assert_eq!(keys.find(&key(), from("::1")).unwrap_err(), NotAuthorized::Unknown);
        let found: Vec<_> = keys.holding(&key()).collect();
        assert!(found[0].options.cert_authority);
        assert_eq!(found[0].options.principals.as_deref(), Some(&["ada".to_owned(), "bob".into()][..]));
    }

    #[test]
    fn forwarding_is_what_the_last_word_says() {
        for (options, expected) in [
            ("no-pty", true),
            ("restrict", false),
            ("no-port-forwarding", false),
            ("restrict,port-forwarding", true),
            ("port-forwarding,restrict", false),
            ("restrict,permitopen=\"a:1\"", false),
        ] {
            assert_eq!(parse(options).entries()[0].options.port_forwarding, expected, "{options}");
        }
        let keys = parse("permitopen=\"a:1\",permitopen=\"[::1]:*\",permitlisten=\"80\"");
        let options = &keys.entries()[0].options;
        let shown = |permits: &[ForwardPermit]| permits.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown(&options.permit_open), ["a:1", "[::1]:*"]);
        assert_eq!(shown(&options.permit_listen), ["*:80"]);
    }

    #[test]
    fn quotes_hold_blanks_commas_and_escaped_quotes() {
        let keys = parse("command=\"say \\\"a, b\\\" \\n\",Restrict,PTY,from=\"*\"\t");
        let expected = KeyOptions {
            command: Some("say \"a, b\" \\n".into()),
            port_forwarding: false,
            pty: true,
            agent_forwarding: false,
            x11_forwarding: false,
            from: SourcePatterns::parse("*"),
            ..KeyOptions::default()
        };
        assert_eq!(keys.entries()[0].options, expected);
    }

    #[test]
    fn broken_lines_are_warned_about() {
        let key = line("");
        let bad = |name: &str| LineProblem::BadOption(name.into());
        let unknown = |name: &str| LineProblem::UnknownOption(name.into());
        for (text, problem) in [
            ("ssh-ed25519".to_owned(), LineProblem::Truncated),
            (format!("command=\"a {key}"), LineProblem::BadOptions),
            (format!("command=a {key}"), bad("command")),
            (format!("command {key}"), bad("command")),
            (format!("restrict=\"x\" {key}"), bad("restrict")),
            (format!("command=\"a\",command=\"b\" {key}"), bad("command")),
            (format!("from=\"*\",from=\"*\" {key}"), bad("from")),
            (format!("from=\"10.0.0.1/8\" {key}"), bad("from")),
            (format!("from=\"\" {key}"), bad("from")),
            (format!("principals=\"\" {key}"), bad("principals")),
            (format!("principals=\"a,\" {key}"), bad("principals")),
            (format!("expiry-time=\"tomorrow\" {key}"), bad("expiry-time")),
            (format!("permitopen=\"80\" {key}"), bad("permitopen")),
            (format!("permitlisten=\"x\" {key}"), bad("permitlisten")),
            (format!("environment=\"A B=c\" {key}"), bad("environment")),
            (format!("tunnel=\"x\" {key}"), bad("tunnel")),
            (format!("x-unknown {key}"), unknown("x-unknown")),
            (format!("no-restrict {key}"), unknown("no-restrict")),
            (format!("no-cert-authority=\"\" {key}"), unknown("no-cert-authority")),
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
