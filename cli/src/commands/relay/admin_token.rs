//! The operator's secret: made on the first start, kept in the data directory.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relay::config::AdminToken;
use ssh_core::keys::{KeyFileError, Overwrite, write_private};
use zeroize::Zeroizing;

use crate::commands::session::PROVIDER;
use crate::commands::token_file;
use crate::error::{CliError, Code};

const NAME: &str = "admin-token";

/// The secret, its file, and whether it was made just now.
///
/// # Errors
/// The file cannot be read or made, or somebody else may read it.
pub(super) fn load(data_dir: &Path) -> Result<(AdminToken, PathBuf, bool), CliError> {
    let file = data_dir.join(NAME);
    let made = make(&file)?;
    if !made {
        check_mode(&file)?;
    }
    let shown = file.display();
    let held = token_file::read(&file)
        .map_err(|error| CliError::new(error.code, format!("{}, or {DELETE}", error.message)))?;
    let token = AdminToken::new(held.as_str()).ok_or_else(|| {
        CliError::new(Code::File, format!("the token in {shown} has under 16 characters; {DELETE}"))
    })?;
    Ok((token, file, made))
}

const DELETE: &str = "delete the file to have one made";

/// Makes the file unless it is there.
fn make(file: &Path) -> Result<bool, CliError> {
    // What cannot be looked at is not replaced either.
    if !matches!(file.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(false);
    }
    let mut secret = Zeroizing::new([0; 32]);
    PROVIDER
        .random
        .fill(&mut *secret)
        .map_err(|_| CliError::new(Code::Internal, "the system gives no randomness"))?;
    let mut text = Zeroizing::new(String::with_capacity(64));
    URL_SAFE_NO_PAD.encode_string(*secret, &mut text);
    text.push('\n');
    match write_private(file, text.as_bytes(), Overwrite::Refuse) {
        Ok(()) => Ok(true),
        Err(KeyFileError::Exists { .. }) => Ok(false),
        Err(KeyFileError::Io { source, .. }) => {
            let shown = file.display();
            let remedy = "check that you may write there, and that the disk has room";
            Err(CliError::new(Code::File, format!("cannot write {shown}: {source}; {remedy}")))
        }
        Err(error) => Err(CliError::file(&error)),
    }
}

#[cfg(unix)]
fn check_mode(file: &Path) -> Result<(), CliError> {
    let mode =
        std::fs::metadata(file).map(|data| std::os::unix::fs::PermissionsExt::mode(&data.permissions()));
    match mode {
        Ok(mode) if mode & 0o077 != 0 => {
            let shown = file.display();
            Err(CliError::new(Code::File, format!("others may read {shown}; run `chmod 600 '{shown}'`")))
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn check_mode(_: &Path) -> Result<(), CliError> {
    Ok(())
}
