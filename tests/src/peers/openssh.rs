//! OpenSSH: `sshd` with a configuration of its own, and `ssh`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::inetd::{Inetd, PretendUser};
use super::{
    ClientSettings, Host, Login, PASSWORD, Peer, RunningClient, RunningServer, ServerSettings, USER,
};
use crate::algorithms::{Algorithms, Suite};
use crate::endpoint::Endpoint;
use crate::keys::{KeyFile, KeyKind, output};
use crate::outcome::{Failure, Outcome, STEP};
use crate::peers::script::{STRICT_KEX, offered_lists};
use crate::process::Process;

/// The OpenSSH of this machine.
pub struct OpenSsh {
    ssh: PathBuf,
    sshd: PathBuf,
    algorithms: Algorithms,
}

impl OpenSsh {
    /// Finds it and asks it what it has.
    ///
    /// # Errors
    /// When it is missing where it must not be, or does not answer.
    pub async fn find() -> Outcome<Option<Self>> {
        let (Some(ssh), Some(sshd)) = (super::program("ssh"), super::program("sshd")) else {
            return super::skip("OpenSSH", "ssh and sshd are not both installed");
        };
        if !PretendUser::is_possible() {
            return super::skip("OpenSSH", "libnss-wrapper is not installed");
        }
        let mut found = Self { ssh, sshd, algorithms: Algorithms::default() };
        found.algorithms = Algorithms {
            kex: found.query("kex").await?,
            host_keys: found.query("key-sig").await?,
            ciphers: found.query("cipher").await?,
            macs: found.query("mac").await?,
            strict_kex: false,
            plain_cbc: false,
        };
        found.algorithms.strict_kex = found.probe().await?;
        Ok(Some(found))
    }

