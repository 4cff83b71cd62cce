//! Control messages pass within a bound behind data, however much of it waits: counted in bytes on the wire, on a clock and
//! a network that are moved by hand, and through the driver.
//!
//! The bound: what is in the output when a message is queued is ahead of it, and so is what the driver has taken and not
//! written. Each is at most the output's high-water mark, which a slow stream brings to 128 KiB, and one packet; and the
//! network holds what it holds. Nothing that is written later can get ahead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::IoSlice;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::channel::{Channel, ChannelReader};
use ssh_core::config::Limits;
use ssh_core::crypto::aws_lc;
use ssh_core::session::Incoming;
use tests::delay::{self, Path};
use tests::driven::{self, Settings};
use tests::link::Link;
use tests::pair::{Pair, Setup};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The lowest high-water mark, and a packet with its frame.
const BATCH: u64 = 128 * 1024 + 33 * 1024;
/// What the link holds.
const LINK: usize = 20_000;
const BOUND: u64 = 2 * BATCH + LINK as u64;

/// Four channels from the client that carry as much as they can, and two quiet ones.
struct Saturated {
    pair: Pair,
    busy: Vec<(u32, u32)>,
    quiet: [(u32, u32); 2],
    written: usize,
}

impl Saturated {
    fn new() -> Self {
        let mut client = Limits::default();
        // So that one write uses a window up, and reading it is followed by an adjustment.
        client.channel_window = 30_000;
        client.max_channel_window = 30_000;
        let setup = Setup { client, provider: &aws_lc::PROVIDER, ..Setup::default() };
        let mut pair = Pair::new(&setup, 3);
        pair.login();
        let channels: Vec<_> = (0..6).map(|_| open(&mut pair)).collect();
        // 20 kB each 10 ms, so a full batch takes far longer than the 20 ms at which batches shrink.
        pair.to_server =
            Link::default().with_capacity(LINK).with_largest_read(LINK).with_delay(Duration::from_millis(10));
        let (busy, quiet) = channels.split_at(4);
        let mut saturated = Self { pair, busy: busy.to_vec(), quiet: [quiet[0], quiet[1]], written: 0 };
        while saturated.pair.to_server.carried() < 4_000_000 {
            saturated.step();
        }
        saturated
    }

    /// Everybody writes what they can, something moves, and everything that came is read.
    fn step(&mut self) {
        let cx = Context::from_waker(Waker::noop());
        let data = vec![7; 100_000];
        for (here, _) in &self.busy {
            while let Poll::Ready(written) =
                self.pair.client.engine.poll_write(*here, &cx, &[IoSlice::new(&data)])
            {
                self.written += written.unwrap();
            }
        }
        assert!(self.pair.step(), "nothing moves");
        let mut buffer = vec![0; 100_000];
        for (_, there) in &self.busy {
            while let Poll::Ready(read) = self.pair.server.engine.poll_read(*there, &cx, &mut buffer) {
                assert!(read.unwrap() > 0);
            }
        }
        self.pair.server.settle();
        self.pair.client.settle();
        assert!(matches!(self.pair.ends(), (None, None)), "{:?}", self.pair.ends());
    }

    /// How many bytes arrive before `is_there`, from now on.
    fn until(&mut self, what: &str, mut is_there: impl FnMut(&mut Pair) -> bool) {
        let (written, before) = (self.written, self.pair.to_server.carried());
        assert!(self.pair.to_server.room() < LINK / 2, "the link is not busy");
        assert!(!is_there(&mut self.pair), "{what} is there already");
        while !is_there(&mut self.pair) {
            self.step();
            let bytes = self.pair.to_server.carried() - before;
            assert!(bytes <= BOUND, "{what}: {bytes} bytes on the wire and it has not come");
        }
        let bytes = self.pair.to_server.carried() - before;
        println!("{what}: behind {bytes} bytes of {BOUND}");
        // And the writers were busy all the time.
        while self.written - written < 500_000 {
            self.step();
        }
    }
}

fn open(pair: &mut Pair) -> (u32, u32) {
    let here = pair.client.engine.open_channel("session", b"", pair.now).unwrap();
    pair.settle();
    let there = pair.server.offered().unwrap();
    pair.server.engine.accept_channel(there, b"").unwrap();
    pair.settle();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pair.client.engine.poll_opened(here, &mut cx).is_ready());
    (here, there)
}

