//! Applications on both ends of a [`Pair`], with every choice drawn from a seed.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ssh_core::protocol::Engine;

use crate::backend;
use crate::link::Link;
use crate::pair::{Pair, Setup, Wakes};
use crate::random::Dice;

/// The schedules to play: `ADIT_SIMULATION_SEED` alone, or as many as `ADIT_RECONNECT_SCHEDULES` says.
#[must_use]
pub fn schedules(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("ADIT_SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("ADIT_RECONNECT_SCHEDULES").unwrap_or(default)).collect(),
    }
}

/// The seeds to play: `ADIT_SIMULATION_SEED` alone, or as many as `ADIT_SIMULATION_SEEDS` says.
#[must_use]
pub fn seeds(default: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    match number("ADIT_SIMULATION_SEED") {
        Some(seed) => vec![seed],
        None => {
            let default = if backend::is_second() { default / 5 } else { default };
            (0..number("ADIT_SIMULATION_SEEDS").unwrap_or(default)).collect()
        }
    }
}

/// One end of a channel, as an application that is polled when it was woken and not before.
#[derive(Debug)]
pub struct Task {
    /// On which side it is.
    pub on_client: bool,
    /// Its channel there.
    pub id: u32,
    /// All that it writes.
    pub to_write: Vec<u8>,
    /// How much of it was written.
    pub written: usize,
    /// Its end of file.
    pub eof: Eof,
    /// How much it will read.
    pub expected: usize,
    /// What it has read.
    pub received: Vec<u8>,
    /// It has read everything, and the end of file.
    pub read_to_end: bool,
    /// How much it writes at a time, if not as much as comes to its mind.
    pub piece: Option<usize>,
    reader: (Arc<Wakes>, Waker),
    writer: (Arc<Wakes>, Waker),
    may_read: bool,
    may_write: bool,
}

/// Whether the end of file has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eof {
    /// Not yet.
    ToSend,
    /// Yes.
    Sent,
}

impl Task {
    /// A task at one end of a channel.
    pub fn new(on_client: bool, id: u32, to_write: Vec<u8>, expected: usize) -> Self {
        Self {
            on_client,
            id,
            to_write,
            written: 0,
            eof: Eof::ToSend,
            expected,
            received: Vec::new(),
            read_to_end: false,
            piece: None,
            reader: Wakes::new(),
            writer: Wakes::new(),
            may_read: true,
            may_write: true,
        }
    }

    /// Whether it has written and read everything.
    pub fn is_done(&self) -> bool {
        self.eof == Eof::Sent && self.read_to_end
    }

    /// Whether it was woken to write, or has not tried.
    pub fn can_write(&mut self) -> bool {
        self.may_write |= self.writer.0.take();
        self.may_write && self.eof == Eof::ToSend
    }

    /// Whether it was woken to read, or has not tried.
    pub fn can_read(&mut self) -> bool {
        self.may_read |= self.reader.0.take();
        self.may_read && !self.read_to_end
    }

    /// Writes some.
    pub fn write(&mut self, engine: &mut Engine, dice: &mut Dice) {
        let cx = Context::from_waker(&self.writer.1);
        let left = &self.to_write[self.written..];
        if left.is_empty() {
            engine.send_eof(self.id).unwrap();
            self.eof = Eof::Sent;
            return;
        }
        let size = match self.piece {
            Some(piece) => piece,
            None => {
                let size = dice.pick(&[1, 10, 1000, 40_000, 200_000]);
                dice.between(1, size)
            }
        };
        let left = &left[..left.len().min(size)];
        let (first, second) = left.split_at(dice.between(0, left.len()));
        match engine.poll_write(self.id, &cx, &[IoSlice::new(first), IoSlice::new(second)]) {
            Poll::Ready(Ok(n)) => {
                assert!(n > 0 && n <= left.len());
                self.written += n;
            }
            Poll::Ready(Err(error)) => panic!("writing failed: {error}"),
            Poll::Pending => self.may_write = false,
        }
    }

