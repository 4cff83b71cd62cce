//! Signals: the end, and stopped processes.

use std::time::Duration;

use rustix::process::Signal;
use ssh_core::Error;
use ssh_core::client::{self, Credential};
use tests::adit;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::{PASSWORD, USER};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::world::{World, open, say};

#[tokio::test]
async fn who_is_here_is_told_of_the_end() -> Outcome {
    let world = World::new().await?;
    let (mut server, port) = world.serve(&[]).await?;
    let config = client::Config::builder(USER)
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password(PASSWORD))
        .build()?;
    let session = client::connect(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?, config).await?;
    let start = Instant::now();
    server.signal(Signal::TERM)?;
    let end = within(STEP, "the end", async { Ok(session.closed().await) }).await?;
    ensure(matches!(&end, Error::Disconnected { reason, .. } if reason.0 == 11), || end.to_string())?;
    let code = server.exit(STEP).await?;
    ensure(code == Some(0), || format!("it ended with {code:?}"))?;
    let took = start.elapsed();
    ensure(took < Duration::from_secs(10), || format!("it took {took:?}"))
}

/// Somebody who does not read holds the first one up for a while.
#[tokio::test]
async fn a_second_signal_ends_at_once() -> Outcome {
    let world = World::new().await?;
    let (mut server, port) = world.serve(&[]).await?;
    let client = world.forward(port, &[]).await?;
    let mut stream = open(&client).await?;
    client.process.signal(Signal::STOP)?;
    server.signal(Signal::TERM)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure(server.is_running(), || "the first signal did not wait for anybody".to_owned())?;
    let start = Instant::now();
    server.signal(Signal::TERM)?;
    let code = server.exit(STEP).await?;
    let took = start.elapsed();
    client.process.signal(Signal::CONT)?;
    ensure(code == Some(128 + 15), || format!("it ended with {code:?}"))?;
    // The log is read for another moment once the process has ended.
    ensure(took < Duration::from_secs(10), || format!("it took {took:?}"))?;
    // Whoever used the tunnel hears of it.
    let end = within(STEP, "the end of the stream", async { Ok(stream.read_u8().await) }).await?;
    ensure(end.is_err(), || "the stream goes on".to_owned())
}

#[tokio::test]
async fn a_server_that_was_stopped_is_missed_and_found_again() -> Outcome {
    let world = World::new().await?;
    let (server, port) = world.serve(&[]).await?;
    let mut client = world.forward(port, &["--keepalive", "1", "--connect-timeout", "2"]).await?;
    let mut stream = open(&client).await?;
    server.signal(Signal::STOP)?;
    let start = Instant::now();
    let lost = adit::event(&mut client.process, "disconnected").await;
    let after = start.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.signal(Signal::CONT)?;
    let lost = lost?;
    ensure(lost["resumable"] == true, || lost.to_string())?;
    ensure(after < Duration::from_secs(10), || format!("noticed after {after:?}"))?;
    let resumed = adit::event(&mut client.process, "resumed").await?;
    ensure(resumed["new_session"] == false, || resumed.to_string())?;
    say(&mut stream, b'2').await.map_err(|failure: Failure| server.explain(failure))
}
