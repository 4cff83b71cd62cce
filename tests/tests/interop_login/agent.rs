//! A real ssh-agent's keys.

use std::path::Path;
use std::time::Duration;

use ssh_core::client::{self, Agent, Config, Credential, danger::AcceptAnyHostKey};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyPair, SigningKey};
use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::openssh::OpenSsh;
use tests::peers::{Keyring, RunningServer, ServerSettings, USER};
use tests::process::Process;
use tests::raw_peer::{Field, message};
use tests::scripted_server::{self, ScriptedServer, What};
use tokio::process::Command;

use super::log_in;

/// A real ssh-agent with a socket of its own.
struct RunningAgent {
    socket: String,
    _process: Process,
}

impl RunningAgent {
    async fn start(directory: &Path) -> Outcome<Self> {
        let socket = directory.join("agent.socket").display().to_string();
        let process = Process::spawn("ssh-agent", Command::new("ssh-agent").args(["-D", "-a", &socket]))?;
        within(STEP, "starting the agent", async {
            // The socket is there a moment before it can be connected to.
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?;
        Ok(Self { socket, _process: process })
    }

    async fn add(&self, key: &KeyFile) -> Outcome {
        output(Command::new("ssh-add").env("SSH_AUTH_SOCK", &self.socket).arg("-q").arg(&key.path)).await?;
        Ok(())
    }

    fn keys(&self) -> Credential {
        Credential::keys(Agent::at(&self.socket))
    }
}

async fn sshd_for(
    openssh: &OpenSsh,
    keys: &Keyring,
    user_key: &KeyFile,
    lines: &str,
) -> Outcome<RunningServer> {
    let suite = Suite::default();
    let host_key = keys.host(KeyKind::Ed25519)?;
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    openssh.serve_with(settings, &format!("MaxAuthTries 20\n{lines}")).await
}

/// Whether a server whose server-sig-algs (RFC 8308 §3.1) has one name gets a good signature of that algorithm.
async fn signs_for_a_server_of(algorithm: &'static str, credential: Credential) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(async move {
        let mut server = ScriptedServer::accept(far, "SSH-2.0-Script").await;
        let fields = [Field::U32(1), Field::Str("server-sig-algs"), Field::Str(algorithm)];
        server.send(&message(7, &fields)).await;
        server
            .login(|said| match &said.what {
                What::Query(key, asked) => vec![scripted_server::pk_ok(asked, key)],
                What::Signed(..) => vec![scripted_server::success()],
                _ => vec![scripted_server::failure("publickey")],
            })
            .await
    });
    let config = Config::builder(USER).verify_host_key(AcceptAnyHostKey).authenticate(credential);
    client::connect(near, config.build().unwrap()).await.unwrap();
    let said = server.await.unwrap();
    matches!(&said.last().unwrap().what, What::Signed(_, name) if name == algorithm)
}

#[tokio::test]
async fn an_agents_keys_of_every_kind_and_its_certificates() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let agent = RunningAgent::start(keys.directory()).await?;
    for kind in KeyKind::ALL {
        agent.add(keys.user(kind)?).await?;
    }
    assert_eq!(Agent::at(&agent.socket).identities().await.unwrap().len(), KeyKind::ALL.len());
    for kind in KeyKind::ALL {
        let server = sshd_for(&openssh, &keys, keys.user(kind)?, "").await?;
        if let Err(error) = log_in(server.port, &[agent.keys()]).await {
            panic!("{kind:?}: {error}\n{}", server.log());
        }
    }
    // RSA by each of its flags: the server says that it takes one only.
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        assert!(signs_for_a_server_of(algorithm, agent.keys()).await, "{algorithm}");
    }
    // Certificates: ssh-add takes KEY-cert.pub along. No key itself is authorized.
    let authority = KeyFile::generate(keys.directory(), "authority", KeyKind::Ed25519).await?;
    let stranger = KeyFile::generate(keys.directory(), "stranger", KeyKind::Ed25519).await?;
    let lines = format!("TrustedUserCAKeys {}\n", authority.public.display());
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa(256), KeyKind::Rsa] {
        let key = KeyFile::generate(keys.directory(), &format!("certified_{kind:?}"), kind).await?;
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "id", "-n", USER, "-s"]).arg(&authority.path).arg(&key.public);
        output(&mut sign).await?;
        let only = tempfile::tempdir()?;
        let agent = RunningAgent::start(only.path()).await?;
        agent.add(&key).await?;
        let server = sshd_for(&openssh, &keys, &stranger, &lines).await?;
        if let Err(error) = log_in(server.port, &[agent.keys()]).await {
            panic!("certificate {kind:?}: {error}\n{}", server.log());
        }
        // The same without an agent.
        let certificate = std::fs::read(key.path.with_file_name(format!("certified_{kind:?}-cert.pub")))?;
        let certificate = ssh_core::keys::Certificate::parse_line(&certificate).unwrap();
        let pair = KeyPair::read_file(&key.path, None).unwrap();
        let signing = SigningKey::new(&pair.private, default_provider()).unwrap();
        let credential = Credential::certificate(certificate, signing).unwrap();
        log_in(server.port, &[credential]).await.unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn the_command_uses_the_agent_unless_told_otherwise() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let home = tempfile::tempdir()?;
    let agent = RunningAgent::start(home.path()).await?;
    let user_key = keys.user(KeyKind::Ed25519)?;
    agent.add(user_key).await?;
    let banner = keys.directory().join("banner");
    std::fs::write(&banner, "Be kind\x1b[31m\n")?;
    let server = sshd_for(&openssh, &keys, user_key, &format!("Banner {}\n", banner.display())).await?;
    let host_key = &keys.host(KeyKind::Ed25519)?.fingerprint;
    let forward = |more: &[&str]| {
        let mut command = adit.command(["forward", "--json", "--host-key", host_key, "-D", "0"]);
        command.args(more).arg(format!("{USER}@127.0.0.1:{}", server.port));
        command.env("SSH_AUTH_SOCK", &agent.socket).env("HOME", home.path());
        command
    };
    // An encrypted key whose public half is beside it: the agent has it, so nobody is asked.
    let encrypted = home.path().join("encrypted");
    std::fs::copy(&user_key.path, &encrypted)?;
    std::fs::copy(&user_key.public, encrypted.with_extension("pub"))?;
    output(Command::new("ssh-keygen").args(["-q", "-p", "-N", "a passphrase", "-f"]).arg(&encrypted)).await?;
    let encrypted = encrypted.display().to_string();
    for more in [&[][..], &["-i", &encrypted]] {
        let mut process = Process::spawn("adit", &mut forward(more))?;
        let shown = tests::adit::event(&mut process, "banner").await?;
        assert_eq!(tests::adit::text(&shown, "text")?, "Be kind\\u{1b}[31m");
        tests::adit::event(&mut process, "ready").await?;
    }
    let refused = tests::adit::run_to_end(&mut forward(&["--no-agent"]), Duration::from_secs(20)).await?;
    ensure(refused.code == Some(3), || format!("{refused:?}"))
}
