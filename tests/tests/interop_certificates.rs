//! Certificates, with OpenSSH on the other side: hosts' in both roles, users' that we signed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tests::adit::{Adit, Exit, event};
use tests::algorithms::Suite;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Outcome, ensure};
use tests::peers::openssh::OpenSsh;
use tests::peers::{ClientSettings, Keyring, Login, Peer, RunningServer, ServerSettings, USER};
use tests::process::Process;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(30);
/// How a host is called by who connects to it here.
const HOST: &str = "127.0.0.1";

struct Bench {
    adit: Adit,
    openssh: OpenSsh,
    keys: Keyring,
    suite: Suite,
}

/// Who makes certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    Adit,
    OpenSsh,
}

/// What a certificate says.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    host: bool,
    principal: &'a str,
    /// `ssh-keygen -V`, which we take too.
    valid: &'a str,
}

const GOOD: Claim<'_> = Claim { host: true, principal: HOST, valid: "-5m:+1h" };
const EXPIRED: Claim<'_> = Claim { valid: "-2h:-1h", ..GOOD };
const OTHER_NAME: Claim<'_> = Claim { principal: "other.example", ..GOOD };

impl Bench {
    async fn find() -> Outcome<Option<Self>> {
        let Some(openssh) = OpenSsh::find().await? else { return Ok(None) };
        let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
        Ok(Some(Self { adit, openssh, keys, suite: Suite::default() }))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keys.directory().join(name)
    }

    /// `KEY-cert.pub`, beside the key.
    async fn sign(&self, maker: Maker, ca: &KeyFile, key: &KeyFile, claim: Claim<'_>) -> Outcome<PathBuf> {
        let certificate = PathBuf::from(format!("{}-cert.pub", key.path.display()));
        let mut command = match maker {
            Maker::Adit => {
                let mut command = self.adit.command(["keygen", "sign", "--id", "id", "--overwrite", "--ca"]);
                command.arg(&ca.path).args(claim.host.then_some("--host")).args(["--valid", claim.valid]);
                command
            }
            Maker::OpenSsh => {
                let mut command = Command::new("ssh-keygen");
                command.args(["-q", "-I", "id", "-s"]).arg(&ca.path).args(claim.host.then_some("-h"));
                command.args(["-V", claim.valid]);
                command
            }
        };
        output(command.args(["-n", claim.principal]).arg(&key.public)).await?;
        Ok(certificate)
    }

    fn settings<'a>(&'a self, host_key: &'a KeyFile) -> Outcome<ServerSettings<'a>> {
        let user_key = self.keys.user(KeyKind::Ed25519)?;
        Ok(ServerSettings { host_key, user_key, suite: &self.suite, rekey_bytes: None })
    }

    async fn sshd(&self, host_key: &KeyFile, certificate: &Path) -> Outcome<RunningServer> {
        let line = format!("HostCertificate {}\n", certificate.display());
        self.openssh.serve_with(self.settings(host_key)?, &line).await
    }

    async fn adit_serve(&self, host_key: &KeyFile, certificate: &Path) -> Outcome<RunningServer> {
        let arguments = [OsStr::new("--host-cert"), certificate.as_os_str()];
        self.adit.serve_with(self.settings(host_key)?, &arguments).await
    }

    /// `adit forward` that trusts what these lines of known hosts, or these pins, say.
    fn forward(&self, port: u16, known_hosts: &str, pins: &[&str]) -> Outcome<Command> {
        let file = self.path("adit_known_hosts");
        std::fs::write(&file, known_hosts)?;
        let mut command = self.adit.command(["forward", "--json", "-D", "127.0.0.1:0", "--known-hosts"]);
        command.arg(file).arg("-i").arg(&self.keys.user(KeyKind::Ed25519)?.path);
        for pin in pins {
            command.args(["--host-key", pin]);
        }
        command.arg(format!("{USER}@{HOST}:{port}"));
        Ok(command)
    }

    async fn connects(&self, port: u16, known_hosts: &str, pins: &[&str]) -> Outcome {
        let mut process = Process::spawn("adit forward", &mut self.forward(port, known_hosts, pins)?)?;
        event(&mut process, "ready").await.map(|_| ())
    }

    /// That the host key is not accepted, and that the user is told `why`.
    async fn is_refused(&self, port: u16, known_hosts: &str, pins: &[&str], why: &str) -> Outcome {
        let exit: Exit = tests::adit::run_to_end(&mut self.forward(port, known_hosts, pins)?, LIMIT).await?;
        let message = exit.events.last().map(ToString::to_string).unwrap_or_default();
        ensure(exit.code == Some(4) && message.contains(why), || format!("{why:?} is not in {exit:?}"))
    }

    /// What `ssh` logs when it trusts what these lines say, and whether it logged in.
    async fn ssh(&self, port: u16, known_hosts: &str) -> Outcome<(bool, String)> {
        let host_key = self.keys.host(KeyKind::Ed25519)?;
        let login = Login::Key(self.keys.user(KeyKind::Ed25519)?);
        let settings = client(port, host_key, login, &self.suite);
        let mut command = self.openssh.client(settings, self.keys.directory())?;
        // In the place of the plain key.
        std::fs::write(self.path("known_hosts"), known_hosts)?;
        command.args(["-N", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready", HOST]);
        let mut process = Process::spawn("ssh", &mut command)?;
        let said = process.next_line(LIMIT).await?;
        Ok((said.as_deref() == Some("ready"), process.log()))
    }
}

fn client<'a>(port: u16, host_key: &'a KeyFile, login: Login<'a>, suite: &'a Suite) -> ClientSettings<'a> {
    ClientSettings::new(port, host_key, login, suite)
}

