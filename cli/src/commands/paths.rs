//! Who the user is, and where their files are.

use std::path::{Path, PathBuf};

use crate::error::{CliError, Code};

/// Who is logged in here.
pub(crate) fn login_name() -> Option<String> {
    let names = ["USER", "LOGNAME", "USERNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let mut names = names.filter(|name| !name.is_empty());
    names.next().or_else(name_of_uid)
}

/// Services and containers often run without the variables.
#[cfg(unix)]
fn name_of_uid() -> Option<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut users = users.lines().map(|line| line.split(':'));
    users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(not(unix))]
fn name_of_uid() -> Option<String> {
    None
}

/// The home directory, if the environment names one.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// The path with a `~/` at its beginning undone, which a shell leaves inside quotes.
pub(crate) fn expand(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// A file of `~/.ssh`.
pub(crate) fn in_ssh(name: &str) -> Option<PathBuf> {
    home().map(|home| home.join(".ssh").join(name))
}

/// A file that Adit keeps (XDG base directories: `$XDG_DATA_HOME`, else `~/.local/share`).
///
/// # Errors
/// There is nowhere to keep `what`; `instead` is the option that says where, with its value.
pub(crate) fn in_data(name: &str, what: &str, instead: Option<&str>) -> Result<PathBuf, CliError> {
    // The specification has relative paths ignored.
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| home().map(|home| home.join(".local").join("share")));
    let data = data.ok_or_else(|| {
        let instead = instead.map(|option| format!(", or give {option}")).unwrap_or_default();
        CliError::new(
            Code::File,
            format!("there is no home directory to keep {what} in; set HOME or XDG_DATA_HOME{instead}"),
        )
    })?;
    Ok(data.join("adit").join(name))
}
