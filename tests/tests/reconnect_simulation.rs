//! Two engines whose connection is cut at any byte, any number of times, also while they reconnect.
//!
//! `ADIT_RECONNECT_SCHEDULES` says how many schedules are played (2,000 by default, 100,000 in the long run),
//! `ADIT_SIMULATION_SEED` plays one alone. They are spread over the cores. The long run, which takes some six minutes of
//! processor time:
//!
//! ```sh
//! ADIT_RECONNECT_SCHEDULES=100000 CARGO_PROFILE_DEV_OPT_LEVEL=2 cargo test -p tests --test reconnect_simulation
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::IoSlice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use ssh_core::config::{KNOWN_CIPHERS, KNOWN_KEX, KNOWN_MACS, Limits};
use ssh_core::protocol::ReconnectOffer;
use tests::pair::{Pair, Setup};
use tests::random::Dice;
use tests::simulation::{Simulation, play_all, schedules};

fn offer(window: usize, latency: bool) -> ReconnectOffer {
    let mut offer = ReconnectOffer::default();
    (offer.window, offer.latency) = (window, latency);
    offer
}

fn limits(dice: &mut Dice) -> Limits {
    let mut limits = Limits::default();
    limits.channel_window = dice.pick(&[1, 100, 5000, 1 << 20]);
    limits.max_channel_window = limits.channel_window.max(dice.pick(&[1, 1 << 20]));
    if limits.channel_window > 1 && dice.once_in(3) {
        limits.rekey_bytes = dice.pick(&[20_000, 100_000]);
    }
    limits
}

#[test]
fn any_cuts_deliver_the_same_bytes_in_order() {
    let resumed = AtomicUsize::new(0);
    play_all(&schedules(2000), |seed| {
        let mut dice = Dice::new(seed ^ 0x7e57);
        let windows = [0, 1].map(|_| dice.pick(&[1, 1000, 20_000, 1 << 20]));
        let (client, server) = (limits(&mut dice), limits(&mut dice));
        let small = client.channel_window.min(server.channel_window) == 1;
        let latency = [0, 1].map(|_| dice.once_in(2));
        let setup = Setup {
            client,
            server,
            reconnect: [0, 1].map(|side| Some(offer(windows[side], latency[side]))),
            ..Setup::default()
        };
        let mut simulation = Simulation::new(seed, &setup, dice.once_in(3));
        for _ in 0..dice.between(1, 3) {
            let lens = if small { [0, 1, 10, 100] } else { [0, 1, 3000, 10_000] };
            simulation.open(seed, dice.once_in(2), [0, 1].map(|_| dice.pick(&lens)));
        }
        simulation.cuts.0 = dice.between(1, 6);
        simulation.run(true);
        simulation.check();
        resumed.fetch_add(usize::try_from(simulation.pair.server.losses.1).unwrap(), Ordering::Relaxed);
    });
    assert!(resumed.into_inner() > 0, "no session was ever resumed");
}

/// A peer that does not count messages over all connections, as all but Adit: a reconnect that is cut off before its answer
/// may be the end of the session, but never gives other bytes.
#[test]
fn peers_that_do_not_count_get_the_same_bytes_or_an_error() {
    let [failed, all] = [0, 0].map(AtomicUsize::new);
    play_all(&schedules(300), |seed| {
        let mut dice = Dice::new(seed ^ 0xf0f0);
        let offers = [0, 1].map(|_| {
            let mut offer = offer(dice.pick(&[1000, 20_000, 1 << 20]), dice.once_in(2));
            offer.count = false;
            Some(offer)
        });
        let setup = Setup {
            client: limits(&mut dice),
            server: limits(&mut dice),
            reconnect: offers,
            ..Setup::default()
        };
        let small = setup.client.channel_window.min(setup.server.channel_window) == 1;
        let mut simulation = Simulation::new(seed, &setup, false);
        simulation.may_fail = true;
        for _ in 0..dice.between(1, 2) {
            let lens = if small { [0, 1, 10, 100] } else { [0, 1, 3000, 30_000] };
            simulation.open(seed, dice.once_in(2), [0, 1].map(|_| dice.pick(&lens)));
        }
        simulation.cuts.0 = dice.between(1, 3);
        simulation.run(true);
        simulation.check();
        failed.fetch_add(simulation.has_failed_to_resume().into(), Ordering::Relaxed);
        all.fetch_add(1, Ordering::Relaxed);
    });
    let [failed, all] = [failed, all].map(AtomicUsize::into_inner);
    assert!(failed < all / 2 || all < 10, "{failed} of {all} sessions were lost");
}

