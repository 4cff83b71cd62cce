//! A server that runs one process a connection, as inetd did: the harness owns the listener, so there is no port to
//! guess and no start to wait for.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{getgid, getuid};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::AbortHandle;

use super::USER;
use crate::endpoint::listen;
use crate::outcome::{Outcome, ensure};
use crate::process::Process;

/// A listener and the processes it has started.
pub struct Inetd {
    task: AbortHandle,
    sessions: Arc<Mutex<Vec<Process>>>,
}

impl Inetd {
    /// Listens on a free loopback port and runs `command` for each connection; gives the port too.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(
        name: &'static str,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Outcome<(Self, u16)> {
        let (listener, port) = listen().await?;
        let sessions = Arc::new(Mutex::new(Vec::new()));
        let started = Arc::clone(&sessions);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match run(name, command(), stream) {
                    Ok(process) => started.lock().unwrap_or_else(PoisonError::into_inner).push(process),
                    Err(failure) => eprintln!("{failure}"),
                }
            }
        });
        Ok((Self { task: task.abort_handle(), sessions }, port))
    }

    /// What all of the processes have logged.
    #[must_use]
    pub fn log(&self) -> String {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().map(Process::log).collect()
    }
}

impl Drop for Inetd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn run(name: &str, mut command: Command, stream: TcpStream) -> Outcome<Process> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    let input = OwnedFd::from(stream);
    let output = input.try_clone()?;
    command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
    Process::spawn_detached(name, &mut command)
}

/// A user that exists only for the processes that are told so: [`USER`], with our own rights, a home directory and a
/// password of the test's, by way of Debian's `libnss-wrapper`. Servers that ask the system who may log in need no
/// account and no change to the system then.
pub struct PretendUser {
    directory: PathBuf,
    /// Its home directory.
    pub home: PathBuf,
}

impl PretendUser {
    /// Whether the library is there.
    #[must_use]
    pub fn is_possible() -> bool {
        let places = ["/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
        places.iter().any(|place| Path::new(place).join(LIBRARY).is_file())
    }

    /// Writes the user's files into `directory`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn create(directory: &Path) -> Outcome<Self> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let home = directory.join("home");
        std::fs::DirBuilder::new().mode(0o700).create(&home)?;
        // Dropbear refuses keys below a directory that others may write to.
        std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700))?;
        let (user, group) = (getuid().as_raw(), getgid().as_raw());
        let home_text = home.display();
        // `sshd` run by root wants an account to give its rights up to. The hash is here too, because PAM asks for the
        // shadow in a way that the library does not cover.
        let passwd = format!(
            "sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n{USER}:{PASSWORD_HASH}:{user}:{group}::{home_text}:/bin/sh\n"
        );
        std::fs::write(directory.join("passwd"), passwd)?;
        let groups = format!("nogroup:x:65534:\n{USER}:x:{group}:\n");
        std::fs::write(directory.join("group"), groups)?;
        std::fs::write(directory.join("shadow"), format!("{USER}:{PASSWORD_HASH}:19000:0:99999:7:::\n"))?;
        if user == 0 {
            // Compiled into `sshd`: where it locks itself in before login.
            std::fs::create_dir_all("/run/sshd")?;
            ensure(Path::new("/run/sshd").is_dir(), || "/run/sshd is no directory".to_owned())?;
        }
        Ok(Self { directory: directory.to_owned(), home })
    }

    /// Lets `command` know the user.
    pub fn introduce(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", LIBRARY)
            .env("NSS_WRAPPER_PASSWD", self.directory.join("passwd"))
            .env("NSS_WRAPPER_GROUP", self.directory.join("group"))
            .env("NSS_WRAPPER_SHADOW", self.directory.join("shadow"));
    }
}

const LIBRARY: &str = "libnss_wrapper.so";

/// `crypt(3)` of [`PASSWORD`](super::PASSWORD), by SHA-512.
const PASSWORD_HASH: &str =
    "$6$interop$SA27CQnjhyZ8nbkeBh/euiWGEMLWsdFLvleXeFGmLDMjRZeqT.Xq94dVMYxOAMHdmmJ/bmGpV9vxPlDRtRKP5.";
