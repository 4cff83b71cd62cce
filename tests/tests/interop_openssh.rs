//! Adit and OpenSSH, in both roles.

use std::time::Duration;

use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::keys::{KeyFile, KeyKind, fingerprint, output};
use tests::outcome::{Outcome, ensure};
use tests::peers::openssh::{OpenSsh, rekeys};
use tests::peers::{ClientSettings, Keyring, Login, Peer, ServerSettings};
use tests::process::{Process, pipe_through};
use tests::proxy::Ask;
use tests::scenarios::{Pair, Tunnel, Way, every_algorithm, every_login, half_close, many_connections};
use tests::traffic::{Ending, Target, exchange, pattern};
use tokio::process::Command;

/// What the large transfers carry, each way at once.
const LARGE: u64 = 64 * 1024 * 1024;

/// A threshold that a large transfer crosses several times.
const REKEY: u64 = 12 * 1024 * 1024;

struct Both {
    adit: Adit,
    openssh: OpenSsh,
    keys: Keyring,
}

async fn both() -> Outcome<Option<Both>> {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(None) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    Ok(Some(Both { adit, openssh, keys }))
}

#[tokio::test]
async fn every_algorithm_as_client() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    every_algorithm(&openssh, &adit, &keys).await
}

#[tokio::test]
async fn every_algorithm_as_server() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    every_algorithm(&adit, &openssh, &keys).await
}

#[tokio::test]
async fn logins_in_both_roles() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    every_login(&openssh, &adit, &keys, &KeyKind::ALL).await?;
    every_login(&adit, &openssh, &keys, &KeyKind::ALL).await
}

#[tokio::test]
async fn half_close_in_both_roles() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    half_close(&Pair::new(&openssh, &adit, &keys)).await?;
    half_close(&Pair::new(&adit, &openssh, &keys)).await
}

#[tokio::test]
async fn many_connections_in_both_roles() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    for way in [Way::Local, Way::Remote] {
        many_connections(&Pair::new(&openssh, &adit, &keys), way, 200).await?;
        many_connections(&Pair::new(&adit, &openssh, &keys), way, 200).await?;
    }
    Ok(())
}

