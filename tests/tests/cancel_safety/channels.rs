//! What a channel does.

use std::time::Duration;

use ssh_core::channel::{Channel, ExitStatus};
use tests::driven;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use crate::{CHANNELS, each_poll, given_up, pattern, polled, sessions, settle};

const LEN: usize = 20_000;

/// A pair of channels in sessions that live as long as they do.
async fn channels() -> (Channel, Channel, (ssh_core::Session, ssh_core::Session)) {
    let (client, server) = sessions().await;
    let (here, there) = driven::channel(&client, &server).await;
    (here, there, (client, server))
}

/// As many channels as there may be can still be opened.
async fn assert_no_leak(sessions: &(ssh_core::Session, ssh_core::Session)) {
    settle().await;
    let mut open = Vec::new();
    for _ in 0..CHANNELS {
        open.push(driven::channel(&sessions.0, &sessions.1).await);
    }
}

/// Writes everything in pieces, some of which come late.
async fn write_slowly(mut channel: Channel) -> Channel {
    for piece in pattern(LEN).chunks(777) {
        channel.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    channel.shutdown().await.unwrap();
    channel
}

/// Reads to the end with reads that are dropped after `polls` polls.
async fn read_with_drops(reader: &mut (impl AsyncRead + Unpin), polls: usize) -> Vec<u8> {
    let (mut received, mut dropped) = (Vec::new(), 0);
    loop {
        let mut buffer = [0; 500];
        // Not polled at all every other time.
        polled(0, reader.read(&mut buffer)).await;
        match polled(polls, reader.read(&mut buffer)).await {
            Some(Ok(0)) => break,
            Some(n) => received.extend_from_slice(&buffer[..n.unwrap()]),
            None => {
                dropped += 1;
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
    }
    assert!(polls > 1 || dropped > 0, "no read was dropped");
    received
}

/// A dropped read has read nothing: no byte is lost or doubled.
#[tokio::test(start_paused = true)]
async fn read() {
    for polls in 1..4 {
        let (mut here, there, sessions) = channels().await;
        let writing = tokio::spawn(write_slowly(there));
        let received = read_with_drops(&mut here, polls).await;
        assert!(received == pattern(LEN), "{polls} polls: other bytes");
        drop((here, writing.await.unwrap()));
        assert_no_leak(&sessions).await;
    }
    let (here, there, _sessions) = channels().await;
    let writing = tokio::spawn(write_slowly(there));
    let (mut reader, _writer) = here.split();
    assert!(read_with_drops(&mut reader, 1).await == pattern(LEN));
    drop(writing.await.unwrap());
}

/// `ChannelReader::read_chunks`: a dropped future has taken nothing.
#[tokio::test(start_paused = true)]
async fn read_chunks() {
    for polls in 1..4 {
        let (here, there, sessions) = channels().await;
        let writing = tokio::spawn(write_slowly(there));
        let (mut reader, writer) = here.split();
        let (mut received, mut chunks) = (Vec::new(), Vec::new());
        loop {
            polled(0, reader.read_chunks(5000, 3, &mut chunks)).await;
            match polled(polls, reader.read_chunks(5000, 3, &mut chunks)).await {
                Some(Ok(0)) => break,
                Some(n) => assert_eq!(chunks.iter().map(bytes::Bytes::len).sum::<usize>(), n.unwrap()),
                None => {
                    assert!(chunks.is_empty());
                    tokio::time::sleep(Duration::from_micros(300)).await;
                }
            }
            chunks.drain(..).for_each(|chunk| received.extend_from_slice(&chunk));
        }
        assert!(received == pattern(LEN), "{polls} polls: other bytes");
        drop((reader, writer, writing.await.unwrap()));
        assert_no_leak(&sessions).await;
    }
}

/// A dropped write has written nothing. So has a dropped flush, and a shutdown is done at its first poll.
#[tokio::test(start_paused = true)]
async fn write() {
    for polls in 1..4 {
        let (mut here, mut there, sessions) = channels().await;
        let reading = tokio::spawn(async move {
            let (mut received, mut buffer) = (Vec::new(), [0; 333]);
            loop {
                match there.read(&mut buffer).await.unwrap() {
                    0 => return (received, there),
                    n => received.extend_from_slice(&buffer[..n]),
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        });
        let data = pattern(LEN);
        let (mut written, mut dropped) = (0, 0);
        while written < LEN {
            polled(0, here.write(&data[written..])).await;
            match polled(polls, here.write(&data[written..])).await {
                Some(n) => written += n.unwrap(),
                None => {
                    dropped += 1;
                    tokio::time::sleep(Duration::from_micros(100)).await;
                }
            }
            polled(polls - 1, here.flush()).await;
        }
        assert!(polls > 1 || dropped > 0, "no write was dropped");
        polled(0, here.shutdown()).await;
        settle().await;
        assert!(!reading.is_finished(), "a shutdown that was never polled sent EOF");
        assert!(polled(1, here.shutdown()).await.is_some());
        let (received, there) = reading.await.unwrap();
        assert!(received == data, "{polls} polls: other bytes");
        drop((here, there));
        assert_no_leak(&sessions).await;
    }
}

/// `Channel::request`: a dropped future has sent the request, and its answer is not taken for another's;
/// `Channel::next_request`: a dropped future has taken nothing.
#[tokio::test(start_paused = true)]
async fn request() {
    each_poll("Channel::request", async |polls| {
        let (here, there, sessions) = channels().await;
        let answering = tokio::spawn(async move {
            while let Some(request) = there.next_request().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
                there.answer(&request, request.name == "yes").unwrap();
            }
        });
        let first = polled(polls, here.request("yes", b"")).await;
        if let Some(answer) = &first {
            assert!(*answer.as_ref().unwrap());
        }
        assert!(!here.request("no", b"").await.unwrap(), "the answer of another request");
        assert!(here.request("yes", b"").await.unwrap());
        drop(here);
        answering.await.unwrap();
        assert_no_leak(&sessions).await;
        first.is_some()
    })
    .await;
    each_poll("Channel::next_request", async |polls| {
        let (here, there, _sessions) = channels().await;
        let asking = tokio::spawn(async move { (here.request("exec", b"x").await, here) });
        let taken = polled(polls, there.next_request()).await;
        let done = taken.is_some();
        let request = match taken {
            Some(request) => request,
            None => there.next_request().await,
        };
        let request = request.expect("the request was lost");
        assert_eq!((request.name.as_str(), &request.fields[..]), ("exec", &b"x"[..]));
        there.answer(&request, true).unwrap();
        assert!(asking.await.unwrap().0.unwrap());
        done
    })
    .await;
}

/// `Channel::closed` and `ChannelWriter::closed`: nothing happens to the channel, and the next one still learns of it.
#[tokio::test(start_paused = true)]
async fn closed() {
    for polls in 0..3 {
        let (mut here, mut there, sessions) = channels().await;
        assert!(given_up(polls, here.closed()).await);
        there.write_all(b"still here").await.unwrap();
        let mut buffer = [0; 10];
        here.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"still here");
        there.notify("exit-status", &3_u32.to_be_bytes()).unwrap();
        drop(there);
        assert_eq!(here.closed().await, Some(ExitStatus::Code(3)));
        drop(here);
        assert_no_leak(&sessions).await;

        let (here, there, _sessions) = channels().await;
        let (mut reader, mut writer) = here.split();
        assert!(given_up(polls, writer.closed()).await);
        let (mut there_reader, mut there_writer) = there.split();
        writer.write_all(b"there").await.unwrap();
        there_writer.write_all(b"and back").await.unwrap();
        there_reader.read_exact(&mut [0; 5]).await.unwrap();
        reader.read_exact(&mut [0; 8]).await.unwrap();
        drop((there_reader, there_writer));
        writer.closed().await;
    }
}