    /// Reads some.
    pub fn read(&mut self, engine: &mut Engine, dice: &mut Dice) {
        let cx = Context::from_waker(&self.reader.1);
        let len = dice.pick(&[1, 100, 5000, 100_000]);
        let read = if dice.once_in(2) {
            let mut buffer = vec![0; len];
            engine
                .poll_read(self.id, &cx, &mut buffer)
                .map_ok(|n| self.received.extend_from_slice(&buffer[..n]))
        } else {
            let mut chunks: Vec<bytes::Bytes> = Vec::new();
            let most = dice.between(1, 8);
            engine
                .poll_read_chunks(self.id, &cx, len, most, &mut chunks)
                .map_ok(|_| chunks.into_iter().for_each(|chunk| self.received.extend_from_slice(&chunk)))
        };
        let before = self.received.len();
        match read {
            Poll::Ready(Ok(())) => {
                assert!(before <= self.expected, "more than was written");
                self.read_to_end = before == self.expected && ended(engine, self.id);
            }
            Poll::Ready(Err(error)) => panic!("reading failed: {error}"),
            Poll::Pending => self.may_read = false,
        }
    }
}

fn ended(engine: &mut Engine, id: u32) -> bool {
    let cx = Context::from_waker(Waker::noop());
    matches!(engine.poll_read(id, &cx, &mut [0; 1]), Poll::Ready(Ok(0)))
}

