use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::host_names::{HostNames, bare_host, hashed_field, host_id, is_writable};
use super::line_warning::{LineProblem, LineWarning, Place, lines};
use super::public_line::{next_word, parse_key};
use super::{
    CertificateAuthorities, CertificateKind, CertificateUse, Fingerprint, HostKey, KeyFileError, KeyKind,
    PublicKey, PublicLine, files,
};
use crate::crypto::CryptoProvider;

/// A `known_hosts` file may not be longer, in bytes. That is room for about 20 000 hosts.
pub const MAX_KNOWN_HOSTS_LEN: usize = 4 * 1024 * 1024;

/// The hosts whose keys are known, as in OpenSSH's `known_hosts` files (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
///
/// Names may be plain, hashed, or patterns with `*`, `?` and `!`; those with a port other than 22 stand as
/// `[host]:port`. A line that cannot be understood is left out and reported by [`warnings`](Self::warnings), which a
/// caller should show: the line may have been meant to revoke a key.
#[derive(Debug, Clone, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
    warnings: Vec<LineWarning>,
}

/// What is known about a host and a key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a host key counts only if this is `Match` or `Certified`"]
pub enum HostKeyStatus {
    /// This is the host's key.
    Match(Place),
    /// Nothing is known about the host.
    Unknown {
        /// Other hosts that have this very key: perhaps the same machine under another name. Lines with hashed names
        /// and lines about all hosts are left out.
        known_as: Vec<KnownName>,
    },
    /// Other keys are known for the host, of this kind or of others, and not this one. That is a changed key also when
    /// the kinds differ, as it is for OpenSSH: otherwise an impostor need only offer a kind that is not in the file
    /// yet. A client asks for the kinds that it knows first, see [`KnownHosts::key_kinds_for`].
    Changed {
        /// The known keys.
        expected: Vec<KnownKey>,
    },
    /// The key comes in a valid certificate of an authority that counts for the host, which stands here.
    Certified(Place),
    /// The key is revoked, whatever other lines say, or that of the authority whose certificate it comes in.
    Revoked(Place),
}

/// A key that is known for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// The key.
    pub key: PublicKey,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The line that it stands on.
    pub place: Place,
}

/// The names on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownName {
    /// The name field, in lower case.
    pub names: String,
    /// The line.
    pub place: Place,
}

#[derive(Debug, Clone)]
struct Entry {
    marker: Marker,
    names: HostNames,
    key: PublicKey,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    None,
    CertAuthority,
    Revoked,
}

impl KnownHosts {
    /// Parses the text of a file. `source` is what the file is called in places and warnings.
    ///
    /// Nothing is an error: a line that is broken is one that does not count.
    #[must_use]
    pub fn parse(text: &[u8], source: &str) -> Self {
        let mut hosts = Self::default();
        hosts.add_text(text, source);
        hosts
    }

    /// Reads files, in the order of the paths. A file that does not exist is an empty one.
    ///
    /// # Errors
    /// [`KeyFileError`] if a file cannot be read or is over [`MAX_KNOWN_HOSTS_LEN`].
    pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, KeyFileError> {
        let mut hosts = Self::default();
        for path in paths {
            let path = path.as_ref();
            if let Some(text) = files::read_public(path, MAX_KNOWN_HOSTS_LEN)? {
                hosts.add_text(&text, &path.to_string_lossy());
            }
        }
        Ok(hosts)
    }

    /// The lines that are not used, and why.
    #[must_use]
    pub fn warnings(&self) -> &[LineWarning] {
        &self.warnings
    }

