use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Certificate, CertificateKind, CertificatePermissions, CertificateRefusal};
use crate::crypto::CryptoProvider;
use crate::keys::PublicKey;
use crate::keys::address_list::AddressList;
use crate::keys::error::shown;
use crate::keys::host_names::matches_pattern;

/// The authorities whose certificates count.
#[derive(Debug, Clone, Default)]
pub struct CertificateAuthorities {
    entries: Vec<Authority>,
}

#[derive(Debug, Clone)]
struct Authority {
    key: PublicKey,
    /// If given, a user's certificate must name one of these; else the user.
    principals: Option<Box<[Box<str>]>>,
}

/// What a certificate is to be used for.
#[derive(Debug, Clone, Copy)]
pub struct CertificateUse<'a> {
    /// Whom it should be about.
    pub kind: CertificateKind,
    /// The login name, or the name or address of the host as the user gave it, without a port.
    pub name: &'a str,
    /// The time.
    pub now: SystemTime,
    /// Where the peer connects from, for a user. A certificate that is bound to addresses is refused if it is not known.
    pub source: Option<IpAddr>,
}

impl CertificateAuthorities {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts an authority. Its certificates are for the users or hosts that they name (as OpenSSH's
    /// `TrustedUserCAKeys`).
    pub fn add(&mut self, key: PublicKey) {
        self.entries.push(Authority { key, principals: None });
    }

    /// Trusts an authority for user certificates that name one of `principals`, whatever the login name (as the option
    /// `principals=` of `authorized_keys`). An empty list lets nobody in.
    pub fn add_for_principals<P: Into<Box<str>>>(
        &mut self,
        key: PublicKey,
        principals: impl IntoIterator<Item = P>,
    ) {
        let principals = principals.into_iter().map(Into::into).collect();
        self.entries.push(Authority { key, principals: Some(principals) });
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys of the authorities.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.entries.iter().map(|entry| &entry.key)
    }

    /// Whether a certificate counts: its authority, kind, principals, dates, critical options and source address, and
    /// last the authority's signature, which is the only costly part.
    ///
    /// A critical option that is not known refuses the certificate (PROTOCOL.certkeys, "Critical options"); for users
    /// `force-command` and `source-address` are known, for hosts none. A certificate without principals is refused.
    ///
    /// # Errors
    /// [`CertificateRefusal`]: the first rule that is broken.
    pub fn check(
        &self,
        certificate: &Certificate,
        usage: CertificateUse<'_>,
        provider: &CryptoProvider,
    ) -> Result<CertificatePermissions, CertificateRefusal> {
        let mut of_authority =
            self.entries.iter().filter(|entry| entry.key == certificate.authority).peekable();
        if of_authority.peek().is_none() {
            return Err(CertificateRefusal::UnknownAuthority);
        }
        if certificate.kind != usage.kind {
            return Err(CertificateRefusal::WrongKind);
        }
        if certificate.principals.is_empty() {
            return Err(CertificateRefusal::NoPrincipals);
        }
        if !of_authority.any(|entry| entry.names(certificate, &usage)) {
            return Err(CertificateRefusal::WrongPrincipal);
        }
        check_dates(certificate, usage.now)?;
        let force_command = check_critical_options(certificate, usage.source)?;
        certificate.verify_signature(provider)?;
        Ok(CertificatePermissions {
            force_command,
            extensions: certificate.extensions.clone(),
            valid_before: certificate.valid_before,
        })
    }
}

impl FromIterator<PublicKey> for CertificateAuthorities {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let mut authorities = Self::default();
        keys.into_iter().for_each(|key| authorities.add(key));
        authorities
    }
}

impl Authority {
    fn names(&self, certificate: &Certificate, usage: &CertificateUse<'_>) -> bool {
        let mut named = certificate.principals.iter();
        match (usage.kind, &self.principals) {
            (CertificateKind::User, None) => named.any(|principal| **principal == *usage.name),
            (CertificateKind::User, Some(wanted)) => named.any(|principal| wanted.contains(principal)),
            // Host names know no case.
            (CertificateKind::Host, _) => {
                let name = usage.name.to_ascii_lowercase();
                named.any(|pattern| matches_pattern(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()))
            }
        }
    }
}

fn check_dates(certificate: &Certificate, now: SystemTime) -> Result<(), CertificateRefusal> {
    // A clock before 1970 is before every certificate but those that are always valid.
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < certificate.valid_after {
        return Err(CertificateRefusal::NotYetValid);
    }
    if now >= certificate.valid_before {
        return Err(CertificateRefusal::Expired);
    }
    Ok(())
}

/// The command that is forced, if one is.
fn check_critical_options(
    certificate: &Certificate,
    source: Option<IpAddr>,
) -> Result<Option<Box<str>>, CertificateRefusal> {
    let mut force_command = None;
    for option in &certificate.critical_options {
        let name = || shown(option.name.as_bytes());
        let value = || option.value().ok_or_else(|| CertificateRefusal::BadCriticalOption(name()));
        match (certificate.kind, &*option.name) {
            (CertificateKind::User, "force-command") => force_command = Some(value()?.into()),
            (CertificateKind::User, "source-address") => {
                let list = AddressList::parse(value()?)
                    .ok_or_else(|| CertificateRefusal::BadCriticalOption(name()))?;
                if !source.is_some_and(|source| list.contains(source)) {
                    return Err(CertificateRefusal::WrongAddress);
                }
            }
            _ => return Err(CertificateRefusal::UnknownCriticalOption(name())),
        }
    }
    Ok(force_command)
}
