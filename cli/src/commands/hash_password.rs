//! `adit hash-password`: turns a password into a line for `adit serve --user`.

use std::io::{IsTerminal as _, Read as _};

use ssh_core::passwords::{MAX_PASSWORD_LEN, PasswordHash};
use zeroize::Zeroizing;

use super::hidden;
use super::session::PROVIDER;
use crate::error::{CliError, Code, chain};
use crate::output::{Event, Output, print};

/// Asks for a password twice, or reads the first line of stdin if that is no terminal, and prints its Argon2id hash.
///
/// # Errors
/// There is no password, it is too long, or the two differ; or a terminal is to answer a script.
pub(crate) fn run(output: &Output) -> Result<(), CliError> {
    let password = match (std::io::stdin().is_terminal(), output.is_json()) {
        (true, false) => ask()?,
        // A script reads the output, and nobody is asked; what is typed all the same would be shown.
        (true, true) => {
            return Err(CliError::usage(
                "with --json the password comes on stdin, which is a terminal; pipe it in",
            ));
        }
        (false, _) => read()?,
    };
    if password.is_empty() {
        return Err(CliError::usage("the password is empty; give one"));
    }
    if password.len() > MAX_PASSWORD_LEN {
        return Err(CliError::usage(format!(
            "the password is over {MAX_PASSWORD_LEN} bytes; give a shorter one"
        )));
    }
    let hash = PasswordHash::create(password.as_bytes(), PROVIDER)
        .map_err(|error| CliError::new(Code::Internal, error.to_string()))?
        .to_text();
    if output.is_json() {
        return output.result(&Event::PasswordHash { hash: &hash });
    }
    print(format!("{}\n", *hash))
}

fn ask() -> Result<Zeroizing<String>, CliError> {
    let failed = |error: std::io::Error| {
        CliError::new(Code::Internal, format!("cannot ask for a password: {}", chain(&error)))
    };
    let ask = |prompt: &str| hidden::ask(prompt).map_err(failed);
    let first = ask("Password: ")?;
    if *first != *ask("The same password again: ")? {
        return Err(CliError::usage("the two passwords differ; try again"));
    }
    Ok(first)
}

fn read() -> Result<Zeroizing<String>, CliError> {
    // One buffer of its final size, so that no copy is left behind by a growing one.
    let limit = MAX_PASSWORD_LEN.saturating_add(2);
    let mut content = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    let mut stdin = std::io::stdin().lock().take(u64::try_from(limit).unwrap_or(u64::MAX));
    stdin
        .read_to_end(&mut content)
        .map_err(|error| CliError::new(Code::Internal, format!("cannot read stdin: {error}")))?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => Err(CliError::usage("the password on stdin is not UTF-8")),
    }
}
