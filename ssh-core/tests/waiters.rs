//! Several tasks that wait for the same thing: all are woken when there is reason to, and none without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::config::Limits;
use ssh_core::{Channel, Session};
use support::raw::{Raw, message, string};
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
/// More than anybody would have guessed.
const MANY: usize = 40;

async fn channels(client: &Session, server: &Session) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    (opened.unwrap(), accepted.unwrap())
}

/// Ways to wait on a session and a channel, none of which has an end before the session has.
type Way = fn(Session, Arc<Channel>) -> BoxFuture<'static, ()>;

const WAYS: [(&str, Way); 7] = [
    ("a message", |session, _| async move { drop(session.messages(200).unwrap().next().await) }.boxed()),
    ("incoming", |session, _| async move { drop(session.incoming().next().await) }.boxed()),
    ("next_request", |_, channel| async move { drop(channel.next_request().await) }.boxed()),
    ("closed", |_, channel| async move { drop(channel.closed().await) }.boxed()),
    ("the writer's closed", |_, channel| async move { channel.writer().closed().await }.boxed()),
    ("a read", |_, channel| async move { drop(channel.reader().read(&mut [0; 8]).await) }.boxed()),
    ("a read of stderr", |_, channel| {
        async move { drop(channel.take_stderr().read(&mut [0; 8]).await) }.boxed()
    }),
];

#[tokio::test]
async fn many_waiters_sleep_until_there_is_reason_to_wake() {
    for (name, way) in WAYS {
        let (client, server) = sessions(&Sides::default()).await;
        let (channel, _far) = channels(&client, &server).await;
        let channel = Arc::new(channel);
        let polls = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..MANY {
            let (mut waiting, polls) = (way(client.clone(), Arc::clone(&channel)), Arc::clone(&polls));
            tasks.spawn(std::future::poll_fn(move |cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                waiting.as_mut().poll(cx)
            }));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let polled = polls.load(Ordering::Relaxed);
        assert!(polled <= 2 * MANY, "{name}: {polled} polls of {MANY} tasks");
        client.close();
        let all = async { while tasks.join_next().await.is_some() {} };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{name}: {} sleep on", MANY));
    }
}

struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn who_gave_up_waiting_is_not_remembered() {
    let (client, server) = sessions(&Sides::default()).await;
    let (channel, _far) = channels(&client, &server).await;
    let channel = Arc::new(channel);
    for (name, way) in WAYS {
        let counted = Arc::new(Counted);
        let waker = Waker::from(Arc::clone(&counted));
        for _ in 0..MANY {
            let mut waiting = way(client.clone(), Arc::clone(&channel));
            assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending(), "{name}");
        }
        drop(waker);
        assert_eq!(Arc::strong_count(&counted), 1, "{name}");
    }
}