fn authority(names: &str, ca: &KeyFile) -> Outcome<String> {
    Ok(format!("@cert-authority {names} {}\n", ca.public_line()?))
}

#[tokio::test]
async fn hosts_of_openssh_are_known_by_their_authority() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    for (maker, ca) in [(Maker::OpenSsh, KeyKind::Ecdsa(384)), (Maker::Adit, KeyKind::Rsa)] {
        for kind in KeyKind::ALL {
            let (ca, host_key) = (bench.keys.user(ca)?, bench.keys.host(kind)?);
            let certificate = bench.sign(maker, ca, host_key, GOOD).await?;
            let server = bench.sshd(host_key, &certificate).await?;
            // With the port, without it, and by the authority's fingerprint.
            bench.connects(server.port, &authority("[127.0.0.*]:*", ca)?, &[]).await?;
            bench.connects(server.port, &authority(HOST, ca)?, &[]).await?;
            bench.connects(server.port, "", &[&ca.fingerprint]).await?;
            bench.connects(server.port, "", &[&host_key.fingerprint]).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_do_not_count_leave_a_plain_key() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    let (ca, stranger) = (bench.keys.user(KeyKind::Ecdsa(256))?, bench.keys.user(KeyKind::Ecdsa(384))?);
    let host_key = bench.keys.host(KeyKind::Ed25519)?;
    let trusted = authority("*", ca)?;
    let plain = |port: u16| {
        Ok::<_, tests::outcome::Failure>(format!("[{HOST}]:{port} {}\n", host_key.public_line()?))
    };
    for (ca_used, claim, why) in [
        (ca, EXPIRED, "it has expired"),
        (ca, OTHER_NAME, "not valid for this name"),
        (stranger, GOOD, "its authority is not trusted"),
    ] {
        let certificate = bench.sign(Maker::OpenSsh, ca_used, host_key, claim).await?;
        let server = bench.sshd(host_key, &certificate).await?;
        bench.is_refused(server.port, &trusted, &[], why).await?;
        bench.is_refused(server.port, "", &[&ca.fingerprint], why).await?;
        bench.connects(server.port, &(trusted.clone() + &plain(server.port)?), &[]).await?;
        // ssh does the same.
        let server = bench.adit_serve(host_key, &certificate).await?;
        let (in_, log) = bench.ssh(server.port, &trusted).await?;
        ensure(!in_, || format!("{claim:?}: {log}"))?;
        let (in_, log) = bench.ssh(server.port, &(trusted.clone() + &plain(server.port)?)).await?;
        ensure(in_, || format!("{claim:?}: {log}"))?;
    }
    let certificate = bench.sign(Maker::Adit, ca, host_key, GOOD).await?;
    let server = bench.sshd(host_key, &certificate).await?;
    for key in [ca, host_key] {
        let revoked = format!("{trusted}@revoked * {}\n", key.public_line()?);
        // A revoked authority is not asked for, so that only its key is seen.
        let why = if key.path == ca.path { "is not known" } else { "is revoked" };
        bench.is_refused(server.port, &revoked, &[], why).await?;
    }
    Ok(())
}

#[tokio::test]
async fn openssh_knows_our_host_by_its_authority() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    for (maker, ca) in [(Maker::OpenSsh, KeyKind::Rsa), (Maker::Adit, KeyKind::Ed25519)] {
        for kind in KeyKind::ALL {
            let (ca, host_key) = (bench.keys.user(ca)?, bench.keys.host(kind)?);
            let certificate = bench.sign(maker, ca, host_key, GOOD).await?;
            let server = bench.adit_serve(host_key, &certificate).await?;
            let (in_, log) = bench.ssh(server.port, &authority("*", ca)?).await?;
            ensure(in_ && log.contains("host certificate"), || format!("{maker:?} {kind:?}: {log}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn sshd_admits_users_that_we_certified() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    let host_key = bench.keys.host(KeyKind::Ed25519)?;
    for ca in KeyKind::ALL {
        // Not the key that is authorized without a certificate.
        let (ca, user) = (bench.keys.host(ca)?, bench.keys.user(KeyKind::Ecdsa(256))?);
        let trust = format!("TrustedUserCAKeys {}\n", ca.public.display());
        let server = bench.openssh.serve_with(bench.settings(host_key)?, &trust).await?;
        let settings = client(server.port, host_key, Login::Key(user), &bench.suite);
        for (principal, admitted) in [(USER, true), ("somebody", false)] {
            bench.sign(Maker::Adit, ca, user, Claim { host: false, principal, ..GOOD }).await?;
            let connected = bench.openssh.connect(settings).await;
            ensure(connected.is_ok() == admitted, || format!("{principal}: {:?}", connected.err()))?;
        }
    }
    Ok(())
}
