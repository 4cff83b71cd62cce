//! Who the server is.

use std::path::{Path, PathBuf};

use ssh_core::keys::{
    Certificate, CertificateKind, CertificateLine, KeyFileError, KeyFormatError, KeyKind, KeyPair, Overwrite,
    SigningKey,
};

use crate::commands::paths;
use crate::commands::session::PROVIDER;
use crate::error::{CliError, Code, chain};
use crate::output::Event;

/// The keys of these files, else the server's own key, which is made when it is first needed; there is then an event to
/// show once the server listens.
///
/// # Errors
/// A file cannot be used.
pub(super) fn load(files: &[PathBuf]) -> Result<(Vec<SigningKey>, Option<Event<'static>>), CliError> {
    if !files.is_empty() {
        let keys = files.iter().map(|file| signing(&read(file)?, file)).collect::<Result<_, _>>()?;
        return Ok((keys, None));
    }
    let (key, made) = load_own(OWN_KEY, KeyKind::Ed25519)?;
    Ok((vec![key], made))
}

/// The key of this name in the user's data directory, which is made when it is first needed.
///
/// # Errors
/// As for [`load`].
pub(crate) fn load_own(name: &str, kind: KeyKind) -> Result<(SigningKey, Option<Event<'static>>), CliError> {
    let file = paths::in_data(name, "the host key", Some("--host-key FILE"))?;
    let (key, made) = if exists(&file) { (read(&file)?, None) } else { make(&file, kind)? };
    Ok((signing(&key, &file)?, made))
}

/// The key that [`load_own`] has made, if it has and the key can be used.
pub(crate) fn find_own(name: &str) -> Option<SigningKey> {
    let file = paths::in_data(name, "the host key", None).ok().filter(|file| exists(file))?;
    load_file(&file).ok()
}

/// The key of this file.
///
/// # Errors
/// It cannot be used.
pub(crate) fn load_file(file: &Path) -> Result<SigningKey, CliError> {
    signing(&read(file)?, file)
}

/// The certificates of these files.
///
/// # Errors
/// A file cannot be used, or its certificate is not for hosts or for none of the keys.
pub(super) fn load_certificates(
    files: &[PathBuf],
    keys: &[SigningKey],
) -> Result<Vec<Certificate>, CliError> {
    let load = |file: &PathBuf| {
        let refuse = |why: &str| Err(CliError::new(Code::File, format!("{} {why}", file.display())));
        let Some(line) = CertificateLine::read_file(file).map_err(|error| CliError::file(&error))? else {
            return refuse("does not exist; give the certificate of a host key");
        };
        let certificate = line.certificate;
        if certificate.kind() != CertificateKind::Host {
            return refuse("is a user's certificate; sign the host key with `adit keygen sign --host`");
        }
        if !keys.iter().any(|key| key.public_key() == certificate.key()) {
            return refuse("certifies none of the host keys; give its key with --host-key");
        }
        Ok(certificate)
    };
    files.iter().map(load).collect()
}

fn exists(file: &Path) -> bool {
    // What cannot be looked at is not replaced either.
    !matches!(file.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn make(file: &Path, kind: KeyKind) -> Result<(KeyPair, Option<Event<'static>>), CliError> {
    let key = KeyPair::generate(PROVIDER, kind, 0)
        .map_err(|error| CliError::new(Code::Internal, format!("cannot make a host key: {error}")))?;
    match key.write_file(file, None, Overwrite::Refuse) {
        Ok(()) => {}
        // Another server was started at the same moment; one host has one key.
        Err(KeyFileError::Exists { .. }) => return Ok((read(file)?, None)),
        Err(error) => return Err(CliError::file(&error)),
    }
    let public = key.public_key();
    let made = Event::Key {
        kind: public.kind().name(),
        bits: public.bits(),
        fingerprint: public.fingerprint().to_string(),
        comment: key.comment.clone(),
        file: file.display().to_string(),
    };
    Ok((key, Some(made)))
}

fn read(file: &Path) -> Result<KeyPair, CliError> {
    KeyPair::read_file(file, None).map_err(|error| match &error {
        KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. } => {
            let file = file.display();
            CliError::new(
                Code::File,
                format!(
                    "the host key {file} is encrypted, and nobody is there to ask when a server starts; take the passphrase off with `adit keygen -p -f '{file}'`, or give another --host-key"
                ),
            )
        }
        error => CliError::file(error),
    })
}

fn signing(key: &KeyPair, file: &Path) -> Result<SigningKey, CliError> {
    SigningKey::new(&key.private, PROVIDER).map_err(|error| {
        CliError::new(
            Code::File,
            format!("the host key {} cannot be used: {}", file.display(), chain(&error)),
        )
    })
}

const OWN_KEY: &str = "host_ed25519";
