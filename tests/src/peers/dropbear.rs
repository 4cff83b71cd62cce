//! Dropbear: the server, and `dbclient`.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::process::Command;

use super::inetd::{Inetd, PretendUser};
use super::{
    ClientSettings, Host, Login, PASSWORD, Peer, RunningClient, RunningServer, ServerSettings, USER,
};
use crate::algorithms::{Algorithms, Suite};
use crate::endpoint::{Endpoint, connect, reserve_port};
use crate::keys::{KeyFile, KeyKind, output};
use crate::outcome::{Failure, Outcome, STEP, within};
use crate::peers::script::{STRICT_KEX, offered_lists};
use crate::process::Process;

/// The Dropbear of this machine.
pub struct Dropbear {
    server: PathBuf,
    client: PathBuf,
    convert: PathBuf,
    algorithms: Algorithms,
}

impl Dropbear {
    /// Finds it and asks it what it has.
    ///
    /// # Errors
    /// When it is missing where it must not be, or does not answer.
    pub async fn find() -> Outcome<Option<Self>> {
        let programs =
            (super::program("dropbear"), super::program("dbclient"), super::program("dropbearconvert"));
        let (Some(server), Some(client), Some(convert)) = programs else {
            return super::skip("Dropbear", "dropbear, dbclient and dropbearconvert are not all installed");
        };
        if !PretendUser::is_possible() {
            return super::skip("Dropbear", "libnss-wrapper is not installed");
        }
        let mut found = Self { server, client, convert, algorithms: Algorithms::default() };
        found.algorithms = found.probe().await?;
        Ok(Some(found))
    }

    /// Dropbear lists no key exchanges and no host key algorithms on request, but its first packet does.
    async fn probe(&self) -> Outcome<Algorithms> {
        let files = TempDir::new()?;
        let mut offered = Algorithms::default();
        for kind in KeyKind::ALL {
            let key = KeyFile::generate(files.path(), &format!("{kind:?}"), kind).await?;
            let suite = Suite::default();
            let settings =
                ServerSettings { host_key: &key, user_key: &key, suite: &suite, rekey_bytes: None };
            let server = self.serve(settings).await?;
            let [kex, host_keys, ciphers, macs] = offered_lists(server.port).await?;
            // Debian's always offers RSA too, key or no key.
            let real = host_keys.into_iter().filter(|name| KeyKind::of_algorithm(name) == Some(kind));
            offered.host_keys.extend(real);
            (offered.kex, offered.ciphers, offered.macs) = (kex, ciphers, macs);
            offered.strict_kex = offered.kex.iter().any(|name| name == STRICT_KEX);
        }
        Ok(offered)
    }

    async fn convert(&self, key: &KeyFile, path: &Path) -> Outcome {
        output(Command::new(&self.convert).args(["openssh", "dropbear"]).arg(&key.path).arg(path)).await?;
        Ok(())
    }
}

impl Peer for Dropbear {
    fn name(&self) -> &'static str {
        "Dropbear"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    /// Its server cannot be told which algorithms to offer: the client decides.
    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        let files = TempDir::new()?;
        let user = PretendUser::create(files.path())?;
        let host_key = files.path().join("host_key");
        self.convert(settings.host_key, &host_key).await?;
        let folder = user.home.join(".ssh");
        std::fs::create_dir(&folder)?;
        let authorized = folder.join("authorized_keys");
        std::fs::copy(&settings.user_key.public, &authorized)?;
        for path in [&folder, &authorized] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        }
        let program = self.server.clone();
        let command = move || {
            let mut command = Command::new(&program);
            // Without `-a` it takes a port of `::1` and is content when `127.0.0.1` has the same one in use.
            command.args(["-i", "-a", "-r"]).arg(&host_key);
            user.introduce(&mut command);
            command
        };
        let (inetd, port) = Inetd::start("dropbear", command).await?;
        Ok(RunningServer { port, host: Host::Inetd(inetd), files: Some(files) })
    }

    /// `dbclient` can be told the cipher and the MAC, not the key exchange or the kind of host key.
    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        let files = TempDir::new()?;
        // It looks for known hosts in its home directory alone.
        let user = PretendUser::create(files.path())?;
        let folder = user.home.join(".ssh");
        std::fs::create_dir(&folder)?;
        let line = format!("127.0.0.1 {}\n", settings.host_key.public_line()?);
        std::fs::write(folder.join("known_hosts"), line)?;

        let mut command = Command::new(&self.client);
        user.introduce(&mut command);
        command.env("HOME", &user.home).env("USER", USER).env_remove("SSH_AUTH_SOCK");
        command.args([
            "-N",
            "-T",
            "-o",
            "ExitOnForwardFailure=yes",
            "-p",
            &settings.port.to_string(),
            "-l",
            USER,
        ]);
        if let Some(cipher) = &settings.suite.cipher {
            command.args(["-c", cipher]);
        }
        if let Some(mac) = &settings.suite.mac {
            command.args(["-m", mac]);
        }
        match settings.login {
            Login::Key(key) => {
                let path = files.path().join("user_key");
                self.convert(key, &path).await?;
                command.arg("-i").arg(path);
            }
            Login::Password => {
                command.env("DROPBEAR_PASSWORD", PASSWORD);
            }
        }
        let mut local = None;
        if let Some(target) = settings.local {
            let port = reserve_port().await?;
            command.arg("-L").arg(format!("127.0.0.1:{port}:127.0.0.1:{target}"));
            local = Some(port);
        }
        if let Some(target) = settings.remote {
            command.arg("-R").arg(format!("127.0.0.1:0:127.0.0.1:{target}"));
        }
        let mut process = Process::spawn("dbclient", command.arg("127.0.0.1"))?;
        if let Some(port) = local {
            wait_for_listener(&mut process, port).await?;
        }
        let mut remote = None;
        if settings.remote.is_some() {
            remote = Some(Endpoint::Tcp(process.wait_log("the remote port", allocated_port).await?));
        }
        Ok(RunningClient { process, local: local.map(Endpoint::Tcp), remote, files: Some(files) })
    }
}

/// `dbclient` tells nobody that it is ready, so we ask. The connections made by asking end at once.
async fn wait_for_listener(process: &mut Process, port: u16) -> Outcome {
    let ready = within(STEP, "waiting for dbclient to listen", async {
        while connect(port).await.is_err() {
            if !process.is_running() {
                return Err(Failure::new("it ended"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    });
    ready.await.map_err(|failure| process.explain(failure))
}

fn allocated_port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("Allocated port ")?;
    rest.split_whitespace().next()?.parse().ok()
}