/// However often it was polled, and by whomever.
#[tokio::test]
async fn a_reader_that_moves_from_task_to_task_waits_once() {
    let (client, server) = sessions(&Sides::default()).await;
    let (mut channel, _far) = channels(&client, &server).await;
    let counted: Vec<_> = (0..MANY).map(|_| Arc::new(Counted)).collect();
    for counted in &counted {
        let waker = Waker::from(Arc::clone(counted));
        let mut buffer = [0; 8];
        let read = pin!(channel.read(&mut buffer));
        assert!(read.poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let kept = counted.iter().filter(|counted| Arc::strong_count(counted) > 1).count();
    assert_eq!(kept, 1);
}

/// Two readers of one kind, each in a task of its own, which read a byte at a time.
async fn in_two_tasks<R>(readers: [R; 2]) -> JoinSet<std::io::Result<Vec<u8>>>
where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for mut reader in readers {
        tasks.spawn(async move {
            let (mut all, mut byte) = (Vec::new(), [0]);
            while reader.read(&mut byte).await? > 0 {
                all.push(byte[0]);
            }
            Ok(all)
        });
    }
    // Both wait.
    tokio::time::sleep(Duration::from_millis(20)).await;
    tasks
}

async fn both(mut tasks: JoinSet<std::io::Result<Vec<u8>>>) -> Vec<std::io::Result<Vec<u8>>> {
    let mut ended = Vec::new();
    while let Some(task) = timeout(PATIENCE, tasks.join_next()).await.expect("a reader sleeps on") {
        ended.push(task.unwrap());
    }
    ended
}

#[tokio::test]
async fn two_readers_share_what_comes_and_both_see_the_end() {
    let (client, server) = sessions(&Sides::default()).await;
    // EOF, CLOSE, and the end of the session.
    for end in 0..3 {
        let (near, mut far) = channels(&client, &server).await;
        let data = in_two_tasks([near.reader(), near.reader()]).await;
        let errors = in_two_tasks([near.take_stderr(), near.take_stderr()]).await;
        far.write_all(b"data").await.unwrap();
        far.stderr_writer().write_all(b"errors").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        match end {
            0 => far.shutdown().await.unwrap(),
            1 => far.close().unwrap(),
            _ => client.close(),
        }
        for (tasks, len) in [(data, 4), (errors, 6)] {
            let ended = both(tasks).await;
            if end < 2 {
                let read: usize = ended.iter().map(|read| read.as_ref().unwrap().len()).sum();
                assert_eq!(read, len);
            } else {
                assert!(ended.iter().all(Result::is_err));
            }
        }
    }
}

/// One reader's waker does not take the place of another's.
#[tokio::test]
async fn both_readers_are_woken_by_one_message() {
    let (mut raw, session) = Raw::with_server(Limits::default()).await;
    let (channel, id) = tokio::join!(session.accept_channel(None), raw.open(b"session", 1000, 1000));
    let channel = channel.unwrap();
    let (mut first, mut second) = (channel.reader(), channel.reader());
    let (mut one, mut other) = ([0; 1], [0; 1]);
    let mut first = tokio::spawn(async move { first.read(&mut one).await.map(|_| one) });
    let second = tokio::spawn(async move { second.read(&mut other).await.map(|_| other) });
    assert!(timeout(Duration::from_millis(20), Pin::new(&mut first)).await.is_err());
    raw.send(&message(94, &[&id.to_be_bytes(), &string(b"ab")])).await;
    let run = async { tokio::join!(first, second) };
    let (first, second) = timeout(PATIENCE, run).await.expect("one of them sleeps on");
    let mut read = [first.unwrap().unwrap()[0], second.unwrap().unwrap()[0]];
    read.sort_unstable();
    assert_eq!(&read, b"ab");
}

#[tokio::test]
async fn stderr_is_there_for_the_second_who_took_it_when_the_first_has_gone() {
    let (client, server) = sessions(&Sides::default()).await;
    let (near, far) = channels(&client, &server).await;
    let (first, mut second) = (near.take_stderr(), near.take_stderr());
    let mut read = [0; 6];
    let reading = async {
        timeout(PATIENCE, second.read_exact(&mut read)).await.expect("it sleeps on").unwrap();
    };
    let writing = async {
        drop(first);
        far.stderr_writer().write_all(b"errors").await.unwrap();
    };
    tokio::join!(reading, writing);
    assert_eq!(&read, b"errors");
}

/// A writer that waits for window, with many others.
#[tokio::test]
async fn many_writers_without_window_sleep_and_then_all_write() {
    let (mut raw, session) = Raw::with_server(Limits::default()).await;
    let (channel, id) = tokio::join!(session.accept_channel(None), raw.open(b"session", 0, 1000));
    let channel = channel.unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..MANY {
        let (mut writer, polls) = (channel.writer(), Arc::clone(&polls));
        tasks.spawn(async move {
            let mut write = pin!(writer.write_all(b"x"));
            std::future::poll_fn(|cx| {
                polls.fetch_add(1, Ordering::Relaxed);
                write.as_mut().poll(cx)
            })
            .await
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let polled = polls.load(Ordering::Relaxed);
    assert!(polled <= 2 * MANY, "{polled} polls of {MANY} writers");
    let window = u32::try_from(MANY).unwrap();
    raw.send(&message(93, &[&id.to_be_bytes(), &window.to_be_bytes()])).await;
    for _ in 0..MANY {
        raw.next(94).await;
    }
    while let Some(written) = timeout(PATIENCE, tasks.join_next()).await.unwrap() {
        written.unwrap().unwrap();
    }
}
