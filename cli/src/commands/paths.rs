//! Where a user's files are.

use std::path::PathBuf;

use crate::error::{CliError, Code};

/// The home directory, if the environment names one.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// A file of `~/.ssh`.
pub(crate) fn in_ssh(name: &str) -> Option<PathBuf> {
    home().map(|home| home.join(".ssh").join(name))
}

/// A file that Adit keeps (XDG base directories: `$XDG_DATA_HOME`, else `~/.local/share`).
pub(crate) fn in_data(name: &str) -> Result<PathBuf, CliError> {
    // The specification has relative paths ignored.
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| home().map(|home| home.join(".local").join("share")));
    let data = data.ok_or_else(|| {
        CliError::new(
            Code::File,
            "there is no home directory to keep the host key in; set HOME or XDG_DATA_HOME, or give --host-key FILE",
        )
    })?;
    Ok(data.join("adit").join(name))
}
