//! The example of the README, line by line, as something that compiles.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking; the rest is only compiled"
)]

use multichannel::MultiChannelStream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn who_opens(socket: DuplexStream) -> Outcome {
    let streams = MultiChannelStream::client(socket);
    let mut stream = streams.open_stream("chat").await?; // reads and writes like a socket
    stream.write_all(b"hello").await?;
    Ok(())
}

async fn who_accepts(socket: DuplexStream) -> Outcome {
    let streams = MultiChannelStream::server(socket);
    let mut stream = streams.accept_stream(Some("chat")).await?;
    let mut said = [0; 5];
    stream.read_exact(&mut said).await?;
    assert_eq!(&said, b"hello");
    Ok(())
}

#[tokio::test]
async fn the_example_runs() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (opened, accepted) = tokio::join!(who_opens(near), who_accepts(far));
    opened.unwrap();
    accepted.unwrap();
}

#[test]
fn the_example_is_what_is_compiled_here() {
    // How lines are broken, and comments set off, is the formatter's matter.
    let code = |text: &str| -> String {
        text.lines().flat_map(|line| line.split("//").next()).flat_map(str::split_whitespace).collect()
    };
    let here = code(include_str!("readme.rs"));
    let (mut in_example, mut seen) = (false, 0);
    for line in include_str!("../README.md").lines() {
        if line.starts_with("```") {
            in_example = line == "```rust";
        } else if in_example {
            assert!(here.contains(&code(line)), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 4, "{seen} lines");
}
