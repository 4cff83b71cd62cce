//! What is sent through a tunnel is not to be found at the relay: neither in the memory of its process nor in its log at its
//! loudest. The same search finds it where there is no end-to-end encryption.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tests::adit::event_within;
use tests::memory::Pieces;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::Target;
use tests::tunnel::{COMEBACK, Machine, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What the relay is left with.
#[derive(Debug)]
struct Leavings {
    /// How often the canary is in its memory: while the stream is open, and once it has ended.
    in_memory: [usize; 2],
    /// The forms of it that are in the log.
    in_log: Vec<String>,
    /// How often the name of the tunnel is in its memory, which it has to know.
    name_in_memory: usize,
}

/// Sends a canary both ways, in a line and in bulk, past a link that breaks.
async fn send(protocol: &str, options: &[&str], link_breaks: bool) -> Outcome<Leavings> {
    let canary = random_text()?;
    let (pieces, name) = (Pieces::new([&canary])?, Pieces::new([TUNNEL])?);
    let (machine, target) = (Machine::new().await?, Target::echo().await?);
    let relay = TestRelay::start(&machine.adit).await?;
    let (arguments, port) = (on_relay(&relay), target.port.to_string());
    let options = [&["--protocol", protocol], options].concat();
    let first = [&[&*port, "--tunnel", TUNNEL][..], &options].concat();
    let host = machine.host(&with(&first, &arguments)).await?;
    let mut client = machine.connect(&[&[&*host.link][..], &options].concat()).await?;
    let mut stream = tests::endpoint::connect(client.local_port(target.port)?).await?;
    there_and_back(&mut stream, canary.as_bytes()).await?;
    let bulk = canary.repeat(4 * 1024 * 1024 / canary.len());
    there_and_back(&mut stream, bulk.as_bytes()).await?;
    if link_breaks {
        for path in ["/client", "/host"] {
            ensure(relay.links.cut(path) > 0, || format!("no link to {path}"))?;
            if protocol == "v1" || path == "/client" {
                event_within(COMEBACK, &mut client.process, "resumed").await?;
            }
            there_and_back(&mut stream, canary.as_bytes()).await?;
        }
    }
    let process = relay.id().ok_or_else(|| Failure::new("the relay has ended"))?;
    let open = pieces.find_in(process)?.len();
    drop(stream);
    client.stop().await?;
    let log = relay.log();
    ensure(log.contains("TRACE") && log.contains("client connected"), || "the log is not loud".into())?;
    Ok(Leavings {
        in_memory: [open, pieces.find_in(process)?.len()],
        in_log: forms(&canary).into_iter().filter(|form| log.contains(form)).collect(),
        name_in_memory: name.find_in(process)?.len(),
    })
}

async fn there_and_back(stream: &mut TcpStream, bytes: &[u8]) -> Outcome {
    let mut back = vec![0; bytes.len()];
    within(STEP, "there and back", async {
        let (mut read, mut write) = stream.split();
        let (read, written) = tokio::join!(read.read_exact(&mut back), write.write_all(bytes));
        written?;
        read?;
        Ok(())
    })
    .await?;
    ensure(back == bytes, || "something else came back".into())
}

/// 32 characters that nobody has seen.
fn random_text() -> Outcome<String> {
    let mut random = [0; 24];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(STANDARD_NO_PAD.encode(random).replace('+', "p").replace('/', "s"))
}

/// As text, and as bytes are shown by those who print them; a part is enough.
fn forms(canary: &str) -> [String; 4] {
    let part = &canary.as_bytes()[..12];
    let hex = part.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let decimal = part.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [canary[..12].to_owned(), hex, decimal, STANDARD_NO_PAD.encode(part)]
}

async fn is_not_left(protocol: &str) -> Outcome {
    let left = send(protocol, &[], true).await?;
    ensure(left.in_memory == [0, 0] && left.in_log.is_empty(), || format!("{left:?}"))?;
    ensure(left.name_in_memory > 0, || "memory was not looked into".into())
}

#[tokio::test]
async fn the_relay_of_v1_has_seen_nothing() -> Outcome {
    is_not_left("v1").await
}

#[tokio::test]
async fn the_relay_of_v2_has_seen_nothing() -> Outcome {
    is_not_left("v2").await
}

/// Without encryption the relay has it all in its memory, and still not in its log.
#[tokio::test]
async fn what_is_not_encrypted_is_found() -> Outcome {
    let left = send("v2", &["--no-e2e"], false).await?;
    ensure(left.in_memory[0] > 0 && left.in_log.is_empty(), || format!("{left:?}"))
}
