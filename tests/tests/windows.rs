//! Windows over a path of 100 ms there and back, on a clock that is moved by hand: how much a channel gets, and what all of
//! them may hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::Duration;

use ssh_core::Session;
use ssh_core::channel::{Channel, ChannelReader, ChannelWriter};
use ssh_core::config::Limits;
use ssh_core::crypto::aws_lc;
use tests::delay::{self, Path};
use tests::driven::{self, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

const MIB: usize = 1 << 20;
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// `Limits::session_window`.
const SESSION: usize = 16 * MIB;

async fn far_apart(limits: &Limits) -> (Session, Session) {
    let path = || Path::default().with_delay(ROUND_TRIP / 2);
    let settings = Settings {
        provider: &aws_lc::PROVIDER,
        client: limits.clone(),
        server: limits.clone(),
        ..Settings::default()
    };
    let (a, b) = delay::duplex(&path(), &path());
    driven::over(&settings, a, b).await
}

/// Writes until the channel is gone; what could not be written tells how much the receiver lets in.
fn keep_writing(channel: Channel) -> (ChannelReader, tokio::task::JoinHandle<()>) {
    let (reader, writer) = channel.split();
    (reader, tokio::spawn(write_for_ever(writer)))
}

async fn write_for_ever(mut writer: ChannelWriter) {
    let data = vec![7; 256 * 1024];
    while writer.write_all(&data).await.is_ok() {}
}

/// Reads `len` bytes; the time that took.
async fn read(reader: &mut ChannelReader, len: usize) -> Duration {
    let start = Instant::now();
    let mut buffer = vec![0; 256 * 1024];
    let mut left = len;
    while left > 0 {
        let most = left.min(buffer.len());
        left -= reader.read(&mut buffer[..most]).await.unwrap();
    }
    start.elapsed()
}

/// How much arrives when nobody has read for ten round trips.
async fn unread(reader: &mut ChannelReader) -> usize {
    tokio::time::sleep(ROUND_TRIP * 10).await;
    let mut chunks = Vec::new();
    let mut arrived = 0;
    while let Ok(Ok(n)) =
        tokio::time::timeout(ROUND_TRIP / 10, reader.read_chunks(usize::MAX, 64, &mut chunks)).await
    {
        arrived += n;
        chunks.clear();
    }
    arrived
}

/// A window of 1 MiB carries 10 MiB/s over 100 ms. Both ways: whoever opens a channel learns the round trip from that,
/// whoever accepts it has to ask.
#[tokio::test(start_paused = true)]
async fn a_window_that_holds_a_channel_back_grows() {
    for from_opener in [true, false] {
        let (client, server) = far_apart(&Limits::default()).await;
        let (opened, accepted) = driven::channel(&client, &server).await;
        let (writer, reader) = if from_opener { (opened, accepted) } else { (accepted, opened) };
        let (_kept, _writing) = keep_writing(writer);
        let (mut reader, _kept_too) = reader.split();
        let first = read(&mut reader, 2 * MIB).await;
        let warm = read(&mut reader, 62 * MIB).await;
        let then = read(&mut reader, 128 * MIB).await;
        println!("opener writes: {from_opener}; 2 MiB in {first:?}, 62 in {warm:?}, then 128 in {then:?}");
        assert!(first >= ROUND_TRIP, "the path has no delay");
        let arrived = unread(&mut reader).await;
        println!("{arrived} bytes in one window");
        // 12.8 s with the first window, 0.8 to 1.6 s with all that a session may have: credit comes at half a window.
        assert!(then < Duration::from_millis(1700), "128 MiB took {then:?}");
        assert!(
            then > Duration::from_millis(700),
            "128 MiB took {then:?}: more than the session's cap was out"
        );
        assert!((8 * MIB..=SESSION).contains(&arrived), "{arrived} bytes in one window");
    }
}

#[tokio::test(start_paused = true)]
async fn without_room_to_grow_it_stays() {
    let mut limits = Limits::default();
    limits.max_channel_window = limits.channel_window;
    let (client, server) = far_apart(&limits).await;
    let (writer, reader) = driven::channel(&client, &server).await;
    let (_kept, _writing) = keep_writing(writer);
    let (mut reader, _kept_too) = reader.split();
    let time = read(&mut reader, 16 * MIB).await;
    // Credit comes at half a window, so it is between one and two windows a round trip.
    assert!(time > ROUND_TRIP * 7 && time < ROUND_TRIP * 33, "16 MiB took {time:?}");
}

/// All windows together keep to the session's cap, whoever was there first; and who came late gets a share in time.
#[tokio::test(start_paused = true)]
async fn channels_share_what_the_session_may_hold() {
    let (client, server) = far_apart(&Limits::default()).await;
    let (writer, reader) = driven::channel(&client, &server).await;
    let (_kept, _writing) = keep_writing(writer);
    let (mut first, _kept_too) = reader.split();
    read(&mut first, 128 * MIB).await;

    let mut others = Vec::new();
    for _ in 0..7 {
        let (writer, reader) = driven::channel(&client, &server).await;
        others.push((keep_writing(writer), reader.split()));
    }
    let mut readers: Vec<&mut ChannelReader> = others.iter_mut().map(|(_, (reader, _))| reader).collect();
    readers.push(&mut first);
    // Everybody reads for 10 s.
    let amounts = futures::future::join_all(readers.iter_mut().map(|reader| async {
        let mut amount = 0;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            read(reader, 64 * 1024).await;
            amount += 64 * 1024;
        }
        amount
    }))
    .await;
    println!("in 10 s: {amounts:?}");
    // An equal share of the cap is 2 MiB a round trip: 200 MiB. A window of 64 KiB would carry 12 MiB.
    assert!(amounts.iter().all(|amount| *amount > 50 * MIB), "in 10 s: {amounts:?}");

    let arrived = futures::future::join_all(readers.iter_mut().map(|reader| unread(reader))).await;
    println!("unread: {arrived:?}");
    let all: usize = arrived.iter().sum();
    assert!(all <= SESSION + 8 * 64 * 1024, "{all} bytes unread: {arrived:?}");
}