    /// What is known about a host's key. `host` is the name or address that the user gave, without a port.
    ///
    /// A key is revoked for a host also by a line about the host's name without its port. If there is no line about the
    /// port, the very key that the host has on the usual port is a match, as it is for OpenSSH; another key there says
    /// nothing.
    pub fn check(&self, host: &str, port: u16, key: &PublicKey) -> HostKeyStatus {
        if let Some(place) = self.revoked(host, port, key) {
            return HostKeyStatus::Revoked(place.clone());
        }
        let mut expected = Vec::new();
        for entry in self.plain_entries(host, port) {
            if entry.key == *key {
                return HostKeyStatus::Match(entry.place.clone());
            }
            expected.push(KnownKey {
                key: entry.key.clone(),
                fingerprint: entry.key.fingerprint(),
                place: entry.place.clone(),
            });
        }
        if expected.is_empty() {
            let mut of_usual_port = self.plain_entries(host, USUAL_PORT);
            if let Some(entry) = of_usual_port.find(|entry| entry.key == *key) {
                return HostKeyStatus::Match(entry.place.clone());
            }
            HostKeyStatus::Unknown { known_as: self.names_of(key) }
        } else {
            HostKeyStatus::Changed { expected }
        }
    }

    /// As [`check`](Self::check), with regard to the certificate that the key may come in: if an `@cert-authority` line
    /// about the host, with or without its port, has the authority's key, and the certificate passes
    /// [`CertificateAuthorities::check`], then the key is [`Certified`](HostKeyStatus::Certified). A certificate that
    /// does not pass counts for nothing, and the key is looked up as a plain one.
    pub fn check_host_key(
        &self,
        host: &str,
        port: u16,
        shown: &HostKey,
        now: SystemTime,
        provider: &CryptoProvider,
    ) -> HostKeyStatus {
        let Some(certificate) = &shown.certificate else { return self.check(host, port, &shown.key) };
        // A revoked authority is bad news also where it was never trusted.
        let keys = [certificate.key(), certificate.authority()];
        if let Some(place) = keys.into_iter().find_map(|key| self.revoked(host, port, key)) {
            return HostKeyStatus::Revoked(place.clone());
        }
        let is_its_authority = |entry: &&Entry| entry.key == *certificate.authority();
        let Some(entry) = self.authorities(host, port).find(is_its_authority) else {
            return self.check(host, port, &shown.key);
        };
        let usage = CertificateUse { kind: CertificateKind::Host, name: bare_host(host), now, source: None };
        let trusted = CertificateAuthorities::from_iter([entry.key.clone()]);
        match trusted.check(certificate, usage, provider) {
            Ok(_) => HostKeyStatus::Certified(entry.place.clone()),
            Err(refusal) => {
                tracing::debug!(%refusal, authority = %entry.place, "the host certificate does not count");
                self.check(host, port, &shown.key)
            }
        }
    }

    /// The kinds of the keys known for a host, each once, in the order of the lines. A client that prefers these when it
    /// negotiates meets the key that it knows, if the host still has it. If there is no line about the port, those of the
    /// usual port count, as they do for [`check`](Self::check).
    #[must_use]
    pub fn key_kinds_for(&self, host: &str, port: u16) -> Vec<KeyKind> {
        let kinds = kinds_of(self.plain_entries(host, port));
        if kinds.is_empty() { kinds_of(self.plain_entries(host, USUAL_PORT)) } else { kinds }
    }

    /// The keys of certificate authorities whose host certificates count for a host (`@cert-authority`), without the
    /// revoked ones. Lines about the host without its port count too, as they do for OpenSSH. They say nothing about a
    /// plain host key.
    #[must_use]
    pub fn cert_authorities_for(&self, host: &str, port: u16) -> Vec<PublicKey> {
        let mut keys = Vec::new();
        for entry in self.authorities(host, port) {
            if !keys.contains(&entry.key) && self.revoked(host, port, &entry.key).is_none() {
                keys.push(entry.key.clone());
            }
        }
        keys
    }

