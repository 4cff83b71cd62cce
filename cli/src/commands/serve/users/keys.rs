//! Who may log in with a key or a certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ssh_core::error::escape_text;
use ssh_core::keys::{
    AuthorizedKey, AuthorizedKeys, Certificate, CertificateAuthorities, CertificateKind,
    CertificatePermissions, CertificateUse, KeyOptions, LoginFacts, NotAuthorized, PublicKey,
};
use ssh_core::server::{Permissions, RejectReason};

use super::args::AuthorizedKeysArg;
use super::{LETS_NOBODY_IN, complain};
use crate::commands::session::PROVIDER;
use crate::commands::watched::Watched;
use crate::error::{CliError, Code};
use crate::output::Output;

/// The files of `--authorized-keys` and `--trusted-ca`.
pub(super) struct Keys {
    files: Vec<KeysOf>,
    output: Output,
}

struct KeysOf {
    /// Only this user; any if there is none.
    user: Option<String>,
    /// Whether every line is an authority's, marked or not.
    is_of_authorities: bool,
    file: Watched<AuthorizedKeys>,
}

impl Keys {
    /// Reads the files. `warnings` gets what is wrong with single lines.
    ///
    /// # Errors
    /// One cannot be used.
    pub(super) fn load(
        keys: &[AuthorizedKeysArg],
        authorities: &[AuthorizedKeysArg],
        output: &Output,
        warnings: &mut Vec<String>,
    ) -> Result<Self, CliError> {
        let mut load = |arg: &AuthorizedKeysArg, is_of_authorities| {
            let file = Watched::load(&arg.file, read)?;
            if let Some(keys) = file.current(|_| ()) {
                warnings.extend(keys.warnings().iter().map(ToString::to_string));
            }
            Ok::<_, CliError>(KeysOf { user: arg.user.clone(), is_of_authorities, file })
        };
        let keys = keys.iter().map(|arg| (arg, false));
        let files = keys.chain(authorities.iter().map(|arg| (arg, true)));
        let files =
            files.map(|(arg, is_of_authorities)| load(arg, is_of_authorities)).collect::<Result<_, _>>()?;
        Ok(Self { files, output: output.clone() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What the key lets the user do.
    pub(super) fn check(
        &self,
        user: &str,
        key: &PublicKey,
        certificate: Option<&Certificate>,
        facts: LoginFacts,
    ) -> Result<Permissions, RejectReason> {
        let mut reason = RejectReason::InvalidKey;
        for of in self.files.iter().filter(|of| of.user.as_deref().is_none_or(|only| only == user)) {
            // One that cannot be used holds nobody's key. It was said; a reason of its own would set its users apart.
            let Some(keys) = self.current(of) else { continue };
            let found = match certificate {
                Some(certificate) => of.certificate(&keys, user, certificate, facts),
                None if of.is_of_authorities => continue,
                None => plain(&keys, key, facts),
            };
            match found {
                Ok(permissions) => return Ok(permissions),
                Err(why) => reason = prefer(reason, why),
            }
        }
        Err(reason)
    }

    fn current(&self, of: &KeysOf) -> Option<Arc<AuthorizedKeys>> {
        of.file.current(|change| {
            complain(&self.output, of.file.path(), change, LETS_NOBODY_IN, |keys| warn(&self.output, keys));
        })
    }
}

impl KeysOf {
    /// What the first line of the certificate's authority that lets the user in allows.
    fn certificate(
        &self,
        keys: &AuthorizedKeys,
        user: &str,
        certificate: &Certificate,
        facts: LoginFacts,
    ) -> Result<Permissions, RejectReason> {
        let mut reason = RejectReason::InvalidKey;
        let lines = keys.holding(certificate.authority());
        for line in lines.filter(|line| self.is_of_authorities || line.options.cert_authority) {
            if let Err(refusal) = line.options.check(facts) {
                let place = line.place.clone();
                reason = prefer(reason, because(&NotAuthorized::Refused { place, refusal }));
                continue;
            }
            match check_certificate(line, user, certificate, facts) {
                Ok(allowed) => match restricted(permissions(&line.options), &allowed) {
                    Ok(permissions) => return Ok(permissions),
                    Err(why) => reason = prefer(reason, why),
                },
                Err(why) => reason = prefer(reason, why),
            }
        }
        Err(reason)
    }
}

fn plain(keys: &AuthorizedKeys, key: &PublicKey, facts: LoginFacts) -> Result<Permissions, RejectReason> {
    match keys.find(key, facts) {
        Ok(entry) => Ok(permissions(&entry.options)),
        Err(NotAuthorized::Unknown) => Err(RejectReason::InvalidKey),
        Err(refused) => Err(because(&refused)),
    }
}

fn check_certificate(
    line: &AuthorizedKey,
    user: &str,
    certificate: &Certificate,
    facts: LoginFacts,
) -> Result<CertificatePermissions, RejectReason> {
    let mut authorities = CertificateAuthorities::new();
    match &line.options.principals {
        Some(names) => {
            let names = names.iter().map(String::as_str);
            authorities.add_for_principals(certificate.authority().clone(), names);
        }
        None => authorities.add(certificate.authority().clone()),
    }
    let usage =
        CertificateUse { kind: CertificateKind::User, name: user, now: facts.now, source: facts.source };
    authorities.check(certificate, usage, PROVIDER).map_err(|refusal| {
        let (name, serial) = (escape_text(certificate.key_id().as_bytes()), certificate.serial());
        RejectReason::Other(format!("the certificate {name:?} (serial {serial}) does not count: {refusal}"))
    })
}

/// What the options of a line leave.
fn permissions(options: &KeyOptions) -> Permissions {
    let mut permissions = Permissions::default();
    permissions.port_forwarding = options.port_forwarding;
    permissions.pty = options.pty;
    permissions.agent_forwarding = options.agent_forwarding;
    permissions.x11_forwarding = options.x11_forwarding;
    permissions.forced_command = options.command.clone();
    permissions.expires = options.expires;
    if !options.permit_open.is_empty() {
        permissions.permit_open = Some(options.permit_open.iter().map(Into::into).collect());
    }
    if !options.permit_listen.is_empty() {
        permissions.permit_listen = Some(options.permit_listen.iter().map(Into::into).collect());
    }
    permissions
}

/// Less what the certificate does not allow.
///
/// # Errors
/// The line forces another command.
fn restricted(line: Permissions, certificate: &CertificatePermissions) -> Result<Permissions, RejectReason> {
    let mut permissions = line;
    permissions.port_forwarding &= certificate.permits_port_forwarding();
    permissions.pty &= certificate.permits_pty();
    permissions.agent_forwarding &= certificate.permits_agent_forwarding();
    permissions.x11_forwarding &= certificate.permits_x11_forwarding();
    let command = certificate.force_command().map(str::to_owned);
    permissions.forced_command = one_command(permissions.forced_command, command)?;
    // For ever is no time.
    let ends = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(certificate.valid_before()));
    permissions.expires = permissions.expires.into_iter().chain(ends).min();
    Ok(permissions)
}

/// The command that is forced by two that may force one.
///
/// # Errors
/// They force different ones: to run either would be to overrule the other.
pub(super) fn one_command(
    one: Option<String>,
    other: Option<String>,
) -> Result<Option<String>, RejectReason> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => {
            Err(RejectReason::Other("what it logs in with forces two different commands".into()))
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn because(refused: &NotAuthorized) -> RejectReason {
    RejectReason::Other(refused.to_string())
}

/// The reason that tells more.
fn prefer(so_far: RejectReason, next: RejectReason) -> RejectReason {
    if so_far == RejectReason::InvalidKey { next } else { so_far }
}

/// A file that was named has to be there, even if it may be empty.
fn read(path: &Path) -> Result<AuthorizedKeys, CliError> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(CliError::new(
            Code::File,
            format!(
                "cannot read the keys in {}: {error}; check that the file exists and that you may read it",
                path.display()
            ),
        ));
    }
    AuthorizedKeys::load(path).map_err(|error| CliError::file(&error))
}

fn warn(output: &Output, keys: &AuthorizedKeys) {
    for warning in keys.warnings() {
        output.warning(warning.to_string());
    }
}
