//! Passwords in files and in the environment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{CliError, Code};

/// The first line of a file, without its line end.
///
/// # Errors
/// The file cannot be read, is too long, is no text, or its first line is empty.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let failed = |why: &dyn std::fmt::Display, remedy: &str| {
        CliError::new(Code::File, format!("cannot read a password from {}: {why}; {remedy}", path.display()))
    };
    let check = "check that it exists and that you may read it";
    // Asked first, because to open a pipe without a writer is to wait for one.
    let metadata = std::fs::metadata(path).map_err(|error| failed(&error, check))?;
    if metadata.is_dir() {
        return Err(failed(&"it is a directory", "give the path of a file"));
    }
    // One buffer of its final size, so that no copy is left behind by a growing one.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let mut file = File::open(path).map_err(|error| failed(&error, check))?.take(MAX_FILE as u64 + 1);
    file.read_to_end(&mut content).map_err(|error| failed(&error, check))?;
    if content.len() > MAX_FILE {
        return Err(failed(&format!("it is over {MAX_FILE} bytes"), "check that it is the right file"));
    }
    first_line(&content).map_err(|why| failed(&why, "write the password on the first line"))
}

/// The password of an environment variable, by the rules for files. One that is empty counts as if it was not set.
///
/// # Errors
/// It holds something that is no password; the error names the variable.
pub(crate) fn of_environment(variable: &str) -> Result<Option<Zeroizing<String>>, CliError> {
    match std::env::var(variable).map(Zeroizing::new) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => first_line(text.as_bytes()).map(Some),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err("its first line is not UTF-8"),
    }
    .map_err(|why| {
        CliError::usage(format!("cannot read a password from the environment variable {variable}: {why}"))
    })
}

fn first_line(content: &[u8]) -> Result<Zeroizing<String>, &'static str> {
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match std::str::from_utf8(line) {
        Ok("") => Err("its first line is empty"),
        Ok(line) => Ok(Zeroizing::new(line.to_owned())),
        Err(_) => Err("its first line is not UTF-8"),
    }
}

/// A file longer than this holds something else.
const MAX_FILE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (content, password) in
            [("secret", "secret"), ("secret\n", "secret"), (" a b \r\nmore\n", " a b "), ("ünï\n", "ünï")]
        {
            std::fs::write(&file, content).unwrap();
            assert_eq!(*read(&file).unwrap(), password);
        }
        for content in [&b""[..], b"\nsecret", b"\xff\n", &[b'x'; MAX_FILE + 1]] {
            std::fs::write(&file, content).unwrap();
            assert_eq!(read(&file).unwrap_err().code, Code::File);
        }
        assert!(read(folder.path()).unwrap_err().message.contains("directory"));
        assert_eq!(read(&folder.path().join("none")).unwrap_err().code, Code::File);
    }
}