    /// Adds a host's key to a file, for trust on first use, and syncs it. A file that is missing is created with mode
    /// 0600, missing directories with 0700. With `hashed` the name can be looked up in the file but not read from it.
    ///
    /// This does not change what a [`KnownHosts`] that was loaded before says.
    ///
    /// # Errors
    /// [`KeyFileError::BadHost`] for a name that cannot stand in the file, [`KeyFileError::Io`] if it cannot be
    /// written.
    pub fn append(
        path: impl AsRef<Path>,
        host: &str,
        port: u16,
        key: &PublicKey,
        hashed: bool,
    ) -> Result<(), KeyFileError> {
        let path = path.as_ref();
        let id = host_id(host, port).filter(|id| is_writable(id));
        let id = id.ok_or_else(|| KeyFileError::BadHost { path: path.into() })?;
        let names = if hashed {
            let mut salt = [0; 20];
            let failed = |error: getrandom::Error| std::io::Error::other(error.to_string());
            getrandom::fill(&mut salt)
                .map_err(|error| files::io_error("get a salt for", path, failed(error)))?;
            hashed_field(&salt, &id).ok_or_else(|| KeyFileError::BadHost { path: path.into() })?
        } else {
            id
        };
        files::append_line(path, &format!("{names} {}", PublicLine::new(key.clone(), "")), 0o600)
    }

    fn add_text(&mut self, text: &[u8], source: &str) {
        let source: Arc<str> = source.into();
        for (line, content) in lines(text) {
            let place = Place { source: source.clone(), line };
            match content.and_then(|content| Entry::parse(content, &place)) {
                Ok(entry) => self.entries.push(entry),
                Err(problem) => self.warnings.push(LineWarning { place, problem }),
            }
        }
    }

    /// The line that revokes a key for a host, whatever its port.
    fn revoked(&self, host: &str, port: u16, key: &PublicKey) -> Option<&Place> {
        let mut lines = self.entries_for_any_port(host, port, Marker::Revoked);
        lines.find(|entry| entry.key == *key).map(|entry| &entry.place)
    }

    fn authorities(&self, host: &str, port: u16) -> impl Iterator<Item = &Entry> {
        self.entries_for_any_port(host, port, Marker::CertAuthority)
    }

    /// The lines about a host with its port, and those about it without one.
    fn entries_for_any_port(&self, host: &str, port: u16, marker: Marker) -> impl Iterator<Item = &Entry> {
        let ids = [host_id(host, port), host_id(host, USUAL_PORT)];
        self.entries.iter().filter(move |entry| {
            entry.marker == marker && ids.iter().flatten().any(|id| entry.names.matches(id))
        })
    }

    fn plain_entries(&self, host: &str, port: u16) -> impl Iterator<Item = &Entry> {
        self.entries_for(host, port, Marker::None)
    }

    fn entries_for(&self, host: &str, port: u16, marker: Marker) -> impl Iterator<Item = &Entry> {
        let id = host_id(host, port);
        self.entries.iter().filter(move |entry| {
            entry.marker == marker && id.as_ref().is_some_and(|id| entry.names.matches(id))
        })
    }

    fn names_of(&self, key: &PublicKey) -> Vec<KnownName> {
        let same = self.entries.iter().filter(|entry| entry.marker == Marker::None && entry.key == *key);
        let name = |entry: &Entry| {
            let names = entry.names.shown().filter(|names| *names != "*")?;
            Some(KnownName { names: names.to_owned(), place: entry.place.clone() })
        };
        same.filter_map(name).collect()
    }
}

fn kinds_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<KeyKind> {
    let mut kinds = Vec::new();
    for entry in entries {
        let kind = entry.key.kind();
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// The port that is left out.
const USUAL_PORT: u16 = 22;

impl Entry {
    fn parse(line: &str, place: &Place) -> Result<Self, LineProblem> {
        let (marker, rest) = match line.strip_prefix('@') {
            None => (Marker::None, line),
            Some(_) => match next_word(line) {
                ("@cert-authority", rest) => (Marker::CertAuthority, rest),
                ("@revoked", rest) => (Marker::Revoked, rest),
                _ => return Err(LineProblem::UnknownMarker),
            },
        };
        let (names, rest) = next_word(rest);
        let (kind, rest) = next_word(rest);
        let (base64, _comment) = next_word(rest);
        if base64.is_empty() {
            return Err(LineProblem::Truncated);
        }
        // A second marker would otherwise be a host name.
        if names.starts_with('@') {
            return Err(LineProblem::UnknownMarker);
        }
        let names = HostNames::parse(names).ok_or(LineProblem::BadNames)?;
        let key = parse_key(kind, base64).map_err(LineProblem::Key)?;
        Ok(Self { marker, names, key, place: place.clone() })
    }
}
