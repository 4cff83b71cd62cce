//! Writing a key in another format.

use std::path::Path;

use ssh_core::keys::{Half, KeyFileError, KeyFormat, KeyFormatError, Overwrite, PublicLine};
use zeroize::Zeroizing;

use super::source::{Opened, Source};
use crate::args::KeygenArgs;
use crate::commands::password_file;
use crate::error::{CliError, Code};
use crate::output::{Output, print};

/// Writes the key of `file` as `format`, to a file or to stdout.
pub(super) fn run(
    file: &Path,
    format: KeyFormat,
    args: &KeygenArgs,
    output: &Output,
) -> Result<(), CliError> {
    if output.is_json() && args.out.is_none() {
        return Err(CliError::usage("the key and the events cannot both go to stdout; give -o OUT"));
    }
    if let Some(out) = &args.out {
        super::refuse_missing_parent(out)?;
    }
    match Source::read(file, args, output)? {
        Source::Private(opened) if !wants_public(format, args) => {
            private(file, &opened, format, args, output)
        }
        Source::Private(opened) => public(file, &opened.pair.public_line(), format, args, output),
        Source::Public(line) => public(file, &line, format, args, output),
    }
}

/// RFC 4716 has public keys only, as `ssh-keygen -e` has.
fn wants_public(format: KeyFormat, args: &KeygenArgs) -> bool {
    args.public || format == KeyFormat::Rfc4716
}

fn private(
    file: &Path,
    opened: &Opened,
    format: KeyFormat,
    args: &KeygenArgs,
    output: &Output,
) -> Result<(), CliError> {
    let refused = |source| refused(file, source);
    let kind = opened.pair.public_key().kind();
    if !format.holds(Half::Private, kind) {
        return Err(refused(KeyFormatError::CannotHold { format, half: Half::Private, kind }));
    }
    let fresh;
    let passphrase = match &args.new_passphrase_file {
        _ if args.no_passphrase => None,
        Some(path) => {
            fresh = password_file::read(path)?;
            Some(&fresh)
        }
        None => opened.passphrase.as_ref(),
    };
    // Nobody's key is put into the clear by a format that happens to have no encryption.
    if passphrase.is_some() && !format.encrypts() {
        return Err(CliError::new(
            Code::File,
            format!(
                "{} has a passphrase and {format} is never written with one; choose openssh or pkcs8, or say --no-passphrase to write the key in the clear",
                file.display()
            ),
        ));
    }
    let passphrase = passphrase.map(|passphrase: &Zeroizing<String>| passphrase.as_bytes());
    match &args.out {
        Some(out) => {
            let written = opened.pair.write_file_as(out, format, passphrase, Overwrite::Refuse);
            written.map_err(|error| CliError::file(&error))?;
            output.result(&super::event(&opened.pair.public_line(), out))
        }
        None => print(&opened.pair.encode(format, passphrase).map_err(refused)?),
    }
}

fn public(
    file: &Path,
    line: &PublicLine,
    format: KeyFormat,
    args: &KeygenArgs,
    output: &Output,
) -> Result<(), CliError> {
    let kind = line.key.kind();
    if !format.holds(Half::Public, kind) {
        return Err(refused(file, KeyFormatError::CannotHold { format, half: Half::Public, kind }));
    }
    match &args.out {
        Some(out) => {
            line.write_file(out, format, Overwrite::Refuse).map_err(|error| CliError::file(&error))?;
            output.result(&super::event(line, out))
        }
        None => print(&line.encode(format).map_err(|source| refused(file, source))?),
    }
}

fn refused(file: &Path, source: KeyFormatError) -> CliError {
    CliError::file(&KeyFileError::Format { path: file.into(), source })
}
