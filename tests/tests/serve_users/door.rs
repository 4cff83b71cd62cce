//! `adit serve` with some users, OpenSSH's client before it, and what such users have.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::USER;
use tests::process::Process;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// `adit serve` with these users, and OpenSSH's client at its door.
pub(super) struct Door {
    pub(super) process: Process,
    pub(super) port: u16,
    pub(super) files: TempDir,
    pub(super) host_key: String,
}

impl Door {
    pub(super) async fn open(arguments: &[&str], files: TempDir) -> Outcome<Self> {
        let adit = Adit::find().await?;
        let host = KeyFile::generate(files.path(), "host", KeyKind::Ed25519).await?;
        let mut command =
            adit.command(["serve", "--json", "--listen", "127.0.0.1:0", "--permit-open", "any"]);
        command.arg("--host-key").arg(&host.path).args(arguments);
        let mut process = Process::spawn("adit serve", &mut command)?;
        let port = adit::port(&adit::event(&mut process, "listening").await?, "addr")?;
        Ok(Self { process, port, files, host_key: host.public_line()? })
    }

    pub(super) fn ssh(&self, options: &[&str], password: &str) -> Outcome<Command> {
        use std::os::unix::fs::PermissionsExt;
        let known_hosts = self.files.path().join("known_hosts");
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {}\n", self.port, self.host_key))?;
        let askpass = self.files.path().join("askpass");
        std::fs::write(&askpass, format!("#!/bin/sh\necho '{password}'\n"))?;
        std::fs::set_permissions(&askpass, PermissionsExt::from_mode(0o700))?;
        let mut command = Command::new("ssh");
        command.env_remove("SSH_AUTH_SOCK").env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
        command.args(["-F", "none", "-N", "-p", &self.port.to_string(), "-l", USER, "127.0.0.1"]);
        command.arg("-o").arg(format!("UserKnownHostsFile={}", known_hosts.display()));
        for option in [
            "GlobalKnownHostsFile=none",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "NumberOfPasswordPrompts=1",
            "PermitLocalCommand=yes",
            "LocalCommand=echo ready",
        ] {
            command.args(["-o", option]);
        }
        command.args(options);
        Ok(command)
    }

    /// Whether `ssh` gets in, and what it says.
    pub(super) async fn lets_in(&self, options: &[&str], password: &str) -> Outcome<(bool, String)> {
        let mut client = Process::spawn("ssh", &mut self.ssh(options, password)?)?;
        let said = client.next_line(STEP).await?;
        if said.is_none() {
            client.exit(STEP).await?;
        }
        Ok((said.as_deref() == Some("ready"), client.log()))
    }

    pub(super) async fn expect(&self, options: &[&str], password: &str, expected: bool) -> Outcome {
        let (came_in, log) = self.lets_in(options, password).await?;
        ensure(came_in == expected, || format!("{options:?} {password:?}: came in: {came_in}; {log}"))
            .map_err(|failure| self.process.explain(failure))
    }
}

pub(super) const PASSWORD_ONLY: &[&str] = &["-o", "PreferredAuthentications=password"];

pub(super) async fn hash_password(password: &str) -> Outcome<String> {
    let adit = Adit::find().await?;
    let mut command = adit.command(["hash-password"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("no stdin"))?;
    stdin.write_all(format!("{password}\r\nsecond line\n").as_bytes()).await?;
    drop(stdin);
    let said = within(STEP, "hashing", async { Ok(child.wait_with_output().await?) }).await?;
    let text = String::from_utf8_lossy(&said.stdout).trim_end().to_owned();
    ensure(said.status.success() && text.lines().count() == 1, || format!("hash-password said {text:?}"))?;
    Ok(text)
}

pub(super) fn write(folder: &TempDir, name: &str, content: &str) -> Outcome<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, content)?;
    Ok(path)
}

/// A key with a certificate beside it.
pub(super) async fn certified(folder: &Path, authority: &KeyFile, made_with: &[&str]) -> Outcome<KeyFile> {
    let key = KeyFile::generate(folder, "certified", KeyKind::Ed25519).await?;
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-I", "its id", "-s"]).arg(&authority.path).args(made_with).arg(&key.public);
    output(&mut sign).await?;
    Ok(key)
}
