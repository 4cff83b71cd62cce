//! Passphrases: of new keys, and changed ones of keys that exist.

use std::io::IsTerminal as _;
use std::path::Path;

use ssh_core::keys::{Half, KeyFileError, KeyFormat, KeyFormatError};
use zeroize::Zeroizing;

use super::source::Opened;
use crate::args::KeygenArgs;
use crate::commands::hidden;
use crate::commands::password_file;
use crate::error::{CliError, Code, chain};
use crate::output::Output;

/// Changes the passphrase of a private key file, which keeps its format, comment and mode.
pub(super) fn change(file: &Path, args: &KeygenArgs, output: &Output) -> Result<(), CliError> {
    let opened = Opened::read(file, args, output).map_err(|error| CliError::file(&error))??;
    let format = match super::read(file).as_deref().map(|content| KeyFormat::detect(content)) {
        Some(Some((format, Half::Private))) => format,
        _ => return Err(CliError::file(&format_error(file, KeyFormatError::NoPrivateKey))),
    };
    // Before anybody thinks of a passphrase that cannot be used.
    if !format.encrypts() && !args.no_passphrase {
        let error = format_error(file, KeyFormatError::CannotEncrypt(format));
        return Err(CliError::new(
            Code::File,
            format!("{} (see --convert and --no-passphrase)", chain(&error)),
        ));
    }
    let passphrase = match chosen(
        args,
        &format!("New passphrase of {} (empty for none): ", file.display()),
        output,
    )? {
        Chosen::Passphrase(passphrase) => Some(passphrase),
        Chosen::None => None,
        Chosen::NobodyToAsk => {
            return Err(CliError::usage(
                "nobody can be asked for the new passphrase; give --new-passphrase-file FILE or --no-passphrase",
            ));
        }
    };
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_bytes());
    opened.pair.replace_file(file, format, passphrase).map_err(|error| CliError::file(&error))?;
    output.result(&super::event(&opened.pair.public_line(), file))
}

/// The passphrase for a key that is made. Without a terminal and a word about it, there is none.
pub(super) fn for_new_key(args: &KeygenArgs, output: &Output) -> Result<Option<Zeroizing<String>>, CliError> {
    match chosen(args, "Passphrase for the new key (empty for none): ", output)? {
        Chosen::Passphrase(passphrase) => Ok(Some(passphrase)),
        Chosen::None | Chosen::NobodyToAsk => Ok(None),
    }
}

/// The passphrase of a key file that is encrypted.
pub(super) fn of_file(
    file: &Path,
    passphrase_file: Option<&Path>,
    output: &Output,
) -> Result<Zeroizing<String>, CliError> {
    if let Some(path) = passphrase_file {
        return password_file::read(path);
    }
    if !std::io::stdin().is_terminal() || output.is_json() {
        return Err(CliError::new(
            Code::File,
            format!(
                "{} is encrypted and nobody can be asked for its passphrase; give --passphrase-file FILE",
                file.display()
            ),
        ));
    }
    ask(&format!("Passphrase of {}: ", file.display()))
}

/// Asks for a secret on the terminal, without showing it.
fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    hidden::ask(prompt).map_err(|error| {
        CliError::new(Code::Internal, format!("cannot ask for a passphrase: {}", chain(&error)))
    })
}

enum Chosen {
    Passphrase(Zeroizing<String>),
    None,
    NobodyToAsk,
}

fn chosen(args: &KeygenArgs, prompt: &str, output: &Output) -> Result<Chosen, CliError> {
    if args.no_passphrase {
        return Ok(Chosen::None);
    }
    if let Some(path) = &args.new_passphrase_file {
        return password_file::read(path).map(Chosen::Passphrase);
    }
    if !std::io::stdin().is_terminal() || output.is_json() {
        return Ok(Chosen::NobodyToAsk);
    }
    output.flush();
    let first = ask(prompt)?;
    if first.is_empty() {
        return Ok(Chosen::None);
    }
    if *first != *ask("The same passphrase again: ")? {
        return Err(CliError::usage("the two passphrases differ; nothing was written, try again"));
    }
    Ok(Chosen::Passphrase(first))
}

fn format_error(file: &Path, source: KeyFormatError) -> KeyFileError {
    KeyFileError::Format { path: file.into(), source }
}
