//! Tokens in files and in the environment; never on a command line, which everybody on the machine can read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{CliError, Code};

/// A token is not longer, in bytes.
const MAX_TOKEN: usize = 4096;
/// Where it is unless a file is named.
pub(crate) const VARIABLE: &str = "ADIT_TOKEN";

/// The token of a file.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub(crate) fn read(file: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |why: &dyn std::fmt::Display| {
        let shown = file.display();
        CliError::new(
            Code::File,
            format!("cannot read a token from {shown}: {why}; check that it is the right file"),
        )
    };
    let opened = File::open(file).map_err(|error| failed(&error))?;
    read_from(opened).map_err(|why| failed(&why))
}

/// The token on stdin.
///
/// # Errors
/// There is none.
pub(crate) fn read_stdin() -> Result<Zeroizing<String>, CliError> {
    read_from(io::stdin().lock())
        .map_err(|why| CliError::usage(format!("cannot read a token from stdin: {why}; pipe it in")))
}

/// The token of the file, else that of the environment, where one that is empty counts as if it was not set.
///
/// # Errors
/// As for [`read`]; or the variable holds no token.
pub(crate) fn given(file: Option<&Path>) -> Result<Option<Zeroizing<String>>, CliError> {
    match file {
        Some(file) => read(file).map(Some),
        None => of_environment(),
    }
}

fn of_environment() -> Result<Option<Zeroizing<String>>, CliError> {
    match std::env::var(VARIABLE).map(Zeroizing::new) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => read_from(text.as_bytes()).map(Some),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err("it is no text".to_owned()),
    }
    .map_err(|why| {
        CliError::usage(format!("cannot read a token from the environment variable {VARIABLE}: {why}"))
    })
}

fn read_from(source: impl io::Read) -> Result<Zeroizing<String>, String> {
    // One buffer of its final size, so that no copy is left behind by a growing one.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_TOKEN + 2));
    source.take(MAX_TOKEN as u64 + 2).read_to_end(&mut content).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&content).map_err(|_| "it is no text".to_owned())?.trim();
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.len() > MAX_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("it is no token".into());
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        assert_eq!(*read_from(&b" abc.def\r\n"[..]).unwrap(), "abc.def");
        let long = vec![b'x'; MAX_TOKEN + 1];
        for bad in [&b""[..], b"\n", b"a b", b"a\nb", b"\xff", &long] {
            assert!(read_from(bad).is_err());
        }
    }
}
