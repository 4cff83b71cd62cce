//! TLS by an authority of one's own, and proxies on the way.

use crate::everything_passes;
use tests::adit::{event, run_to_end, text};
use tests::endpoint::{Endpoint, connect, listen};
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::process::Process;
use tests::traffic::{Ending, Target, exchange};
use tests::tunnel::{Machine, mapping, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A proxy that takes every name for this machine. It says how it was asked.
async fn proxy() -> Outcome<(u16, tokio::sync::mpsc::UnboundedReceiver<&'static str>)> {
    let (listener, port) = listen().await?;
    let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = asked.clone();
            tokio::spawn(async move { drop(by_proxy(stream, &asked).await) });
        }
    });
    Ok((port, asks))
}

async fn by_proxy(
    mut near: tokio::net::TcpStream,
    asked: &tokio::sync::mpsc::UnboundedSender<&'static str>,
) -> Outcome {
    let first = near.read_u8().await?;
    let port = if first == 5 {
        // RFC 1928: a greeting with one method, then a name.
        let mut rest = [0; 2];
        near.read_exact(&mut rest).await?;
        near.write_all(&[5, 0]).await?;
        let mut head = [0; 5];
        near.read_exact(&mut head).await?;
        ensure(head[..4] == [5, 1, 0, 3], || format!("asked for {head:?}"))?;
        let mut name = vec![0; head[4].into()];
        near.read_exact(&mut name).await?;
        ensure(name == NAME.as_bytes(), || format!("asked for {name:?}"))?;
        let port = near.read_u16().await?;
        near.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
        asked.send("socks5")?;
        port
    } else {
        let mut head = vec![first];
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
        let port = target.and_then(|target| target.strip_prefix(NAME)?.strip_prefix(':')?.parse().ok());
        ensure(head.contains("Proxy-Authorization: Basic YWRhOnNlY3JldA=="), || head.clone())?;
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        asked.send("connect")?;
        port.ok_or_else(|| Failure::new(head))?
    };
    let mut far = connect(port).await?;
    tokio::io::copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}

/// Nobody but a proxy of the test knows it.
const NAME: &str = "relay.test";

#[tokio::test]
async fn tls_by_an_authority_of_ones_own_and_through_proxies() -> Outcome {
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let file = |name: &str| machine.home.path().join(name).display().to_string();
    let (certificate, key, data) = (file("cert.pem"), file("key.pem"), file("relay"));
    let mut make = tokio::process::Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]);
    make.args(["-subj", "/CN=relay", "-addext", &format!("subjectAltName=DNS:{NAME},IP:127.0.0.1")]);
    make.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate]);
    let made = make.output().await?;
    ensure(made.status.success(), || String::from_utf8_lossy(&made.stderr).into_owned())?;
    let arguments = ["relay", "--json", "--listen", "127.0.0.1:0", "--data-dir", &data, "--host-name", NAME];
    let mut command = machine.command(&arguments);
    command.args(["--tls-cert", &certificate, "--tls-key", &key]);
    let mut relay = Process::spawn("adit relay", &mut command)?;
    let listening = event(&mut relay, "listening").await?;
    let url = text(&listening, "public_url")?.to_owned();
    let token = format!("{data}/admin-token");
    let port = target.port.to_string();
    let host =
        machine.host(&[&port, "--relay", &url, "--token-file", &token, "--ca-file", &certificate]).await?;

    let client = machine.connect(&[&host.link, "--ca-file", &certificate]).await?;
    everything_passes(&client.local(target.port)?, Ending::HalfClose).await?;
    let (exit, message) = machine.refused(&[&host.link]).await?;
    ensure(exit.code == Some(5) && message.contains("certificate"), || format!("{exit:?}"))?;

    let link = host.link.replacen("127.0.0.1", NAME, 1);
    let (proxy, mut asks) = proxy().await?;
    for (variable, kind) in [
        (format!("http://ada:secret@127.0.0.1:{proxy}"), "connect"),
        (format!("socks5://127.0.0.1:{proxy}"), "socks5"),
    ] {
        let mut command = machine.command(&["connect", "--json", &link, "--ca-file", &certificate]);
        let mut process = Process::spawn("adit connect", command.env("https_proxy", &variable))?;
        let ready = event(&mut process, "ready").await?;
        let (_, local) = mapping(&ready["ports"][0])?;
        exchange(Endpoint::Tcp(local).connect().await?, 1, 100_000, Ending::HalfClose).await?;
        ensure(asks.try_recv() == Ok(kind), || format!("no proxy was asked by {kind}"))?;

        // The relay's API is asked in the same way: once for each request, and a host asks before it connects.
        let by_name = format!("https://{NAME}:{}", url.rsplit(':').next().unwrap_or_default());
        let api = ["--relay", &by_name, "--token-file", &token, "--ca-file", &certificate].map(str::to_owned);
        for verb in
            [&["tunnel", "list"][..], &["token", "create", "--tunnel", &host.tunnel, "--scope", "connect"]]
        {
            let mut command = machine.command(&with(verb, &api));
            let exit = run_to_end(command.arg("--json").env("https_proxy", &variable), STEP).await?;
            ensure(exit.code == Some(0), || format!("{verb:?}: {exit:?}"))?;
            ensure(asks.try_recv() == Ok(kind) && asks.try_recv().is_err(), || {
                format!("{verb:?} by {kind}")
            })?;
            // Nobody but the proxy knows the name.
            let mut command = machine.command(&with(verb, &api));
            command.arg("--json").env("https_proxy", &variable).env("no_proxy", "else.test,.relay.test");
            let exit = run_to_end(&mut command, STEP).await?;
            ensure(exit.code == Some(5) && asks.try_recv().is_err(), || format!("{verb:?}: {exit:?}"))?;
        }
        let mut command = machine.command(&with(&["host", "--json", &port], &api));
        let mut process = Process::spawn("adit host", command.env("all_proxy", &variable))?;
        event(&mut process, "ready").await?;
        let asked: Vec<_> = std::iter::from_fn(|| asks.try_recv().ok()).collect();
        ensure(asked.len() > 2 && asked.iter().all(|how| *how == kind), || {
            format!("a host asked {asked:?}")
        })?;
    }
    // One that makes no sense counts where a proxy would be asked.
    let by_name = format!("https://{NAME}");
    let mut command = machine.command(&["tunnel", "list", "--json", "--relay", &by_name]);
    let exit = run_to_end(command.env("https_proxy", "ftp://127.0.0.1"), STEP).await?;
    ensure(exit.code == Some(2), || format!("{exit:?}"))
}
