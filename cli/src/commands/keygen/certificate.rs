//! What a certificate says, for people and for scripts.

use std::fmt;
use std::path::Path;

use ssh_core::error::escape_text;
use ssh_core::keys::{Certificate, CertificateKind, CertificateOption};

use super::short_name;
use super::times::Utc;
use crate::output::Event;

/// A certificate with the name of its file, shown as `ssh-keygen -L` shows it, but for times, which are UTC.
pub(super) struct Shown<'a> {
    pub(super) certificate: &'a Certificate,
    pub(super) file: &'a Path,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, file } = self;
        let (key, authority) = (certificate.key(), certificate.authority());
        writeln!(f, "{}:", file.display())?;
        let type_name = key.kind().certificate_name();
        writeln!(f, "        Type: {type_name} {} certificate", kind_name(certificate.kind()))?;
        writeln!(f, "        Public key: {}-CERT {}", short_name(key.kind()), key.fingerprint())?;
        let algorithm = escape_text(certificate.signature_algorithm_name().as_bytes());
        let kind = short_name(authority.kind());
        writeln!(f, "        Signing CA: {kind} {} (using {algorithm})", authority.fingerprint())?;
        writeln!(f, "        Key ID: \"{}\"", escape_text(certificate.key_id().as_bytes()))?;
        writeln!(f, "        Serial: {}", certificate.serial())?;
        match (certificate.valid_after(), certificate.valid_before()) {
            (0, u64::MAX) => writeln!(f, "        Valid: forever")?,
            (0, before) => writeln!(f, "        Valid: before {}", Utc(before))?,
            (after, u64::MAX) => writeln!(f, "        Valid: after {}", Utc(after))?,
            (after, before) => writeln!(f, "        Valid: from {} to {}", Utc(after), Utc(before))?,
        }
        let principals = certificate.principals().iter().map(|name| escape_text(name.as_bytes()));
        list(f, "Principals", principals)?;
        list(f, "Critical Options", certificate.critical_options().iter().map(shown))?;
        list(f, "Extensions", certificate.extensions().iter().map(shown))
    }
}

fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: impl ExactSizeIterator<Item = String>,
) -> fmt::Result {
    if items.len() == 0 {
        return writeln!(f, "        {title}: (none)");
    }
    writeln!(f, "        {title}: ")?;
    items.into_iter().try_for_each(|item| writeln!(f, "                {item}"))
}

fn shown(option: &CertificateOption) -> String {
    let name = escape_text(option.name.as_bytes());
    match option.value() {
        Some(value) => format!("{name} {}", escape_text(value.as_bytes())),
        None if option.is_flag() => name,
        None => format!("{name} ({} bytes)", option.data.len()),
    }
}

pub(super) fn event(certificate: &Certificate, file: &Path) -> Event<'static> {
    Event::Certificate {
        kind: certificate.key().kind().certificate_name(),
        about: kind_name(certificate.kind()),
        fingerprint: certificate.key().fingerprint().to_string(),
        authority: certificate.authority().fingerprint().to_string(),
        id: escape_text(certificate.key_id().as_bytes()),
        serial: certificate.serial(),
        principals: certificate.principals().iter().map(|name| escape_text(name.as_bytes())).collect(),
        valid_after: certificate.valid_after(),
        valid_before: certificate.valid_before(),
        critical_options: certificate.critical_options().iter().map(shown).collect(),
        extensions: certificate.extensions().iter().map(shown).collect(),
        file: file.display().to_string(),
    }
}

fn kind_name(kind: CertificateKind) -> &'static str {
    match kind {
        CertificateKind::User => "user",
        CertificateKind::Host => "host",
    }
}