/// Bytes that no other channel of the seed carries.
#[must_use]
pub fn pattern(seed: u64, channel: usize, len: usize) -> Vec<u8> {
    let start = seed.wrapping_mul(31).wrapping_add(channel as u64 * 7919);
    (0..len as u64).map(|at| ((start + at).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// No peer of ours starts more exchanges than the other bears.
const REKEYS: usize = 3;

/// A pair, what its applications do, and what is done to them.
#[derive(Debug)]
pub struct Simulation {
    /// Both ends.
    pub pair: Pair,
    /// The applications, two for each channel.
    pub tasks: Vec<Task>,
    /// Key exchanges that were started.
    pub rekeys: usize,
    /// Cuts that are still to come, and those that came.
    pub cuts: (usize, usize),
    /// What may wait in the log beyond its window, in bytes: a packet, and what control messages there are.
    pub log_slack: usize,
    /// The session may end because it cannot be resumed; what was read until then must still be right.
    pub may_fail: bool,
    /// How many bytes later, and on which way (to the server or not), the next connections are cut.
    pub planned: std::collections::VecDeque<(bool, u64)>,
    windows: [usize; 2],
}

impl Simulation {
    /// Two ends that are logged in.
    pub fn new(seed: u64, setup: &Setup, slow_links: bool) -> Self {
        let mut pair = Pair::new(setup, seed);
        if slow_links {
            pair.to_server = link(&mut pair.dice);
            pair.to_client = link(&mut pair.dice);
        }
        pair.login();
        let windows = [0, 1].map(|side| setup.reconnect[side].as_ref().map_or(0, |offer| offer.window));
        Self {
            pair,
            tasks: Vec::new(),
            rekeys: 0,
            cuts: (0, 0),
            log_slack: 128 * 1024,
            may_fail: false,
            planned: [].into(),
            windows,
        }
    }

    /// Opens a channel from either side and lets both ends write `lens` bytes.
    pub fn open(&mut self, seed: u64, from_client: bool, lens: [usize; 2]) {
        let pair = &mut self.pair;
        let (opener, accepter) = if from_client {
            (&mut pair.client, &mut pair.server)
        } else {
            (&mut pair.server, &mut pair.client)
        };
        let here = opener.engine.open_channel("session", b"", pair.now).unwrap();
        assert!(accepter.offered().is_none());
        let there = loop {
            assert!(self.pair.step(), "opening stalls");
            let accepter = if from_client { &mut self.pair.server } else { &mut self.pair.client };
            if let Some(id) = accepter.offered() {
                accepter.engine.accept_channel(id, b"").unwrap();
                break id;
            }
        };
        loop {
            let opener = if from_client { &mut self.pair.client } else { &mut self.pair.server };
            let mut cx = Context::from_waker(Waker::noop());
            match opener.engine.poll_opened(here, &mut cx) {
                Poll::Ready(opened) => {
                    opened.unwrap();
                    break;
                }
                Poll::Pending => assert!(self.pair.step(), "the confirmation stalls"),
            }
        }
        let channel = self.tasks.len();
        let data = [pattern(seed, channel, lens[0]), pattern(seed, channel + 1, lens[1])];
        let [first, second] = data;
        self.tasks.push(Task::new(from_client, here, first, lens[1]));
        self.tasks.push(Task::new(!from_client, there, second, lens[0]));
    }

    /// Runs until every task is done, choosing at random among what can happen.
    pub fn run(&mut self, rekeys: bool) {
        let deadline = self.pair.now + Duration::from_secs(24 * 3600);
        while !self.tasks.iter().all(Task::is_done) {
            let Self { pair, tasks, .. } = self;
            let mut runnable = Vec::new();
            for (at, task) in tasks.iter_mut().enumerate() {
                if task.can_write() {
                    runnable.push((at, true));
                }
                if task.can_read() {
                    runnable.push((at, false));
                }
            }
            let choice = pair.dice.below(runnable.len() + 2);
            if let Some((at, write)) = runnable.get(choice).copied() {
                let task = &mut tasks[at];
                let side = if task.on_client { &mut pair.client } else { &mut pair.server };
                if write {
                    task.write(&mut side.engine, &mut pair.dice);
                } else {
                    task.read(&mut side.engine, &mut pair.dice);
                }
                side.settle();
                continue;
            }
            if self.disturb(runnable.is_empty()) {
                continue;
            }
            let pair = &mut self.pair;
            if rekeys && self.rekeys < REKEYS && pair.dice.once_in(10) {
                self.rekeys += 1;
                let now = pair.now;
                let both = pair.dice.once_in(3);
                let client = pair.dice.once_in(2);
                if both || client {
                    // On its way back too, once it has asked for its session.
                    let end = pair.attempt.0.as_mut().unwrap_or(&mut pair.client);
                    if end.engine.ended().is_none() {
                        end.engine.rekey(now).unwrap();
                    }
                }
                if both || !client {
                    pair.server.engine.rekey(now).unwrap();
                }
            }
            let moved = pair.move_bytes();
            if !moved && runnable.is_empty() {
                let moved = pair.advance_to_arrival() || pair.advance_to_timeout();
                assert!(moved, "nothing will ever happen again: {}", self.describe());
                assert!(self.pair.now < deadline, "no end in a day: {}", self.describe());
            }
            if self.may_fail && self.has_failed_to_resume() {
                return;
            }
            assert!(self.pair.client.engine.ended().is_none(), "{}", self.describe());
            assert!(self.pair.server.engine.ended().is_none(), "{}", self.describe());
        }
    }

    /// Whether the client's session ended because it could not be resumed.
    #[must_use]
    pub fn has_failed_to_resume(&self) -> bool {
        matches!(self.pair.client.engine.ended(), Some(ssh_core::Error::Reconnect(_)))
    }

    /// The same bytes in the same order at the other end.
    pub fn check(&self) {
        for ends in self.tasks.chunks(2) {
            for (from, to) in [(0, 1), (1, 0)] {
                let (sent, received) = (&ends[from].to_write, &ends[to].received);
                let same =
                    if self.has_failed_to_resume() { sent.starts_with(received) } else { sent == received };
                assert!(same, "other bytes arrived");
            }
        }
        // A high-water mark of 256 KiB, one packet over it, and control messages.
        for (side, window) in [&self.pair.client, &self.pair.server].into_iter().zip(self.windows) {
            assert!(side.most_waiting < 512 * 1024, "{} bytes of output", side.most_waiting);
            let (_, most) = side.engine.replay_bytes();
            assert!(most <= window + self.log_slack, "{most} bytes in a log of {window}");
        }
    }

    /// Cuts the connection, or gives it back. Whether something was done.
    fn disturb(&mut self, idle: bool) -> bool {
        let Self { pair, cuts, .. } = self;
        if pair.to_server.is_cut() || pair.to_client.is_cut() {
            if !pair.is_severed() {
                let (client, server) = (!pair.dice.once_in(4), pair.dice.once_in(2));
                pair.cut(client, server);
                return true;
            }
            // The client may have to notice first, and the applications go on for a while without a connection.
            if pair.client.engine.detached().is_none() || !(idle || pair.dice.once_in(3)) {
                return false;
            }
            pair.reconnect();
            self.plan_cut();
            return true;
        }
        if pair.attempt_is_over() {
            pair.cut(true, true);
            return true;
        }
        if cuts.0 > 0 && !pair.has_planned_cut() && pair.dice.once_in(20) {
            self.plan_cut();
        }
        false
    }

    /// The present connection is cut as planned, or by chance.
    pub fn plan_cut(&mut self) {
        let Self { pair, cuts, planned, .. } = self;
        if let Some((to_server, bytes)) = planned.pop_front() {
            cuts.1 += 1;
            return if to_server { pair.to_server.cut_in(bytes) } else { pair.to_client.cut_in(bytes) };
        }
        if cuts.0 == 0 || pair.dice.once_in(4) {
            return;
        }
        *cuts = (cuts.0 - 1, cuts.1 + 1);
        let within = pair.dice.pick(&[1, 100, 2000, 4000, 100_000]);
        let bytes = pair.dice.below(within) as u64;
        if pair.dice.once_in(2) { pair.to_server.cut_in(bytes) } else { pair.to_client.cut_in(bytes) }
    }

    /// Where everything stands.
    pub fn describe(&self) -> String {
        let tasks: Vec<String> = self
            .tasks
            .iter()
            .map(|task| {
                format!(
                    "{} {}: wrote {}/{}, read {}/{}, may {} {}",
                    if task.on_client { "client" } else { "server" },
                    task.id,
                    task.written,
                    task.to_write.len(),
                    task.received.len(),
                    task.expected,
                    task.may_write,
                    task.may_read
                )
            })
            .collect();
        let links: Vec<String> = [&self.pair.client, &self.pair.server]
            .into_iter()
            .map(|side| {
                let engine = &side.engine;
                format!(
                    "lost and resumed {:?}, log {:?} of {:?}, enabled {}, without a stream: {:?}",
                    side.losses,
                    engine.replay_bytes(),
                    self.windows,
                    engine.is_reconnect_enabled(),
                    engine.detached()
                )
            })
            .collect();
        format!("{:?}\n{}\n{}", self.pair.ends(), tasks.join("\n"), links.join("\n"))
    }
}

/// A network of some kind.
pub fn link(dice: &mut Dice) -> Link {
    let capacity = dice.pick(&[1, 100, 5000, 100_000, 1_000_000]);
    // Fast enough to log in before the deadline.
    let delays = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(700)];
    let delays = if capacity < 5000 { &delays[..1] } else { &delays };
    Link::default()
        .with_delay(dice.pick(delays))
        .with_largest_read(dice.pick(&[1, 17, 1000, 64 * 1024, 512 * 1024]))
        .with_capacity(capacity)
}

/// Plays these seeds on as many threads as there are cores: none has anything to do with another.
pub fn play_all(seeds: &[u64], run: impl Fn(u64) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let run = &run;
            scope.spawn(move || {
                for seed in seeds.iter().skip(first).step_by(threads) {
                    play(*seed, run);
                }
            });
        }
    });
}

/// Runs one seed, and says which it was should it fail.
pub fn play(seed: u64, run: impl FnOnce(u64)) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed))) {
        eprintln!("repeat with ADIT_SIMULATION_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}