/// Up to four messages each way, and a cut after every byte of the conversation, on either way; and after every byte of the
/// reconnect that follows a cut in its middle.
#[test]
fn a_small_conversation_survives_a_cut_after_every_byte() {
    const MESSAGE: usize = 3;
    let algorithms = Setup::default().algorithms.with_ciphers("aes256-gcm@openssh.com").unwrap();
    let algorithms = algorithms.with_macs("hmac-sha2-256").unwrap();
    let setup = Setup { algorithms, reconnect: [0, 1].map(|_| Some(offer(1000, true))), ..Setup::default() };
    let talk = |seed: u64, messages: [usize; 2], planned: &[(bool, u64)]| {
        let mut simulation = Simulation::new(seed, &setup, false);
        simulation.open(seed, true, messages.map(|messages| messages * MESSAGE));
        for task in &mut simulation.tasks {
            task.piece = Some(MESSAGE);
        }
        let before = [simulation.pair.to_server.carried(), simulation.pair.to_client.carried()];
        simulation.planned = planned.iter().copied().collect();
        simulation.plan_cut();
        simulation.run(false);
        simulation.check();
        let pair = &simulation.pair;
        // Everything may have been read when the last byte is cut.
        assert!(pair.client.losses.0 - pair.client.losses.1 <= 1);
        (before, [pair.to_server.carried(), pair.to_client.carried()])
    };
    let mut cuts = Vec::new();
    for (seed, messages) in (1..).zip([[1, 0], [0, 1], [1, 1], [2, 2], [4, 0], [0, 4], [4, 4]]) {
        let (before, after) = talk(seed, messages, &[]);
        for (to_server, at) in [(true, 0), (false, 1)] {
            let len = after[at] - before[at];
            assert!(len > 40 * messages[at] as u64, "{len} bytes for {messages:?}");
            cuts.extend((0..=len).map(|bytes| (seed, messages, vec![(to_server, bytes)])));
            if messages == [2, 2] {
                // A reconnect carries less than the first connection up to its first message.
                let bytes = 0..before[at];
                cuts.extend(bytes.map(|bytes| (seed, messages, vec![(!to_server, 30), (to_server, bytes)])));
            }
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 0..threads {
            let (cuts, talk) = (&cuts, &talk);
            scope.spawn(move || {
                for (seed, messages, planned) in cuts.iter().skip(first).step_by(threads) {
                    let _told = Told(messages, planned);
                    talk(*seed, *messages, planned);
                }
            });
        }
    });
}

/// Says what was played should it fail.
struct Told<'a>(&'a [usize; 2], &'a [(bool, u64)]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?} messages, cut (to the server or not, after so many bytes) {:?}", self.0, self.1);
        }
    }
}

/// The tokens are made with the keys of whatever the new connection agreed on.
#[test]
fn every_algorithm_can_be_resumed() {
    let default = Setup::default().algorithms;
    let ciphers = KNOWN_CIPHERS.iter().map(|cipher| default.clone().with_ciphers(cipher).unwrap());
    let ctr = default.clone().with_ciphers("aes256-ctr").unwrap();
    let macs = KNOWN_MACS.iter().map(|mac| ctr.clone().with_macs(mac).unwrap());
    let kex = KNOWN_KEX.iter().map(|kex| default.clone().with_kex(kex).unwrap());
    for (seed, algorithms) in (0..).zip(ciphers.chain(macs).chain(kex)) {
        let mut setup = Setup { algorithms, ..Setup::default() };
        setup.reconnect = [0, 1].map(|_| Some(offer(20_000, true)));
        let mut simulation = Simulation::new(seed, &setup, false);
        simulation.open(seed, true, [6000, 6000]);
        simulation.planned = [(true, 2000), (false, 3000)].into();
        simulation.plan_cut();
        simulation.run(true);
        simulation.check();
        assert!(simulation.pair.server.losses.1 > 0, "{:?} was not cut", setup.algorithms);
    }
}

/// A one-way stream has nothing that could carry its acknowledgements: whoever listens says something for their sake.
#[test]
fn who_only_listens_says_how_far_it_is() {
    const SENT: usize = 2 << 20;
    let mut limits = Limits::default();
    (limits.channel_window, limits.max_channel_window) = (2 * SENT as u32, 2 * SENT as u32);
    let setup = Setup {
        client: limits.clone(),
        server: limits,
        reconnect: [0, 1].map(|_| Some(offer(4 * SENT, false))),
        ..Setup::default()
    };
    let mut pair = Pair::new(&setup, 1);
    pair.login();
    let id = pair.client.engine.open_channel("session", b"", pair.now).unwrap();
    pair.settle();
    let offered = pair.server.offered().unwrap();
    pair.server.engine.accept_channel(offered, b"").unwrap();
    pair.settle();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(pair.client.engine.poll_opened(id, &mut cx).is_ready());
    let block = vec![7; 32 * 1024];
    let mut sent = 0;
    while sent < SENT {
        // Nobody reads, so there is no credit to give back either.
        let Poll::Ready(written) = pair.client.engine.poll_write(id, &cx, &[IoSlice::new(&block)]) else {
            panic!("stalled after {sent} bytes");
        };
        sent += written.unwrap();
        pair.settle();
    }
    let (held, most) = pair.client.engine.replay_bytes();
    assert!(most < 1 << 20, "{held} bytes, {most} at most, wait for an acknowledgement");
}
