//! `adit relay` with TLS: certificates that are renewed, and files that are no certificates, while connections stand.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{Adit, event, text};
use tests::endpoint::connect;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::process::{Process, pipe_through};
use tests::traffic::Target;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The relay looks at its files every 10 s.
const RELOAD: Duration = Duration::from_secs(40);

/// A certificate for this machine that stands for itself, and its key.
async fn certificate(folder: &Path, name: &str) -> Outcome {
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    make.args(["-days", "2", "-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1"]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"]);
    make.arg(folder.join(format!("{name}.key"))).arg("-out").arg(folder.join(format!("{name}.pem")));
    let made = make.output().await?;
    ensure(made.status.success(), || String::from_utf8_lossy(&made.stderr).into_owned())
}

/// Puts it where the relay reads it: as programs that renew certificates do, the new file takes the old one's place whole.
fn install(folder: &Path, name: &str) -> Outcome {
    for kind in ["key", "pem"] {
        std::fs::copy(folder.join(format!("{name}.{kind}")), folder.join("new"))?;
        std::fs::rename(folder.join("new"), folder.join(format!("used.{kind}")))?;
    }
    Ok(())
}

/// The name in the certificate that a new connection is shown.
async fn shown(address: &str) -> Outcome<String> {
    let mut look = Command::new("openssl");
    look.args(["s_client", "-connect", address, "-alpn", "http/1.1"]);
    let said = pipe_through("openssl s_client", &mut look, Vec::new(), STEP).await?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="));
    let name = subject.and_then(|subject| subject.split('=').next_back()).map(|name| name.trim().to_owned());
    name.ok_or_else(|| Failure::new(format!("no certificate was shown:\n{said}")))
}

async fn until_shown(address: &str, name: &str) -> Outcome {
    within(RELOAD, &format!("waiting for the certificate of {name}"), async {
        // What is in use meanwhile may be cut off in its handshake.
        while shown(address).await.ok().is_none_or(|shown| shown != name) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    })
    .await
}

async fn echo(stream: &mut tokio::net::TcpStream, text: &[u8]) -> Outcome {
    within(STEP, "an echo", async {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        ensure(answer == text, || "it came back changed".to_owned())
    })
    .await
}

#[tokio::test]
async fn a_certificate_is_renewed_under_connections_that_stand() -> Outcome {
    let (adit, folder, target) = (Adit::find().await?, TempDir::new()?, Target::echo().await?);
    let folder = folder.path();
    certificate(folder, "first").await?;
    certificate(folder, "second").await?;
    install(folder, "first")?;
    let both = folder.join("both.pem");
    let text_of = |name: &str| std::fs::read_to_string(folder.join(name));
    std::fs::write(&both, format!("{}{}", text_of("first.pem")?, text_of("second.pem")?))?;

    let mut command = adit.command(["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(folder.join("data")).arg("--tls-cert").arg(folder.join("used.pem"));
    let mut relay = Process::spawn("adit relay", command.arg("--tls-key").arg(folder.join("used.key")))?;
    let listening = event(&mut relay, "listening").await?;
    let (address, url) = (text(&listening, "addr")?, text(&listening, "public_url")?);
    ensure(url == format!("https://{address}") && shown(address).await? == "first", || {
        listening.to_string()
    })?;

    let command = |verb: &str| {
        let mut command = adit.command([verb, "--json", "--ca-file"]);
        command.arg(&both).env("XDG_DATA_HOME", folder);
        command
    };
    let mut host = command("host");
    host.args([&target.port.to_string(), "--relay", url, "--token-file"])
        .arg(folder.join("data/admin-token"));
    let mut host = Process::spawn("adit host", &mut host)?;
    let link = text(&event(&mut host, "ready").await?, "link")?.to_owned();
    ensure(link.starts_with("https://"), || link.clone())?;
    let client = async || -> Outcome<_> {
        let mut process = Process::spawn("adit connect", command("connect").arg(&link))?;
        let ready = event(&mut process, "ready").await?;
        let local = tests::adit::port(ready.pointer("/ports/0").unwrap_or(&Value::Null), "local")?;
        Ok((process, connect(local).await?))
    };
    let (mut old, mut over_old) = client().await?;
    echo(&mut over_old, b"by the first certificate").await?;

    install(folder, "second")?;
    until_shown(address, "second").await?;
    let (_new, mut over_new) = client().await?;
    echo(&mut over_new, b"by the second certificate").await?;
    echo(&mut over_old, b"by the first certificate still").await?;

    // What is no certificate changes nothing, and neither does a key that belongs to another one.
    for (kind, content) in
        [("pem", b"no certificate".to_vec()), ("pem", std::fs::read(folder.join("first.pem"))?)]
    {
        let warnings = relay.log().matches("the old certificate stays in use").count();
        std::fs::write(folder.join("new"), content)?;
        std::fs::rename(folder.join("new"), folder.join(format!("used.{kind}")))?;
        within(RELOAD, "waiting for the warning", async {
            while relay.log().matches("the old certificate stays in use").count() == warnings {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        })
        .await
        .map_err(|failure| relay.explain(failure))?;
        ensure(shown(address).await? == "second", || "the broken file is in use".to_owned())?;
    }
    // With what is wrong.
    ensure(relay.log().contains("KeyMismatch"), || relay.log())?;
    install(folder, "first")?;
    until_shown(address, "first").await?;
    echo(&mut over_old, b"to the end").await?;
    echo(&mut over_new, b"to the end").await?;
    let lost: Vec<_> = old.lines_so_far().into_iter().filter(|line| line.contains("disconnected")).collect();
    ensure(lost.is_empty(), || format!("a connection was lost: {lost:?}"))
}
