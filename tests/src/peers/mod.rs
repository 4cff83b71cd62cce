//! SSH implementations to tunnel between: what each one has, and how to run it as a server or a client.
//!
//! A peer that is not installed is skipped, loudly; where `CI` is `true` or `ADIT_REQUIRE_PEERS` is `1`, that is a
//! failure.

pub mod asyncssh;
pub mod deaf;
pub mod dev_tunnels;
pub mod dropbear;
pub mod end;
pub mod go;
pub mod inetd;
pub mod node;
pub mod openssh;
mod script;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::algorithms::{Algorithms, Suite};
use crate::endpoint::Endpoint;
use crate::keys::{KeyFile, KeyKind};
use crate::outcome::{Failure, Outcome};
use crate::process::Process;
use inetd::Inetd;

/// The user every server admits.
pub const USER: &str = "adit";

/// That user's password, everywhere.
pub const PASSWORD: &str = "correct horse";

/// An SSH implementation.
pub trait Peer: Sync {
    /// Its name in cases and failures.
    fn name(&self) -> &'static str;

    /// The algorithms it has.
    fn algorithms(&self) -> &Algorithms;

    /// Whether it hands on the end of one direction and keeps the other open.
    fn keeps_half_close(&self) -> bool {
        true
    }

    /// Starts a server that admits [`USER`] and forwards both ways.
    fn serve(&self, settings: ServerSettings<'_>) -> impl Future<Output = Outcome<RunningServer>> + Send;

    /// Starts a client and waits until its forwards stand.
    fn connect(&self, settings: ClientSettings<'_>) -> impl Future<Output = Outcome<RunningClient>> + Send;
}

/// How a server shall run.
#[derive(Clone, Copy)]
pub struct ServerSettings<'a> {
    /// Its only host key.
    pub host_key: &'a KeyFile,
    /// The user key it admits, besides [`PASSWORD`].
    pub user_key: &'a KeyFile,
    /// The algorithms it offers.
    pub suite: &'a Suite,
    /// The number of bytes after which it asks for new keys.
    pub rekey_bytes: Option<u64>,
}

/// How a client logs in.
#[derive(Clone, Copy)]
pub enum Login<'a> {
    /// With this key.
    Key(&'a KeyFile),
    /// With [`PASSWORD`].
    Password,
}

/// How a client shall run.
#[derive(Clone, Copy)]
pub struct ClientSettings<'a> {
    /// The server's port on 127.0.0.1.
    pub port: u16,
    /// The only host key it may accept.
    pub host_key: &'a KeyFile,
    /// How it logs in.
    pub login: Login<'a>,
    /// The algorithms it offers.
    pub suite: &'a Suite,
    /// A port beyond the server that a listener of the client shall lead to.
    pub local: Option<u16>,
    /// A port beyond the client that a listener of the server shall lead to.
    pub remote: Option<u16>,
    /// The number of bytes after which it asks for new keys.
    pub rekey_bytes: Option<u64>,
}

impl<'a> ClientSettings<'a> {
    /// To log in and nothing else.
    #[must_use]
    pub fn new(port: u16, host_key: &'a KeyFile, login: Login<'a>, suite: &'a Suite) -> Self {
        Self { port, host_key, login, suite, local: None, remote: None, rekey_bytes: None }
    }
}

/// A server; it ends when this is dropped.
pub struct RunningServer {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What runs it.
    pub host: Host,
    /// Its files.
    pub files: Option<TempDir>,
}

/// What runs a server.
pub enum Host {
    /// One process for all connections.
    Process(Box<Process>),
    /// One process a connection.
    Inetd(Inetd),
}

impl RunningServer {
    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        match &self.host {
            Host::Process(process) => process.log(),
            Host::Inetd(inetd) => inetd.log(),
        }
    }
}

/// A client; it ends when this is dropped.
pub struct RunningClient {
    /// Its process.
    pub process: Process,
    /// Where its listener is.
    pub local: Option<Endpoint>,
    /// Where the server listens for it.
    pub remote: Option<Endpoint>,
    /// Its files.
    pub files: Option<TempDir>,
}

/// Host and user keys of every kind.
pub struct Keyring {
    directory: TempDir,
    host: Vec<KeyFile>,
    user: Vec<KeyFile>,
}

impl Keyring {
    /// Makes them.
    ///
    /// # Errors
    /// When `ssh-keygen` is missing or fails.
    pub async fn generate() -> Outcome<Self> {
        let directory = TempDir::new()?;
        let (mut host, mut user) = (Vec::new(), Vec::new());
        for kind in KeyKind::ALL {
            host.push(KeyFile::generate(directory.path(), &format!("host_{kind:?}"), kind).await?);
            user.push(KeyFile::generate(directory.path(), &format!("user_{kind:?}"), kind).await?);
        }
        Ok(Self { directory, host, user })
    }

    /// The host key of this kind.
    ///
    /// # Errors
    /// Never, as long as `KeyKind::ALL` is complete.
    pub fn host(&self, kind: KeyKind) -> Outcome<&KeyFile> {
        pick(&self.host, kind)
    }

    /// The user key of this kind.
    ///
    /// # Errors
    /// Never, as long as `KeyKind::ALL` is complete.
    pub fn user(&self, kind: KeyKind) -> Outcome<&KeyFile> {
        pick(&self.user, kind)
    }

    /// Where they are; a test may put files of its own there.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn pick(keys: &[KeyFile], kind: KeyKind) -> Outcome<&KeyFile> {
    let found = KeyKind::ALL.iter().zip(keys).find(|(candidate, _)| **candidate == kind);
    found.map(|(_, key)| key).ok_or_else(|| Failure::new(format!("no key of kind {kind:?}")))
}

/// Says that a peer cannot be tested with.
///
/// # Errors
/// Where it has to be there: when `CI` is `true` or `ADIT_REQUIRE_PEERS` is `1`.
pub fn skip<T>(peer: &str, why: &str) -> Outcome<Option<T>> {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if set("CI", "true") || set("ADIT_REQUIRE_PEERS", "1") {
        return Err(Failure::new(format!("{peer} is required here, but {why}")));
    }
    // Not by `eprintln`, which nobody sees of a test that passes.
    writeln!(std::io::stderr(), "SKIPPED: nothing is tested against {peer}: {why}")?;
    Ok(None)
}

/// Finds a program on the `PATH` or where administrators' programs are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

/// Where `tests/peers/setup` puts the peers that it builds.
pub fn built_peers() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target.map_or_else(|| workspace().join("target"), PathBuf::from).join("peers")
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