#[test]
fn control_messages_wait_for_no_more_than_two_batches() {
    let mut saturated = Saturated::new();
    let [(first, first_there), (second, second_there)] = saturated.quiet;
    let cx = Context::from_waker(Waker::noop());
    let now = saturated.pair.now;

    let opened = saturated.pair.client.engine.open_channel("session", b"", now).unwrap();
    saturated.until("CHANNEL_OPEN", |pair| pair.server.offered().is_some());
    saturated.pair.client.engine.release_channel(opened);

    saturated.pair.client.engine.channel_request(first, "signal", false, b"").unwrap();
    saturated.until("CHANNEL_REQUEST", |pair| {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(pair.server.engine.poll_peer_request(first_there, &mut cx), Poll::Ready(Some(_)))
    });

    // The client's application reads: a window that was used up opens again.
    let window = vec![7; 30_000];
    let server = &mut saturated.pair.server.engine;
    assert!(matches!(server.poll_write(first_there, &cx, &[IoSlice::new(&window)]), Poll::Ready(Ok(30_000))));
    for _ in 0..200 {
        saturated.step();
    }
    let client = &mut saturated.pair.client.engine;
    assert!(matches!(client.poll_read(first, &cx, &mut vec![0; 30_000]), Poll::Ready(Ok(30_000))));
    saturated.until("WINDOW_ADJUST", |pair| {
        let cx = Context::from_waker(Waker::noop());
        pair.server.engine.poll_write(first_there, &cx, &[IoSlice::new(b"x")]).is_ready()
    });

    let number = saturated.pair.server.engine.global_request("keepalive@openssh.com", true, b"", now);
    let number = number.unwrap().unwrap();
    saturated.until("the answer to a keepalive", |pair| {
        let mut cx = Context::from_waker(Waker::noop());
        pair.server.engine.poll_global_reply(number, &mut cx).is_ready()
    });

    saturated.pair.client.engine.send_eof(second).unwrap();
    saturated.until("EOF", |pair| {
        let cx = Context::from_waker(Waker::noop());
        matches!(pair.server.engine.poll_read(second_there, &cx, &mut [0; 1]), Poll::Ready(Ok(0)))
    });

    saturated.pair.client.engine.close_channel(first).unwrap();
    saturated.until("CLOSE", |pair| {
        let mut cx = Context::from_waker(Waker::noop());
        pair.server.engine.poll_channel_closed(first_there, &mut cx).is_ready()
    });
}

/// The same through the driver: 1 MB/s, so that two batches and what the stream in memory holds take half a second.
#[tokio::test(start_paused = true)]
async fn through_the_driver_they_are_as_quick() {
    const RATE: u64 = 1_000_000;
    // The stream in memory holds a piece of 64 KiB in each of four places.
    let bound = 2 * BATCH + 4 * 64 * 1024;
    let path = Path::default().with_rate(RATE);
    let (a, b) = delay::duplex(&path, &Path::default());
    let settings = Settings { provider: &aws_lc::PROVIDER, ..Settings::default() };
    let (client, server) = driven::over(&settings, a, b).await;
    let mut busy = Vec::new();
    for _ in 0..4 {
        let (here, there) = driven::channel(&client, &server).await;
        busy.push(tokio::spawn(write_for_ever(here)));
        busy.push(tokio::spawn(read_for_ever(there.split().0)));
    }
    let (quiet, quiet_there) = driven::channel(&client, &server).await;
    let (mut quiet_reader, _quiet_writer) = quiet_there.split();
    tokio::time::sleep(Duration::from_secs(3)).await;

    let before = path.carried();
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.open_channel("session").await }
    });
    let mut incoming = server.incoming();
    let Some(Incoming::Channel(offer)) = incoming.next().await else { panic!("no channel") };
    let bytes = path.carried() - before;
    println!("CHANNEL_OPEN through the driver: behind {bytes} bytes of {bound}");
    assert!(bytes <= bound, "CHANNEL_OPEN was behind {bytes} bytes");
    let _opened = offer.accept().unwrap();
    let _there = opening.await.unwrap().unwrap();

    let before = path.carried();
    quiet.send_eof().unwrap();
    assert_eq!(quiet_reader.read(&mut [0; 1]).await.unwrap(), 0);
    let bytes = path.carried() - before;
    println!("EOF through the driver: behind {bytes} bytes of {bound}");
    assert!(bytes <= bound, "EOF was behind {bytes} bytes");

    let before = path.carried();
    assert!(server.request("keepalive@openssh.com", b"").await.unwrap().is_none());
    let bytes = path.carried() - before;
    println!("an answer through the driver: behind {bytes} bytes of {bound}");
    assert!(bytes <= bound, "an answer was behind {bytes} bytes");
    assert!(busy.iter().all(|task| !task.is_finished()));
}

async fn write_for_ever(mut channel: Channel) {
    let data = vec![7; 256 * 1024];
    while channel.write_all(&data).await.is_ok() {}
}

async fn read_for_ever(mut reader: ChannelReader) {
    let mut buffer = vec![0; 64 * 1024];
    while matches!(reader.read(&mut buffer).await, Ok(1..)) {}
}
