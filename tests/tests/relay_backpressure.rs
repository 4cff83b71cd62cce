//! What a reader that reads nothing costs the processes between it and the writer, and whom it holds up.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{Adit, event, text};
use tests::endpoint::connect;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::{Ending, Target, exchange};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that stand still at once, and what each of their writers wants to get rid of.
const SLOW: usize = 12;
const EACH: usize = 16 * 1024 * 1024;
/// Of the sockets of this test, so that little goes astray in them.
const SOCKET: u32 = 64 * 1024;
/// What the relay may hold for one session, and so for all of a host's clients: windows together, 64 KiB for each channel
/// past them, what is on its way from one session to the other, and two sessions' output.
const SESSION: usize = (16 * 1024 + SLOW * (64 + 2 * 256) + 2 * 1024) * 1024;
/// What an allocator keeps, and logs.
const SLACK: usize = 16 * 1024 * 1024;

/// Which side does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Client,
    Host,
}

/// KiB resident.
fn resident(process: &Process) -> Outcome<usize> {
    let id = process.id().ok_or_else(|| Failure::new("it has ended"))?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().next().unwrap_or_default().parse::<usize>()? * 1024)
}

async fn stalled(protocol: &str, slow: Slow) -> Outcome {
    let (adit, home, quick) = (Adit::find().await?, TempDir::new()?, Target::echo().await?);
    let relay = TestRelay::start(&adit).await?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(64)?;
    let port = listener.local_addr()?.port();
    let command = |verb: &str| {
        let mut command = adit.command([verb, "--json", "--protocol", protocol]);
        command.env("XDG_DATA_HOME", home.path());
        command
    };
    let mut host = command("host");
    host.args([&port.to_string(), &quick.port.to_string(), "--relay", &relay.url(), "--tunnel", TUNNEL]);
    let mut host = Process::spawn("adit host", host.arg("--token-file").arg(relay.token_file()))?;
    let link = text(&event(&mut host, "ready").await?, "link")?.to_owned();
    let client = async || -> Outcome<_> {
        let mut process = Process::spawn("adit connect", command("connect").arg(&link))?;
        let ready = event(&mut process, "ready").await?;
        let ports = ready.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let local = |remote: u16| {
            let port =
                ports.iter().find(|pair| pair.get("remote").and_then(Value::as_u64) == Some(remote.into()));
            tests::adit::port(port.unwrap_or(&Value::Null), "local")
        };
        let (slow, quick) = (local(port)?, local(quick.port)?);
        Ok((process, slow, quick))
    };
    let (ours, to_slow, to_quick) = client().await?;
    let (_other, _, to_quick_of_other) = client().await?;
    let echo = async |local: u16, length: u64| {
        let stream = Box::new(connect(local).await?);
        within(
            STEP,
            "an echo beside those that stand still",
            exchange(stream, length, length, Ending::HalfClose),
        )
        .await
    };
    // What the first bytes make them allocate is no cost of those that stand still.
    echo(to_quick, 8 << 20).await?;
    let before = [resident(relay.process())?, resident(&host)?, resident(&ours)?];

    let pairs = pairs(&listener, to_slow).await?;
    let mut kept = Vec::new();
    let mut writers = Vec::new();
    for (near, far) in pairs {
        let (silent, writer) = if slow == Slow::Client { (near, far) } else { (far, near) };
        kept.push(silent);
        writers.push(tokio::spawn(flood(writer)));
    }
    // They stand still once everything on the way is full.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = [resident(relay.process())?, resident(&host)?, resident(&ours)?];
    let grown: Vec<usize> =
        after.iter().zip(before).map(|(after, before)| after.saturating_sub(before)).collect();
    eprintln!(
        "{protocol}, {slow:?} slow: relay, host and client have grown by {:?} MiB",
        grown.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>()
    );
    ensure(grown[0] <= SESSION + SLACK, || format!("the relay holds {} bytes", grown[0]))?;
    ensure(writers.iter().any(|writer| !writer.is_finished()), || "nobody stands still".to_owned())?;

    // Nobody else waits for them: another connection of the same client, and another client.
    echo(to_quick, 4 << 20).await?;
    echo(to_quick_of_other, 4 << 20).await?;

    // And when they read at last, everything is there.
    for (mut silent, writer) in kept.into_iter().zip(writers) {
        let read = within(STEP, "reading what was held back", async {
            let mut received = 0;
            let mut block = vec![0; 1 << 16];
            loop {
                let count = silent.read(&mut block).await?;
                ensure(block.iter().take(count).all(|byte| *byte == 7), || "other bytes".to_owned())?;
                received += count;
                if count == 0 {
                    return Ok(received);
                }
            }
        });
        let (received, written) = (read.await?, writer.await??);
        ensure(received == written && written == EACH, || format!("{received} of {written} bytes came"))?;
    }
    Ok(())
}

/// Connections through the tunnel, each with its other end at the host.
async fn pairs(listener: &TcpListener, local: u16) -> Outcome<Vec<(TcpStream, TcpStream)>> {
    let mut pairs = Vec::new();
    for _ in 0..SLOW {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(SOCKET)?;
        let near = socket.connect((Ipv4Addr::LOCALHOST, local).into()).await?;
        let far = within(STEP, "a connection at the host", async { Ok(listener.accept().await?.0) }).await?;
        pairs.push((near, far));
    }
    Ok(pairs)
}

async fn flood(mut stream: TcpStream) -> Outcome<usize> {
    stream.write_all(&vec![7; EACH]).await?;
    stream.shutdown().await?;
    Ok(EACH)
}

#[tokio::test]
async fn a_client_that_reads_nothing_by_v1() -> Outcome {
    stalled("v1", Slow::Client).await
}

#[tokio::test]
async fn a_client_that_reads_nothing_by_v2() -> Outcome {
    stalled("v2", Slow::Client).await
}

#[tokio::test]
async fn a_service_that_reads_nothing_by_v1() -> Outcome {
    stalled("v1", Slow::Host).await
}

#[tokio::test]
async fn a_service_that_reads_nothing_by_v2() -> Outcome {
    stalled("v2", Slow::Host).await
}

/// Rows "huge lengths, many promises" and "headers" of the threat model: what was promised and has not come costs nothing,
/// and neither does what comes too slowly.
#[tokio::test]
async fn promises_cost_nothing() -> Outcome {
    const MANY: usize = 200;
    let relay = TestRelay::start(&Adit::find().await?).await?;
    relay.operate(&["tunnel", "create", TUNNEL]).await?;
    let before = resident(relay.process())?;
    let mut kept = Vec::new();
    for _ in 0..MANY {
        let mut stream = relay.silent_host().await?;
        // A message of 1 MiB, masked, of which one byte comes.
        stream.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 1, 2, 3, 4, b'S']).await?;
        kept.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let each = resident(relay.process())?.saturating_sub(before) / MANY;
    eprintln!("a promise of 1 MiB costs {} KiB", each / 1024);
    ensure(each < 256 * 1024, || format!("each takes {each} bytes"))
}
