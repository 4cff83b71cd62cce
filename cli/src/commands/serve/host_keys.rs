//! Who the server is.

use std::path::{Path, PathBuf};

use ssh_core::keys::{KeyFileError, KeyFormatError, KeyKind, KeyPair, Overwrite, SigningKey};

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
    let file = paths::in_data(OWN_KEY)?;
    let (key, made) = if exists(&file) { (read(&file)?, None) } else { make(&file)? };
    Ok((vec![signing(&key, &file)?], made))
}

fn exists(file: &Path) -> bool {
    // What cannot be looked at is not replaced either.
    !matches!(file.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn make(file: &Path) -> Result<(KeyPair, Option<Event<'static>>), CliError> {
    let key = KeyPair::generate(PROVIDER, KeyKind::Ed25519, 0)
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
                    "the host key {file} is encrypted, and nobody is there to ask when a server starts; take the passphrase off with `ssh-keygen -p -f '{file}'`, or give another --host-key"
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
