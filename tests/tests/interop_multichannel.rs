//! Our `MultiChannelStream` and the one of the Dev Tunnels SSH library, in both roles.

use multichannel::{Channel, Error, MultiChannelStream, OpenError};
use serde_json::json;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::node::NodeScript;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CHANNELS: usize = 20;
/// Past a window of 1 MiB, so that it has to be adjusted.
const LENGTH: usize = 3 * 1024 * 1024;

#[tokio::test]
async fn we_are_the_client() -> Outcome {
    let Some(mut script) = script(json!({ "listen": true }))? else { return Ok(()) };
    let port = script.listening().await?;
    let streams = MultiChannelStream::client(TcpStream::connect(("127.0.0.1", port)).await?);
    both_open(&streams, &mut script).await?;
    streams.close();
    let closed = script.expect("closed").await?;
    ensure(closed["reason"] == 11, || format!("closed with {closed}"))
}

#[tokio::test]
async fn we_are_the_server() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let Some(mut script) = script(json!({ "port": port, "close": true }))? else { return Ok(()) };
    let (socket, _) = listener.accept().await?;
    let streams = MultiChannelStream::server(socket);
    both_open(&streams, &mut script).await?;
    // It ends with reason 0, which is its usual one.
    within(STEP, "the end", async { Ok(streams.run_until_closed().await?) }).await
}

fn script(mut settings: serde_json::Value) -> Outcome<Option<NodeScript>> {
    settings["channels"] = json!(CHANNELS);
    settings["length"] = json!(LENGTH / CHANNELS);
    NodeScript::start("multichannel", &settings)
}

async fn both_open(streams: &MultiChannelStream, script: &mut NodeScript) -> Outcome {
    streams.connect().await?;
    let theirs = async {
        for _ in 0..CHANNELS {
            tokio::spawn(echo(streams.accept_stream(None).await?));
        }
        Ok::<_, Error>(())
    };
    let ours = async {
        let mut stream = streams.open_stream("").await?;
        bulk(&mut stream).await?;
        match streams.open_channel("refuse").await {
            Err(OpenError::Refused(failure)) => {
                ensure(failure.text == "refused here", || failure.to_string())
            }
            other => Err(Failure::new(format!("not refused: {other:?}"))),
        }
    };
    let run = async {
        let (theirs, ours) = tokio::join!(theirs, ours);
        theirs?;
        ours
    };
    within(STEP, "channels both ways", run).await.map_err(|failure| script.explain(failure))?;
    script.expect("exchanged").await.map(drop)
}

async fn echo(stream: Channel) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    tokio::io::copy(&mut reader, &mut writer).await.map(drop)
}

async fn bulk(stream: &mut Channel) -> Outcome {
    let sent: Vec<u8> = (0..LENGTH).map(|i| u8::try_from(i % 253).unwrap_or_default()).collect();
    let mut received = vec![0; LENGTH];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
    written?;
    read?;
    ensure(sent == received, || "the echo differs".to_owned())
}
