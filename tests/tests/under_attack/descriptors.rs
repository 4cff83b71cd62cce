//! A process that may open few files.

use std::net::Ipv4Addr;
use std::time::Duration;

use tests::outcome::{Outcome, ensure};
use tokio::net::TcpStream;

use super::world::{World, after, assert_well, open, processor_time, say};

async fn crowd(port: u16, size: usize) -> Outcome<Vec<TcpStream>> {
    let mut crowd = Vec::new();
    for _ in 0..size {
        crowd.push(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?);
    }
    Ok(crowd)
}

/// Without a reserve the system refuses: that is waited out, without a busy loop.
#[tokio::test]
async fn a_server_without_descriptors_keeps_who_is_here_and_recovers() -> Outcome {
    let world = World::new().await?;
    let many = [
        "--limit",
        "reserved_descriptors=1",
        "--limit",
        "waiting=2000",
        "--limit",
        "waiting_per_source=2000",
    ];
    let mut command = after("ulimit -n 90", &world.server(&many)?);
    let (mut server, port) = world.start(&mut command).await?;
    let client = world.forward(port, &[]).await?;
    let mut stream = open(&client).await?;
    let crowd = crowd(port, 150).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = processor_time(&server)?;
    let start = tokio::time::Instant::now();
    for byte in 0..20 {
        say(&mut stream, byte).await.map_err(|failure| server.explain(failure))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (taken, passed) = (processor_time(&server)? - before, start.elapsed());
    ensure(taken < passed / 2, || format!("{taken:?} of {passed:?} were spent"))?;
    assert_well(&mut server)?;
    drop(crowd);
    world.check(port).await.map_err(|failure| server.explain(failure))?;
    say(&mut stream, b'!').await
}

#[tokio::test]
async fn connections_do_not_take_the_last_descriptors() -> Outcome {
    let world = World::new().await?;
    let many = ["-v", "--limit", "waiting=2000", "--limit", "waiting_per_source=2000"];
    let mut command = after("ulimit -n 200", &world.server(&many)?);
    let (mut server, port) = world.start(&mut command).await?;
    let client = world.forward(port, &[]).await?;
    let mut stream = open(&client).await?;
    let crowd = crowd(port, 180).await?;
    server.wait_log("the limit", |log| log.contains("reserved_descriptors").then_some(())).await?;
    let id = server.id().unwrap_or_default();
    let taken = std::fs::read_dir(format!("/proc/{id}/fd"))?.count();
    ensure(taken <= 200 - 60, || format!("{taken} of 200 descriptors are taken"))?;
    // Who is here may open what it needs.
    let mut another = open(&client).await.map_err(|failure| server.explain(failure))?;
    say(&mut another, b'2').await?;
    say(&mut stream, b'1').await?;
    drop(crowd);
    assert_well(&mut server)?;
    world.check(port).await.map_err(|failure| server.explain(failure))
}
