//! Sizes, data and its end.

use futures::FutureExt as _;
use ssh_core::config::Limits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::support::raw::{Raw, message, string};
use super::{PATIENCE, by_hand, data, limits_of};

#[tokio::test]
async fn the_default_sizes_are_those_of_the_reference() {
    let (mut raw, session) = Raw::with_server(Limits::default()).await;
    raw.send(&message(90, &[&string(b"x"), &[0, 0, 0, 7], &[0, 1, 0, 0], &[0, 0, 4, 0]])).await;
    let _channel = session.accept_channel(None).await.unwrap();
    let confirmation = raw.next(91).await;
    assert_eq!(confirmation[9..13], (1024_u32 * 1024).to_be_bytes());
    assert_eq!(confirmation[13..17], (32 * 1024_u32).to_be_bytes());
}

#[tokio::test]
async fn a_channel_tells_what_was_agreed() {
    let mut limits = Limits::default();
    limits.channel_window = 4096;
    let (_raw, _session, channel, id) = by_hand(limits, 100_000, 900).await;
    assert_eq!((channel.kind(), channel.id()), ("session", id));
    let terms = channel.terms().unwrap();
    assert_eq!((terms.remote_id, terms.window_bytes, terms.packet_bytes), (7, 4096, 900));
}

#[tokio::test]
async fn data_of_before_anybody_read_is_read_in_order_and_the_end_behind_it() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    raw.send(&data(id, b"one ")).await;
    raw.send(&data(id, b"two")).await;
    raw.send(&message(96, &[&id.to_be_bytes()])).await;
    raw.send(&message(97, &[&id.to_be_bytes()])).await;
    // The close has come, and the data before it is still there.
    assert_eq!(timeout(PATIENCE, channel.closed()).await.unwrap(), None);
    let mut read = Vec::new();
    channel.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"one two");
    // Whoever asks late hears of it too, and hears the same.
    assert_eq!(channel.closed().now_or_never(), Some(None));
    assert_eq!(channel.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test]
async fn both_kinds_of_data_share_one_window() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 10, 1000).await;
    let mut errors = channel.stderr_writer();
    channel.write_all(b"123456").await.unwrap();
    assert_eq!(errors.write(b"abcdef").await.unwrap(), 4);
    assert_eq!(raw.next(94).await, message(94, &[&[0, 0, 0, 7], &string(b"123456")]));
    assert_eq!(raw.next(95).await, message(95, &[&[0, 0, 0, 7], &[0, 0, 0, 1], &string(b"abcd")]));
    assert!(channel.write(b"x").now_or_never().is_none() && errors.write(b"x").now_or_never().is_none());
    raw.send(&message(93, &[&id.to_be_bytes(), &[0, 0, 0, 1]])).await;
    assert_eq!(timeout(PATIENCE, errors.write(b"ef")).await.unwrap().unwrap(), 1);
    assert!(channel.write(b"x").now_or_never().is_none());
}

#[tokio::test]
async fn stderr_of_before_anybody_took_it_is_read_first_and_stalls_nobody() {
    let (mut raw, _session, mut channel, id) = by_hand(limits_of(1000), 1000, 1000).await;
    let stderr = |text: &[u8]| message(95, &[&id.to_be_bytes(), &[0, 0, 0, 1], &string(text)]);
    raw.send(&stderr(b"first ")).await;
    raw.send(&data(id, b"x")).await;
    assert_eq!(channel.read_u8().await.unwrap(), b'x');
    let mut errors = channel.take_stderr();
    raw.send(&stderr(b"second")).await;
    let mut read = [0; 12];
    timeout(PATIENCE, errors.read_exact(&mut read)).await.unwrap().unwrap();
    assert_eq!(&read, b"first second");

    // Nobody takes it: past half a window it is credited.
    let (mut raw, _session, _channel, id) = by_hand(limits_of(1000), 1000, 1000).await;
    let mut room = 1000;
    for _ in 0..30 {
        while room < 100 {
            let adjust = raw.next(93).await;
            room += u32::from_be_bytes(adjust[5..9].try_into().unwrap());
        }
        raw.send(&message(95, &[&id.to_be_bytes(), &[0, 0, 0, 1], &string(&[0; 100])])).await;
        room -= 100;
    }
}

/// Stderr that is kept for somebody who may take it is never credited, so the window must not shrink so far that what it
/// leaves to the data is less than the half at which credit goes out.
#[tokio::test]
async fn a_window_that_others_need_does_not_shrink_below_what_stderr_holds_of_it() {
    const PIECE: usize = 16 * 1024;
    let mut limits = Limits::default();
    (limits.channel_window, limits.max_channel_window) = (256 * 1024, 256 * 1024);
    limits.session_window = 4 * 1024 * 1024;
    let (mut raw, session, mut channel, id) = by_hand(limits, 1000, 1000).await;
    let mut others = Vec::new();
    for _ in 0..29 {
        let (other, _) = tokio::join!(session.accept_channel(None), raw.open(b"session", 1000, 1000));
        others.push(other.unwrap());
    }
    // Under half of the window, over half of what it would shrink to.
    for _ in 0..4 {
        raw.send(&message(95, &[&id.to_be_bytes(), &[0, 0, 0, 1], &string(&[0; 25_000])])).await;
    }
    let mut room = 256 * 1024 - 100_000;
    let mut read = [0; PIECE];
    for _ in 0..100 {
        // All that the window has room for is used.
        while room == 0 {
            let adjust = raw.next(93).await;
            room += usize::try_from(u32::from_be_bytes(adjust[5..9].try_into().unwrap())).unwrap();
        }
        let read = &mut read[..room.min(PIECE)];
        raw.send(&data(id, read)).await;
        room -= read.len();
        timeout(PATIENCE, channel.read_exact(read)).await.unwrap().unwrap();
    }
    let kept = channel.terms().unwrap().window_bytes;
    assert!((200_000..256 * 1024).contains(&kept), "others got nothing of a window of {kept}");
    let mut stderr = vec![0; 100_000];
    timeout(PATIENCE, channel.take_stderr().read_exact(&mut stderr)).await.unwrap().unwrap();
}

#[tokio::test]
async fn extended_data_is_read_as_data_where_that_is_wanted() {
    let (mut raw, _session, mut channel, id) = by_hand(Limits::default(), 1000, 1000).await;
    channel.read_extended_as_data();
    raw.send(&data(id, b"one ")).await;
    for (code, text) in [(1_u32, b"two "), (9, b"six ")] {
        raw.send(&message(95, &[&id.to_be_bytes(), &code.to_be_bytes(), &string(text)])).await;
    }
    let mut read = [0; 12];
    channel.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"one two six ");
}
