//! A key file of either half, and the passphrase that opens it.

use std::path::Path;

use ssh_core::keys::{Half, KeyFileError, KeyFormat, KeyFormatError, KeyPair, PublicLine};
use zeroize::Zeroizing;

use super::passphrase;
use crate::args::KeygenArgs;
use crate::commands::session::PROVIDER;
use crate::error::CliError;
use crate::output::Output;

/// What a key file holds.
pub(super) enum Source {
    Private(Opened),
    Public(PublicLine),
}

/// A private key.
pub(super) struct Opened {
    pub(super) pair: KeyPair,
    /// What it was encrypted with.
    pub(super) passphrase: Option<Zeroizing<String>>,
}

impl Source {
    /// Reads a key file. The passphrase of an encrypted one comes from a file, or from somebody at the terminal.
    pub(super) fn read(file: &Path, args: &KeygenArgs, output: &Output) -> Result<Self, CliError> {
        let opened = match Opened::read(file, args, output) {
            Ok(opened) => return Ok(Self::Private(opened?)),
            Err(error) => error,
        };
        // Public files are open to all, and that is as it should be.
        let may_be_public = matches!(
            &opened,
            KeyFileError::OpenToOthers { .. } | KeyFileError::Format { source: KeyFormatError::IsPublic, .. }
        );
        match super::read(file).filter(|_| may_be_public) {
            Some(content) => match PublicLine::decode(&content) {
                Ok(line) => Ok(Self::Public(line)),
                Err(_) if matches!(KeyFormat::detect(&content), Some((_, Half::Private))) => {
                    Err(CliError::file(&opened))
                }
                Err(source) => Err(CliError::file(&KeyFileError::Format { path: file.into(), source })),
            },
            None => Err(CliError::file(&opened)),
        }
    }
}

impl Opened {
    /// Reads a private key file and makes sure that its halves belong together. The outer error is that of the file
    /// before anybody is asked.
    pub(super) fn read(
        file: &Path,
        args: &KeygenArgs,
        output: &Output,
    ) -> Result<Result<Self, CliError>, KeyFileError> {
        match KeyPair::read_file(file, None) {
            Ok(pair) => Ok(checked(file, pair, None)),
            Err(KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. }) => {
                Ok(open(file, args, output))
            }
            Err(error) => Err(error),
        }
    }
}

fn open(file: &Path, args: &KeygenArgs, output: &Output) -> Result<Opened, CliError> {
    let passphrase = passphrase::of_file(file, args.passphrase_file.as_deref(), output)?;
    match KeyPair::read_file(file, Some(passphrase.as_bytes())) {
        Ok(pair) => checked(file, pair, Some(passphrase)),
        Err(error) => Err(CliError::file(&error)),
    }
}

fn checked(file: &Path, pair: KeyPair, passphrase: Option<Zeroizing<String>>) -> Result<Opened, CliError> {
    pair.check(PROVIDER)
        .map_err(|source| CliError::file(&KeyFileError::Format { path: file.into(), source }))?;
    Ok(Opened { pair, passphrase })
}