#[tokio::test]
async fn large_transfers_with_new_keys_as_client() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    for way in [Way::Local, Way::Remote] {
        // First we ask for new keys, then the server does, then whoever comes first.
        for (server, client) in [(None, Some(REKEY)), (Some(REKEY), None), (Some(REKEY), Some(REKEY))] {
            let pair = Pair::new(&openssh, &adit, &keys).rekey(server, client);
            let tunnel = pair.echo(&[way], LARGE).await?;
            check_rekeys(&tunnel, &tunnel.server.log(), &format!("{way:?} {server:?} {client:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn large_transfers_with_new_keys_as_server() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    for way in [Way::Local, Way::Remote] {
        for (server, client) in [(Some(REKEY), None), (None, Some(REKEY)), (Some(REKEY), Some(REKEY))] {
            let pair = Pair::new(&adit, &openssh, &keys).rekey(server, client);
            let tunnel = pair.echo(&[way], LARGE).await?;
            check_rekeys(&tunnel, &tunnel.client.process.log(), &format!("{way:?} {server:?} {client:?}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn new_keys_with_every_kind_of_cipher() -> Outcome {
    /// Many exchanges in little data.
    const SMALL: u64 = 256 * 1024;
    const LENGTH: u64 = 4 * 1024 * 1024;
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    let ciphers = ["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes256-ctr", "aes256-cbc"];
    for cipher in ciphers {
        let suite = Suite { cipher: Some(cipher.to_owned()), ..Suite::default() };
        let pair = Pair::new(&openssh, &adit, &keys).suite(suite.clone()).rekey(Some(SMALL), None);
        let tunnel = pair.echo(&[Way::Local], LENGTH).await?;
        check_rekeys(&tunnel, &tunnel.server.log(), cipher)?;
        let pair = Pair::new(&adit, &openssh, &keys).suite(suite).rekey(None, Some(SMALL));
        let tunnel = pair.echo(&[Way::Local], LENGTH).await?;
        check_rekeys(&tunnel, &tunnel.client.process.log(), cipher)?;
    }
    Ok(())
}

fn check_rekeys(tunnel: &Tunnel, openssh_log: &str, what: &str) -> Outcome {
    let count = rekeys(openssh_log);
    tunnel.explain(ensure(count > 0, || format!("{what}: no new keys in the middle")))
}

#[tokio::test]
async fn stdio_forward_as_client() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server =
        openssh.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
    let target = Target::echo().await?;

    let mut command = adit.command(["forward", "-W", &format!("127.0.0.1:{}", target.port)]);
    command.args(["--host-key", &host_key.fingerprint]).arg("-i").arg(&user_key.path);
    command.arg(format!("{}@127.0.0.1:{}", tests::peers::USER, server.port));
    check_stdio(&mut command).await
}

#[tokio::test]
async fn stdio_forward_as_server() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server = adit.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
    let target = Target::echo().await?;

    let settings = ClientSettings::new(server.port, host_key, Login::Key(user_key), &suite);
    let mut command = openssh.client(settings, keys.directory())?;
    command.args(["-W", &format!("127.0.0.1:{}", target.port), "127.0.0.1"]);
    check_stdio(&mut command).await
}

/// `-R PORT` alone, which OpenSSH's server knows nothing of.
#[tokio::test]
async fn a_proxy_at_the_server_as_client() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server =
        openssh.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
    let mut command = adit.command(["forward", "--json", "-R", "0"]);
    command.args(["--host-key", &host_key.fingerprint]).arg("-i").arg(&user_key.path);
    command.arg(format!("{}@127.0.0.1:{}", tests::peers::USER, server.port));
    let mut client = Process::spawn("adit forward", &mut command)?;
    let proxy = tests::adit::port(&tests::adit::event(&mut client, "forward").await?, "listen")?;
    let target = Target::echo().await?;
    for ask in Ask::ALL {
        let stream = ask.open(proxy, target.port).await.map_err(|failure| client.explain(failure))?;
        exchange(Box::new(stream), 5, 400_000, Ending::HalfClose).await?;
    }
    Ok(())
}

async fn check_stdio(command: &mut Command) -> Outcome {
    let sent = pattern(9, 3_000_001);
    let got = pipe_through("stdio forward", command, sent.clone(), Duration::from_secs(60)).await?;
    ensure(got == sent, || format!("sent {} bytes, got {} or other ones back", sent.len(), got.len()))
}

#[tokio::test]
async fn key_files_are_read_by_each_other() -> Outcome {
    let Some(Both { adit, openssh, keys }) = both().await? else { return Ok(()) };
    for kind in ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa"] {
        let path = keys.directory().join(format!("made_{kind}"));
        output(adit.command(["keygen", "-t", kind, "-C", "a comment", "-f"]).arg(&path)).await?;
        let print = fingerprint(&path).await?;
        let public = path.with_file_name(format!("made_{kind}.pub"));
        ensure(fingerprint(&public).await? == print, || format!("{kind}: the public file is another key's"))?;
        let derived = output(Command::new("ssh-keygen").arg("-yf").arg(&path)).await?;
        let written = std::fs::read_to_string(&public)?;
        ensure(written.trim() == derived.trim(), || format!("{kind}: {written} is not {derived}"))?;
        for file in [&path, &public] {
            let arguments = ["keygen", "--json", "--fingerprint", "-f", &file.display().to_string()];
            let said = adit.run(arguments, Duration::from_secs(10)).await?;
            let shown = said.events.first().and_then(|event| event.get("fingerprint")?.as_str());
            ensure(shown == Some(&print), || format!("{kind}: {said:?} lacks {print}"))?;
        }

        // As a host key for ssh to accept, and as a user key for sshd to admit.
        let made = KeyFile { path, public, fingerprint: print };
        let suite = Suite::default();
        let server = adit
            .serve(ServerSettings { host_key: &made, user_key: &made, suite: &suite, rekey_bytes: None })
            .await?;
        let login = Login::Key(&made);
        let settings = ClientSettings::new(server.port, &made, login, &suite);
        openssh.connect(settings).await?;
        let server = openssh
            .serve(ServerSettings { host_key: &made, user_key: &made, suite: &suite, rekey_bytes: None })
            .await?;
        adit.connect(ClientSettings { port: server.port, ..settings }).await?;
    }
    Ok(())
}