    async fn query(&self, what: &str) -> Outcome<Vec<String>> {
        let listed = output(Command::new(&self.ssh).args(["-Q", what])).await?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    async fn probe(&self) -> Outcome<bool> {
        let files = TempDir::new()?;
        let key = KeyFile::generate(files.path(), "probe", KeyKind::Ed25519).await?;
        let suite = Suite::default();
        let settings = ServerSettings { host_key: &key, user_key: &key, suite: &suite, rekey_bytes: None };
        let server = self.serve(settings).await?;
        let [kex, ..] = offered_lists(server.port).await?;
        Ok(kex.iter().any(|name| name == STRICT_KEX))
    }

    /// An `ssh` command line up to where the forwards go, ready to log in without asking anybody. `directory` is
    /// for the files it needs.
    ///
    /// # Errors
    /// When those files cannot be written.
    pub fn client(&self, settings: ClientSettings<'_>, directory: &Path) -> Outcome<Command> {
        let known_hosts = directory.join("known_hosts");
        let line = format!("[127.0.0.1]:{} {}\n", settings.port, settings.host_key.public_line()?);
        std::fs::write(&known_hosts, line)?;

        let mut command = Command::new(&self.ssh);
        command.env_remove("SSH_AUTH_SOCK").args([
            "-F",
            "none",
            "-p",
            &settings.port.to_string(),
            "-l",
            USER,
        ]);
        let mut option = |name: &str, value: &str| {
            command.arg("-o").arg(format!("{name}={value}"));
        };
        option("UserKnownHostsFile", &known_hosts.display().to_string());
        option("GlobalKnownHostsFile", "none");
        option("StrictHostKeyChecking", "yes");
        option("IdentitiesOnly", "yes");
        option("IdentityAgent", "none");
        option("ExitOnForwardFailure", "yes");
        option("ConnectTimeout", "20");
        option("LogLevel", "DEBUG1");
        for (name, value) in suite_options(settings.suite) {
            option(name, value);
        }
        if let Some(bytes) = settings.rekey_bytes {
            option("RekeyLimit", &bytes.to_string());
        }
        match settings.login {
            Login::Key(key) => {
                option("PreferredAuthentications", "publickey");
                option("BatchMode", "yes");
                command.arg("-i").arg(&key.path);
            }
            Login::Password => {
                option("PreferredAuthentications", "password");
                option("NumberOfPasswordPrompts", "1");
                let script = askpass(directory)?;
                command.env("SSH_ASKPASS", script).env("SSH_ASKPASS_REQUIRE", "force");
            }
        }
        Ok(command)
    }

    /// A server, with lines of `sshd_config` in front of ours: the first that sets something counts.
    ///
    /// It listens where a client says. Left to itself it takes a port of `::1` and is content when `127.0.0.1` has
    /// the same one in use.
    ///
    /// # Errors
    /// When its files cannot be written, or there is no port.
    pub async fn serve_with(&self, settings: ServerSettings<'_>, lines: &str) -> Outcome<RunningServer> {
        let files = TempDir::new()?;
        let user = PretendUser::create(files.path())?;
        let config = files.path().join("sshd_config");
        let mut text = format!(
            "{lines}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no\n\
             PermitRootLogin yes\nPasswordAuthentication yes\nAllowTcpForwarding yes\n\
             GatewayPorts clientspecified\nLogLevel DEBUG1\n",
            settings.host_key.path.display(),
            settings.user_key.public.display(),
        );
        for (name, value) in suite_options(settings.suite) {
            text.push_str(&format!("{name} {value}\n"));
        }
        if let Some(bytes) = settings.rekey_bytes {
            text.push_str(&format!("RekeyLimit {bytes}\n"));
        }
        std::fs::write(&config, text)?;
        let sshd = self.sshd.clone();
        let command = move || {
            let mut command = Command::new(&sshd);
            command.args(["-i", "-e", "-f"]).arg(&config);
            user.introduce(&mut command);
            command
        };
        let (inetd, port) = Inetd::start("sshd", command).await?;
        Ok(RunningServer { port, host: Host::Inetd(inetd), files: Some(files) })
    }
}

impl Peer for OpenSsh {
    fn name(&self) -> &'static str {
        "OpenSSH"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.serve_with(settings, "").await
    }

    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        let files = TempDir::new()?;
        let mut command = self.client(settings, files.path())?;
        // Runs once the login and the local forwards are done, and is how we hear of it.
        command.args(["-N", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready"]);
        let mut local = None;
        if let Some(port) = settings.local {
            // `ssh` does not say which port it was given, so it gets a socket.
            let socket = files.path().join("local");
            command.arg("-L").arg(format!("{}:127.0.0.1:{port}", socket.display()));
            local = Some(Endpoint::Unix(socket));
        }
        if let Some(port) = settings.remote {
            command.arg("-R").arg(format!("127.0.0.1:0:127.0.0.1:{port}"));
        }
        let mut process = Process::spawn("ssh", command.arg("127.0.0.1"))?;
        if process.next_line(STEP).await?.as_deref() != Some("ready") {
            return Err(process.explain(Failure::new("ssh ended before it was ready")));
        }
        let mut remote = None;
        if settings.remote.is_some() {
            let port = process.wait_log("the remote port", allocated_port).await?;
            remote = Some(Endpoint::Tcp(port));
        }
        Ok(RunningClient { process, local, remote, files: Some(files) })
    }
}

/// How many times keys were changed in a session that `log` tells of, beyond the first exchange.
#[must_use]
pub fn rekeys(log: &str) -> usize {
    log.matches("SSH2_MSG_NEWKEYS received").count().saturating_sub(1)
}

fn suite_options(suite: &Suite) -> impl Iterator<Item = (&'static str, &str)> {
    let options = [
        ("KexAlgorithms", &suite.kex),
        ("HostKeyAlgorithms", &suite.host_key),
        ("Ciphers", &suite.cipher),
        ("MACs", &suite.mac),
    ];
    options.into_iter().filter_map(|(name, value)| value.as_deref().map(|value| (name, value)))
}

fn askpass(directory: &Path) -> Outcome<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join("askpass");
    std::fs::write(&path, format!("#!/bin/sh\necho '{PASSWORD}'\n"))?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700))?;
    Ok(path)
}

fn allocated_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("Allocated port ")?;
    rest.split_whitespace().next()?.parse().ok()
}
