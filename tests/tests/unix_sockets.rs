//! Forwards from and to Unix sockets (OpenSSH PROTOCOL §2.4), with OpenSSH in both roles.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tests::adit::{self, Adit};
use tests::algorithms::Suite;
use tests::endpoint::Endpoint;
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::peers::openssh::OpenSsh;
use tests::peers::{ClientSettings, Keyring, Login, ServerSettings, USER};
use tests::process::{Process, pipe_through};
use tests::traffic::{Ending, Target, exchange, pattern};
use tokio::net::UnixListener;

/// What goes through each forward, each way, in bytes.
const LENGTH: u64 = 300_000;

/// A folder for sockets, with an echo behind one of them and one behind a port.
struct Sockets {
    folder: TempDir,
    echo: PathBuf,
    port: Target,
}

impl Sockets {
    async fn new() -> Outcome<Self> {
        let folder = TempDir::new()?;
        let echo = folder.path().join("echo");
        let listener = UnixListener::bind(&echo)?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        Ok(Self { folder, echo, port: Target::echo().await? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What to ask of a client: both ways, from each kind to a socket and from a socket to a port.
    fn arguments(&self) -> Vec<String> {
        let (echo, port) = (self.echo.display(), self.port.port);
        let path = |name| self.path(name).display().to_string();
        vec![
            "-L".into(),
            format!("{}:{echo}", path("local-socket")),
            "-L".into(),
            format!("{}:127.0.0.1:{port}", path("local-port")),
            "-R".into(),
            format!("{}:{echo}", path("remote-socket")),
            "-R".into(),
            format!("{}:127.0.0.1:{port}", path("remote-port")),
        ]
    }

    /// Goes through all of them.
    async fn check(&self) -> Outcome {
        for (seed, name) in NAMES.iter().enumerate() {
            let path = self.path(name);
            let mode = std::fs::symlink_metadata(&path)?.permissions().mode() & 0o777;
            ensure(mode == 0o600, || format!("{name} has the mode {mode:o}"))?;
            let stream = Endpoint::Unix(path).connect().await?;
            exchange(stream, seed as u64, LENGTH, Ending::HalfClose).await?;
        }
        Ok(())
    }
}

const NAMES: [&str; 4] = ["local-socket", "local-port", "remote-socket", "remote-port"];

#[tokio::test]
async fn openssh_as_server() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let (adit, keys, sockets) = (Adit::find().await?, Keyring::generate().await?, Sockets::new().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let server = openssh.serve_with(settings, "AllowStreamLocalForwarding yes").await?;

    let mut command = adit.command(["forward", "--json", &format!("{USER}@127.0.0.1:{}", server.port)]);
    command.args(["--host-key", &host_key.fingerprint]).arg("-i").arg(&user_key.path);
    command.args(sockets.arguments());
    let mut process = Process::spawn("adit forward", &mut command)?;
    adit::event(&mut process, "ready").await.map_err(|failure| process.explain(failure))?;
    sockets.check().await.map_err(|failure| process.explain(failure))?;
    process.signal(rustix::process::Signal::TERM)?;
    ensure(process.exit(STEP).await? == Some(0), || "adit forward failed".to_owned())?;
    for name in ["local-socket", "local-port"] {
        ensure(!sockets.path(name).exists(), || format!("{name} was left behind"))?;
    }

    let mut command = adit.command(["forward", &format!("{USER}@127.0.0.1:{}", server.port), "-W"]);
    command.arg(&sockets.echo).args(["--host-key", &host_key.fingerprint]).arg("-i").arg(&user_key.path);
    let sent = pattern(9, 1_000_001);
    let got = pipe_through("standard input to a socket", &mut command, sent.clone(), STEP).await?;
    ensure(got == sent, || format!("sent {} bytes, got {} or other ones back", sent.len(), got.len()))
}

#[tokio::test]
async fn openssh_as_client() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let (adit, keys, sockets) = (Adit::find().await?, Keyring::generate().await?, Sockets::new().await?);
    let permit = format!("{}/*", sockets.folder.path().display());
    let arguments = ["--permit-open", &permit, "--permit-listen", &permit].map(OsStr::new);
    let mut client = serve_openssh(&openssh, &adit, &keys, &arguments, &sockets.arguments()).await?;
    ensure(client.process.next_line(STEP).await?.as_deref() == Some("ready"), || "ssh ended".to_owned())
        .map_err(|failure| client.process.explain(failure))?;
    // Remote forwards may be granted after that.
    wait_for(&sockets.path("remote-port")).await.map_err(|failure| client.process.explain(failure))?;
    sockets.check().await.map_err(|failure| client.process.explain(failure))
}

#[tokio::test]
async fn nothing_is_permitted_by_any() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let (adit, keys, sockets) = (Adit::find().await?, Keyring::generate().await?, Sockets::new().await?);
    // `serve_with` permits `any`. Without the permission a remote forward fails, and ssh with it.
    let mut client = serve_openssh(&openssh, &adit, &keys, &[], &sockets.arguments()).await?;
    let code = client.process.exit(STEP).await?;
    ensure(code == Some(255), || format!("ssh ended with {code:?}"))?;
    ensure(!sockets.path("remote-socket").exists(), || "the socket was made".to_owned())
}

struct Client {
    process: Process,
    _server: tests::peers::RunningServer,
    _files: TempDir,
}

async fn serve_openssh(
    openssh: &OpenSsh,
    adit: &Adit,
    keys: &Keyring,
    server: &[&OsStr],
    client: &[String],
) -> Outcome<Client> {
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let server = adit.serve_with(settings, server).await?;
    let settings = ClientSettings::new(server.port, host_key, Login::Key(user_key), &suite);
    let files = TempDir::new()?;
    let mut command = openssh.client(settings, files.path())?;
    command.args(["-N", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready"]);
    let process = Process::spawn("ssh", command.args(client).arg("127.0.0.1"))?;
    Ok(Client { process, _server: server, _files: files })
}

async fn wait_for(path: &Path) -> Outcome {
    let found = async {
        while !path.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STEP, found).await.map_err(|_| Failure::new(format!("{path:?} did not come")))
}
