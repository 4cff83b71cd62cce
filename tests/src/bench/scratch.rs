//! The temporary directory of a benchmark: keys, configuration files and logs, gone at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::error::{BenchError, Context, Result};

/// Keys both tunnels use, and who we are.
pub(crate) struct Scratch {
    directory: TempDir,
    /// Name of the user we run as, and log in as.
    pub(crate) user: String,
    /// `SHA256:...` of the host key.
    pub(crate) host_fingerprint: String,
}

impl Scratch {
    pub(crate) fn create() -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("adit-bench-").tempdir().context("temporary directory")?;
        let user = output(Command::new("id").arg("-un"))?.trim().to_owned();
        let mut scratch = Self { directory, user, host_fingerprint: String::new() };
        for key in [scratch.host_key(), scratch.user_key()] {
            let mut keygen = Command::new("ssh-keygen");
            output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f"]).arg(key))?;
        }
        let user_public = scratch.user_key().with_extension("pub");
        fs::copy(user_public, scratch.authorized_keys()).context("authorized keys")?;
        let listing = output(Command::new("ssh-keygen").arg("-lf").arg(scratch.host_key()))?;
        let fingerprint = listing.split_whitespace().find(|word| word.starts_with("SHA256:"));
        scratch.host_fingerprint =
            fingerprint.ok_or_else(|| BenchError::new("ssh-keygen -l printed no fingerprint"))?.to_owned();
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn host_key(&self) -> PathBuf {
        self.path().join("host_key")
    }

    pub(crate) fn user_key(&self) -> PathBuf {
        self.path().join("user_key")
    }

    pub(crate) fn authorized_keys(&self) -> PathBuf {
        self.path().join("authorized_keys")
    }
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.output().context(format!("cannot run {program}"))?;
    if !done.status.success() {
        let error = String::from_utf8_lossy(&done.stderr).trim().to_owned();
        return Err(BenchError::new(format!("{program} failed: {error}")));
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
