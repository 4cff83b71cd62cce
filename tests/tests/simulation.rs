//! Two engines over a scripted network, with every choice drawn from a seed.
//!
//! `ADIT_SIMULATION_SEEDS` says how many seeds each test plays, `ADIT_SIMULATION_SEED` plays one alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::io::IoSlice;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use tests::link::Link;
use tests::pair::Setup;
use tests::random::Dice;
use tests::simulation::{Simulation, pattern, play, seeds};

fn limits(dice: &mut Dice, windows: &[u32]) -> Limits {
    let mut limits = Limits::default();
    limits.channel_window = dice.pick(windows);
    limits.max_channel_window = limits.channel_window.max(dice.pick(&[1, 1 << 20, 16 << 20]));
    limits.channel_packet = dice.pick(&[1 << 10, 1 << 15, 1 << 15]);
    if dice.once_in(3) {
        limits.rekey_bytes = dice.pick(&[300_000, 1_000_000]);
    }
    limits
}

#[test]
fn any_interleaving_delivers_the_same_bytes_in_order() {
    for seed in seeds(150) {
        play(seed, |seed| {
            let mut dice = Dice::new(seed ^ 0xa5a5);
            let windows = [100, 1000, 50_000, 1 << 20];
            let setup = Setup {
                client: limits(&mut dice, &windows),
                server: limits(&mut dice, &windows),
                ..Setup::default()
            };
            let slow = dice.once_in(2);
            let mut simulation = Simulation::new(seed, &setup, slow);
            for _ in 0..dice.between(1, 5) {
                let lens = [0, 1].map(|_| dice.pick(&[0, 1, 100, 20_000, 150_000]));
                simulation.open(seed, dice.once_in(2), lens);
            }
            simulation.run(true);
            simulation.check();
        });
    }
}

#[test]
fn tiny_windows_and_tiny_packets_get_everything_through() {
    for seed in seeds(60) {
        play(seed, |seed| {
            let mut dice = Dice::new(seed ^ 0x5a5a);
            let limits = |dice: &mut Dice| {
                let mut limits = limits(dice, &[1, 2, 3, 7]);
                limits.channel_packet = dice.pick(&[1, 2, 5]);
                limits
            };
            let setup = Setup { client: limits(&mut dice), server: limits(&mut dice), ..Setup::default() };
            let mut simulation = Simulation::new(seed, &setup, true);
            for _ in 0..dice.between(1, 3) {
                let lens = [0, 1].map(|_| dice.pick(&[0, 1, 10, 300]));
                simulation.open(seed, dice.once_in(2), lens);
            }
            simulation.run(true);
            simulation.check();
        });
    }
}

#[test]
fn without_any_security_it_is_the_same() {
    for seed in seeds(60) {
        play(seed, |seed| {
            let mut dice = Dice::new(seed ^ 0x3333);
            let windows = [1, 50, 5000, 1 << 20];
            let setup = Setup {
                algorithms: Algorithms::insecure_without_any_security(),
                client: limits(&mut dice, &windows),
                server: limits(&mut dice, &windows),
                ..Setup::default()
            };
            let mut simulation = Simulation::new(seed, &setup, true);
            for _ in 0..dice.between(1, 4) {
                let lens = [0, 1].map(|_| dice.pick(&[0, 1, 500, 20_000]));
                simulation.open(seed, dice.once_in(2), lens);
            }
            simulation.run(false);
            simulation.check();
        });
    }
}

#[test]
fn every_cipher_survives_new_keys_under_load() {
    let ciphers = [
        "aes256-gcm@openssh.com",
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
        "aes256-ctr",
        "aes128-ctr",
        "aes256-cbc",
    ];
    for (seed, cipher) in (0..).zip(ciphers) {
        for mac in ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512"] {
            play(seed, |seed| {
                let algorithms =
                    Setup::default().algorithms.with_ciphers(cipher).unwrap().with_macs(mac).unwrap();
                let algorithms = algorithms.danger_with_cbc_and_plain_macs();
                let setup = Setup { algorithms, ..Setup::default() };
                let mut simulation = Simulation::new(seed, &setup, true);
                simulation.open(seed, true, [60_000, 60_000]);
                simulation.run(true);
                simulation.check();
                assert!(simulation.rekeys > 0);
            });
        }
    }
}

/// Each channel that waits for room in the output gets its share of it.
#[test]
fn a_full_output_is_shared_among_channels() {
    let setup = Setup::default();
    let mut simulation = Simulation::new(7, &setup, false);
    simulation.pair.to_server = Link::default().with_capacity(20_000);
    for _ in 0..8 {
        simulation.open(7, true, [700_000, 0]);
    }
    let mut finished = HashMap::new();
    let mut least = usize::MAX;
    // Round by round: all who may write do, greedily, then the link drains.
    for _ in 0..2000 {
        let Simulation { pair, tasks, .. } = &mut simulation;
        // A runtime polls whom it likes first.
        let first = pair.dice.below(tasks.len());
        for at in (first..tasks.len()).chain(0..first).filter(|at| at % 2 == 0) {
            let task = &mut tasks[at];
            while task.can_write() {
                if task.written == task.to_write.len() {
                    finished.entry(at).or_insert(());
                    break;
                }
                task.write(&mut pair.client.engine, &mut pair.dice);
            }
        }
        if finished.len() == 1 {
            least = tasks.iter().filter(|task| task.on_client).map(|task| task.written).min().unwrap();
        }
        if finished.len() >= 2 {
            break;
        }
        for task in tasks.iter_mut().filter(|task| !task.on_client) {
            while task.can_read() && !task.read_to_end {
                task.read(&mut pair.server.engine, &mut pair.dice);
            }
        }
        pair.server.settle();
        pair.step();
        pair.client.settle();
    }
    assert!(least > 200_000, "when the first channel was done, another had written only {least} bytes");
}

