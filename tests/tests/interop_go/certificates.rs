//! Certificates of users and of hosts: made by Go for us to check, and made by us for Go to check.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tests::adit::{Adit, run_to_end};
use tests::algorithms::Suite;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Outcome, ensure};
use tests::peers::go::Go;
use tests::peers::{ClientSettings, Keyring, Login, Peer as _, ServerSettings, USER};
use tokio::process::Command;

use crate::succeeds_if;

/// How a host is called by who connects to it here.
const HOST: &str = "127.0.0.1";
const LIMIT: Duration = Duration::from_secs(30);

struct Bench {
    adit: Adit,
    go: Go,
    keys: Keyring,
    /// The user key that is admitted without a certificate.
    plain: KeyFile,
    suite: Suite,
}

impl Bench {
    async fn find() -> Outcome<Option<Self>> {
        let Some(go) = Go::find().await? else { return Ok(None) };
        let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
        let plain = KeyFile::generate(keys.directory(), "plain", KeyKind::Ed25519).await?;
        Ok(Some(Self { adit, go, keys, plain, suite: Suite::default() }))
    }

    /// Writes a certificate of ours beside the key, and says where.
    async fn by_us(&self, ca: &KeyFile, key: &KeyFile, principal: &str, host: bool) -> Outcome<PathBuf> {
        let mut command = self.adit.command(["keygen", "sign", "--id", "id", "--overwrite", "--ca"]);
        command.arg(&ca.path).args(host.then_some("--host")).args(["-n", principal]).arg(&key.public);
        output(&mut command).await?;
        Ok(beside(key))
    }

    /// The same by Go.
    async fn by_go(&self, ca: &KeyFile, key: &KeyFile, principal: &str, host: bool) -> Outcome<PathBuf> {
        let path = beside(key);
        std::fs::write(&path, self.go.certify(ca, key, principal, host).await?)?;
        Ok(path)
    }

    fn server(&self) -> Outcome<ServerSettings<'_>> {
        let host_key = self.keys.host(KeyKind::Ed25519)?;
        Ok(ServerSettings { host_key, user_key: &self.plain, suite: &self.suite, rekey_bytes: None })
    }

    fn client<'a>(&'a self, port: u16, host_key: &'a KeyFile, user_key: &'a KeyFile) -> ClientSettings<'a> {
        ClientSettings::new(port, host_key, Login::Key(user_key), &self.suite)
    }

    /// `adit forward` that knows the host by nothing but its authority.
    fn forward(&self, port: u16, authority: &KeyFile) -> Outcome<Command> {
        let known_hosts = self.keys.directory().join("known_hosts");
        std::fs::write(&known_hosts, format!("@cert-authority * {}\n", authority.public_line()?))?;
        let mut command = self.adit.command(["forward", "--json", "-W", "127.0.0.1:1", "--known-hosts"]);
        command.arg(known_hosts).arg("-i").arg(&self.plain.path);
        command.arg(format!("{USER}@{HOST}:{port}"));
        Ok(command)
    }
}

fn beside(key: &KeyFile) -> PathBuf {
    PathBuf::from(format!("{}-cert.pub", key.path.display()))
}

#[tokio::test]
async fn users_certified_by_go_come_to_our_server_and_ours_to_gos() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    for (kind, ca) in KeyKind::ALL.into_iter().zip(KeyKind::ALL.into_iter().rev()) {
        let (user, ca, server) = (bench.keys.user(kind)?, bench.keys.host(ca)?, bench.server()?);
        for (principal, admitted) in [(USER, true), ("somebody", false)] {
            let certificate = bench.by_go(ca, user, principal, false).await?;
            let trusted = [OsStr::new("--trusted-ca"), ca.public.as_os_str()];
            let ours = bench.adit.serve_with(server, &trusted).await?;
            let settings = bench.client(ours.port, server.host_key, user);
            let said = bench.go.connect_with(settings, &[("client_certificate", json!(certificate))]).await;
            succeeds_if(admitted, said, "authenticate")
                .map_err(|failure| failure.while_doing(&format!("{kind:?} by Go for {principal}")))?;

            bench.by_us(ca, user, principal, false).await?;
            let gos = bench.go.serve_with(server, &[("authority", json!(ca.public))]).await?;
            let said = bench.adit.connect(bench.client(gos.port, server.host_key, user)).await;
            succeeds_if(admitted, said, "\"auth\"")
                .map_err(|failure| failure.while_doing(&format!("{kind:?} by us for {principal}")))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn hosts_of_either_side_are_known_by_their_authority() -> Outcome {
    let Some(bench) = Bench::find().await? else { return Ok(()) };
    for (kind, ca) in KeyKind::ALL.into_iter().zip(KeyKind::ALL.into_iter().rev()) {
        let (host, ca) = (bench.keys.host(kind)?, bench.keys.user(ca)?);
        let server = ServerSettings { host_key: host, ..bench.server()? };
        for (principal, known) in [(HOST, true), ("other.example", false)] {
            let certificate = bench.by_go(ca, host, principal, true).await?;
            let arguments = [OsStr::new("--host-cert"), certificate.as_os_str()];
            let ours = bench.adit.serve_with(server, &arguments).await?;
            // Its plain key is not the one that is expected.
            let settings = bench.client(ours.port, &bench.plain, &bench.plain);
            let said = bench.go.connect_with(settings, &[("authority", json!(ca.public))]).await;
            succeeds_if(known, said, "principal")
                .map_err(|failure| failure.while_doing(&format!("{kind:?} by Go for {principal}")))?;

            let certificate = bench.by_us(ca, host, principal, true).await?;
            let gos = bench.go.serve_with(server, &[("host_certificate", json!(certificate))]).await?;
            let exit = run_to_end(&mut bench.forward(gos.port, ca)?, LIMIT).await?;
            // Once it has logged in it fails, because nobody listens where it leads.
            let expected = if known { Some(7) } else { Some(4) };
            ensure(exit.code == expected, || format!("{kind:?} by us for {principal}: {exit:?}"))?;
        }
    }
    Ok(())
}
