//! Key pairs made by `ssh-keygen`, so that no key of a test comes from the code under test.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::outcome::{Failure, Outcome, STEP, ensure, within};

/// The kinds of key an SSH peer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// ECDSA over the NIST curve of this many bits.
    Ecdsa(u16),
    /// RSA with 3072 bits.
    Rsa,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Ed25519, Self::Ecdsa(256), Self::Ecdsa(384), Self::Ecdsa(521), Self::Rsa];

    /// The kind of key that the host key algorithm `name` signs with.
    #[must_use]
    pub fn of_algorithm(name: &str) -> Option<Self> {
        Some(match name {
            "ssh-ed25519" => Self::Ed25519,
            "ecdsa-sha2-nistp256" => Self::Ecdsa(256),
            "ecdsa-sha2-nistp384" => Self::Ecdsa(384),
            "ecdsa-sha2-nistp521" => Self::Ecdsa(521),
            "rsa-sha2-256" | "rsa-sha2-512" => Self::Rsa,
            _ => return None,
        })
    }
}

/// A private key file with its `.pub` beside it.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// The private key, in PEM where the kind has such a form and in OpenSSH's format otherwise.
    pub path: PathBuf,
    /// The public line.
    pub public: PathBuf,
    /// `SHA256:` and the rest, as the command line takes it.
    pub fingerprint: String,
}

impl KeyFile {
    /// Makes a key in `directory`; `name` tells keys of one kind apart.
    ///
    /// # Errors
    /// When `ssh-keygen` is missing or fails.
    pub async fn generate(directory: &Path, name: &str, kind: KeyKind) -> Outcome<Self> {
        let path = directory.join(name);
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-m", "PEM", "-N", "", "-C", name, "-f"]).arg(&path).arg("-t");
        match kind {
            KeyKind::Ed25519 => command.arg("ed25519"),
            KeyKind::Ecdsa(bits) => command.args(["ecdsa", "-b", &bits.to_string()]),
            KeyKind::Rsa => command.args(["rsa", "-b", "3072"]),
        };
        output(&mut command).await?;
        let public = directory.join(format!("{name}.pub"));
        let fingerprint = fingerprint(&path).await?;
        Ok(Self { path, public, fingerprint })
    }

    /// The public line's algorithm and Base64 blob.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn public_line(&self) -> Outcome<String> {
        let line = std::fs::read_to_string(&self.public)?;
        Ok(line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }
}

/// What `ssh-keygen -l` calls the key in `path`.
///
/// # Errors
/// When it cannot read the file.
pub async fn fingerprint(path: &Path) -> Outcome<String> {
    let listed = output(Command::new("ssh-keygen").arg("-lf").arg(path)).await?;
    let print = listed.split_whitespace().find(|word| word.starts_with("SHA256:"));
    print.map(str::to_owned).ok_or_else(|| Failure::new(format!("no fingerprint in {listed:?}")))
}

/// Runs a short command and gives its stdout.
///
/// # Errors
/// When it cannot be started, fails or hangs.
pub async fn output(command: &mut Command) -> Outcome<String> {
    output_within(STEP, command).await
}

/// As [`output`], where it may take longer.
///
/// # Errors
/// As for [`output`]. What it says on stderr is in them, if it hangs too.
pub async fn output_within(limit: Duration, command: &mut Command) -> Outcome<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (mut stdout, mut stderr) = pipes.ok_or_else(|| Failure::new("no pipes"))?;
    let (mut given, mut said) = (Vec::new(), Vec::new());
    let doing = format!("running {name}");
    let ended = within(limit, &doing, async {
        let read = async { tokio::try_join!(stdout.read_to_end(&mut given), stderr.read_to_end(&mut said)) };
        let (status, read) = tokio::join!(child.wait(), read);
        read?;
        Ok(status?)
    });
    let ended = ended.await;
    let said = String::from_utf8_lossy(&said);
    let status = ended.map_err(|failure| failure.with_log(&name, &said))?;
    ensure(status.success(), || format!("{name} failed: {said}"))?;
    Ok(String::from_utf8_lossy(&given).into_owned())
}