/// A packet may go over a channel's share of a round, but what it takes is missing in its next ones: with shares far
/// smaller than a packet, and whoever is polled first writing first, all get about the same.
#[test]
fn no_channel_gets_ahead_by_large_packets() {
    const CHANNELS: usize = 20;
    let mut server = Limits::default();
    (server.channel_window, server.session_window) = (64 << 20, u32::MAX);
    let algorithms = Algorithms::insecure_without_any_security();
    let setup = Setup { algorithms, server, ..Setup::default() };
    let mut simulation = Simulation::new(11, &setup, false);
    for _ in 0..CHANNELS {
        simulation.open(11, true, [0, 0]);
    }
    let Simulation { pair, tasks, .. } = &mut simulation;
    let cx = Context::from_waker(Waker::noop());
    let data = vec![7; 32 * 1024];
    let (mut written, mut taken) = ([0; CHANNELS], Vec::new());
    for _ in 0..2000 {
        let first = pair.dice.below(CHANNELS);
        for at in (first..CHANNELS).chain(0..first) {
            let id = tasks[2 * at].id;
            while let Poll::Ready(n) = pair.client.engine.poll_write(id, &cx, &[IoSlice::new(&data)]) {
                written[at] += n.unwrap();
            }
        }
        // A stream that takes 30 ms for each batch.
        pair.now += Duration::from_millis(30);
        pair.client.engine.take_output(&mut taken, pair.now);
    }
    let (least, most) = (written.iter().min().unwrap(), written.iter().max().unwrap());
    assert!(*least > 1_000_000, "{written:?}");
    // Without that it is a random walk, over 2 MB here.
    assert!(most - least <= least / 15, "{written:?}");
}

/// Whatever is cut, readers and writers learn of it; what had arrived can still be read.
#[test]
fn a_link_that_dies_ends_both_sessions_in_time() {
    for seed in seeds(40) {
        play(seed, |seed| {
            let setup = Setup::default();
            let mut simulation = Simulation::new(seed, &setup, false);
            simulation.open(seed, true, [300_000, 300_000]);
            let pair = &mut simulation.pair;
            let cut = pair.to_server.carried() + pair.dice.below(300_000) as u64;
            pair.to_server = std::mem::take(&mut pair.to_server).cut_after(cut);
            let start = pair.now;
            let mut ends = [None, None];
            while ends.iter().any(Option::is_none) {
                let Simulation { pair, tasks, .. } = &mut simulation;
                for task in tasks.iter_mut() {
                    let side = if task.on_client { &mut pair.client } else { &mut pair.server };
                    if side.engine.ended().is_none() {
                        if task.can_write() && task.written < task.to_write.len() {
                            task.write(&mut side.engine, &mut pair.dice);
                        }
                        if task.can_read() && side.engine.ended().is_none() {
                            task.read(&mut side.engine, &mut pair.dice);
                        }
                    }
                }
                if !pair.move_bytes() {
                    pair.advance_to_arrival();
                    pair.advance_to_timeout();
                }
                let now = pair.now;
                for (end, side) in ends.iter_mut().zip([&pair.client, &pair.server]) {
                    if side.engine.ended().is_some() {
                        end.get_or_insert(now);
                    }
                }
                assert!(now - start < Duration::from_secs(300), "{}", simulation.describe());
            }
            // 20 s and three misses; the side that can still send tells the other.
            for end in ends.into_iter().flatten() {
                assert!(end - start <= Duration::from_secs(161), "{:?}", end - start);
            }
            for task in &mut simulation.tasks {
                let peer_wrote = &pattern(seed, usize::from(task.on_client), 300_000)[..];
                assert!(peer_wrote.starts_with(&task.received));
                let side =
                    if task.on_client { &mut simulation.pair.client } else { &mut simulation.pair.server };
                let cx = Context::from_waker(Waker::noop());
                let mut buffer = vec![0; 1 << 20];
                loop {
                    match side.engine.poll_read(task.id, &cx, &mut buffer) {
                        Poll::Ready(Ok(n)) => {
                            assert!(n > 0, "a cut must not look like an end of file");
                            task.received.extend_from_slice(&buffer[..n]);
                        }
                        Poll::Ready(Err(error)) => {
                            assert!(
                                matches!(error, Error::Timeout(_) | Error::Disconnected { .. }),
                                "{error}"
                            );
                            break;
                        }
                        Poll::Pending => panic!("a reader waits for a session that is over"),
                    }
                }
                assert!(peer_wrote.starts_with(&task.received));
            }
        });
    }
}
