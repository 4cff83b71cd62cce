//! Every public future, dropped after each number of polls until it is done: what its `# Cancel safety` paragraph promises.
//!
//! Sessions are on one thread over a small stream in memory and on a paused clock, so that each run takes the same course;
//! forwards need real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod channels;
mod forwards;
mod sessions;

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::Session;
use ssh_core::channel::Channel;
use ssh_core::config::Limits;
use ssh_core::session::Incoming;
use tests::driven::{self, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Polls `future` whenever it is woken, but not more than `polls` times; then it is dropped.
async fn polled<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    Limited { future: Some(Box::pin(future)), polls }.await
}

struct Limited<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> Future for Limited<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls > 0 {
            self.polls -= 1;
            let future = self.future.as_mut().expect("a future that is not done");
            if let Poll::Ready(output) = pin!(future).poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if self.polls > 0 {
            return Poll::Pending;
        }
        self.future = None;
        Poll::Ready(None)
    }
}

/// Drops what is not done after `polls` polls or a moment, whichever comes first. Whether it was not done.
async fn given_up(polls: usize, future: impl Future) -> bool {
    let moment = Duration::from_millis(20);
    tokio::time::timeout(moment, polled(polls, future)).await.ok().flatten().is_none()
}

/// Runs `case` with 0, 1, 2… polls until it says that its future was done in that many, and tells how many that took.
async fn each_poll(what: &str, case: impl AsyncFn(usize) -> bool) {
    for polls in 0..500 {
        if case(polls).await {
            println!("{what}: done at poll {polls}");
            assert!(polls > 0, "{what} is done without a poll");
            return;
        }
    }
    panic!("{what} is never done");
}

/// No session has more channels at once.
const CHANNELS: usize = 3;

fn settings() -> Settings {
    let mut limits = Limits::default();
    limits.channels = CHANNELS;
    limits.channel_window = 1000;
    limits.max_channel_window = 1000;
    Settings { client: limits.clone(), server: limits, capacity: 300, ..Settings::default() }
}

async fn sessions() -> (Session, Session) {
    driven::pair(&settings()).await
}

/// Lets everything happen that will happen by itself.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// Accepts every channel and sends back what comes; answers every request with its fields, after a while.
fn echo(server: &Session) {
    let mut incoming = server.incoming();
    tokio::spawn(async move {
        while let Some(item) = incoming.next().await {
            match item {
                Incoming::Channel(channel) => {
                    let channel = channel.accept().unwrap();
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = channel.split();
                        let _ = tokio::io::copy(&mut reader, &mut writer).await;
                        let _ = writer.shutdown().await;
                    });
                }
                Incoming::Request(request) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        let fields = request.fields().to_vec();
                        request.accept(&fields);
                    });
                }
            }
        }
    });
}

/// No channel was leaked: as many as there may be open at once, and each carries bytes.
async fn assert_usable(client: &Session) {
    settle().await;
    let mut open = Vec::new();
    for _ in 0..CHANNELS {
        let channel = client.open_channel("session").await;
        open.push(channel.expect("a channel was leaked, or the session is over"));
    }
    for channel in open {
        assert_echoes(channel, 5000).await;
    }
}

async fn assert_echoes(channel: Channel, len: usize) {
    let (mut reader, mut writer) = channel.split();
    let data = pattern(len);
    let mut received = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(&data).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut received)
    );
    written.unwrap();
    read.unwrap();
    assert!(received == data, "other bytes came back");
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
