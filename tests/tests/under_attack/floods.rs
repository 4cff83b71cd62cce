//! Those who connect and do not log in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tests::memory::peak_kib;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use super::world::{World, assert_well};

/// What somebody says before the deadline, and how.
const SLOW: &[(&str, &[u8], bool)] = &[
    ("silent", b"", false),
    ("half a version", b"SSH-2.0-sl", false),
    ("a version", b"SSH-2.0-slow\r\n", false),
    (
        "a version, dripped",
        b"SSH-2.0-slowwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww",
        true,
    ),
    (
        "a packet, dripped",
        b"SSH-2.0-slow\r\n\0\0\x04\0\x04\x14aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        true,
    ),
];

#[tokio::test]
async fn whoever_is_slow_or_silent_is_sent_away_at_the_login_deadline() -> Outcome {
    let world = World::new().await?;
    let (mut server, port) = world.serve(&["--limit", "login=2"]).await?;
    let tries = SLOW.iter().map(|(what, words, is_dripped)| async move {
        // The server's clock begins somewhere in between.
        let start = Instant::now();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let (mut reader, mut writer) = stream.split();
        let speak = async {
            let pieces = if *is_dripped { 1 } else { words.len().max(1) };
            for piece in words.chunks(pieces) {
                if writer.write_all(piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
        };
        let listen = async {
            let mut heard = Vec::new();
            // A reset is an end as well.
            let _ = reader.read_to_end(&mut heard).await;
            (start.elapsed(), heard)
        };
        let listen = tokio::time::timeout(Duration::from_secs(20), listen);
        let ((), heard) = tokio::join!(speak, listen);
        let (after, heard) = heard.map_err(|_| Failure::new(format!("{what}: nobody ends it")))?;
        let fits = after >= Duration::from_millis(1900) && after < Duration::from_secs(10);
        ensure(fits, || format!("{what}: ended after {after:?}"))?;
        // SSH_MSG_DISCONNECT in the clear: BY_APPLICATION, and the limit by its name.
        let told = heard.windows(5).any(|bytes| bytes == [1, 0, 0, 0, 11]);
        let named = heard.windows(b"limit login".len()).any(|bytes| bytes == b"limit login");
        ensure(told && named, || format!("{what}: {:?}", String::from_utf8_lossy(&heard)))
    });
    for tried in futures::future::join_all(tries).await {
        tried.map_err(|failure: Failure| server.explain(failure))?;
    }
    assert_well(&mut server)
}

#[tokio::test]
async fn whoever_speaks_another_protocol_is_sent_away_at_once() -> Outcome {
    let world = World::new().await?;
    let (mut server, port) = world.serve(&[]).await?;
    for words in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-a\0b\r\n",
        b"hello\nSSH-2.0-x\r\n",
        &[b'x'; 400],
        b"SSH-2.0-x\r\n\xff\xff\xff\xff",
        b"SSH-2.0-x\r\n\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        let start = Instant::now();
        stream.write_all(words).await?;
        let mut heard = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut heard)).await;
        ensure(read.is_ok(), || format!("{:?} is not answered", String::from_utf8_lossy(words)))?;
        let after = start.elapsed();
        ensure(after < Duration::from_secs(4), || format!("{words:?} was answered after {after:?}"))?;
        let told = [2, 8].iter().any(|reason| heard.windows(5).any(|bytes| bytes == [1, 0, 0, 0, *reason]));
        ensure(told, || format!("{words:?}: {:?}", String::from_utf8_lossy(&heard)))?;
    }
    assert_well(&mut server)?;
    world.check(port).await
}

/// Connects from an address of this machine, and says whether the server talks.
async fn knock(from: Ipv4Addr, port: u16) -> Outcome<Option<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let mut stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await?;
    let mut first = [0; 4];
    match tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut first)).await {
        Ok(Ok(_)) if &first == b"SSH-" => Ok(Some(stream)),
        Ok(_) => Ok(None),
        Err(_) => Err(Failure::new("it neither talks nor hangs up")),
    }
}

#[tokio::test]
async fn a_source_has_32_places_before_the_login_and_all_together_have_256() -> Outcome {
    const MOST_KIB: u64 = 128 * 1024;
    let world = World::new().await?;
    let (mut server, port) = world.serve(&[]).await?;
    let mut kept = Vec::new();
    for last in 1..=14 {
        let before = kept.len();
        for _ in 0..36 {
            kept.extend(knock(Ipv4Addr::new(127, 0, 0, last), port).await?);
        }
        let of_source = kept.len() - before;
        ensure(of_source <= 32, || format!("one source has {of_source} places"))?;
        // Until half of all places are taken nobody is turned away by chance.
        ensure(last > 4 || of_source == 32, || format!("{of_source} of 32 places"))?;
        assert_well(&mut server)?;
    }
    ensure(kept.len() > 128 && kept.len() <= 256, || format!("{} connections wait", kept.len()))?;
    let peak = server.id().and_then(peak_kib).unwrap_or_default();
    ensure(peak < MOST_KIB, || format!("{peak} KiB were taken"))?;
    drop(kept);
    // There is room again as soon as the server has heard of it.
    let heard = async {
        while world.check(port).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(STEP, "room again", heard).await.map_err(|failure| server.explain(failure))
}
