//! The operator's secret: made on the first start, kept in the data directory.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use relay::config::AdminToken;
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
    let token = AdminToken::new(token_file::read(&file)?.as_str()).ok_or_else(|| {
        let shown = file.display();
        CliError::new(
            Code::File,
            format!("the token in {shown} has under 16 characters; delete the file to have one made"),
        )
    })?;
    Ok((token, file, made))
}

/// Makes the file unless it is there.
fn make(file: &Path) -> Result<bool, CliError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |error: io::Error| {
        let shown = file.display();
        CliError::new(Code::File, format!("cannot write {shown}: {error}; check that you may write there"))
    };
    match options.open(file) {
        Ok(mut opened) => {
            let mut secret = Zeroizing::new([0; 32]);
            PROVIDER
                .random
                .fill(&mut *secret)
                .map_err(|_| CliError::new(Code::Internal, "the system gives no randomness"))?;
            let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*secret));
            opened.write_all(text.as_bytes()).and_then(|()| opened.write_all(b"\n")).map_err(failed)?;
            opened.sync_all().map_err(failed)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
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
