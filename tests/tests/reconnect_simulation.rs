//! Two engines whose connection is cut at any byte, any number of times, also while they reconnect.
//!
//! `ADIT_RECONNECT_SCHEDULES` says how many schedules are played (2,000 by default, 100,000 in the long run),
//! `ADIT_SIMULATION_SEED` plays one alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use ssh_core::config::Limits;
use ssh_core::protocol::ReconnectOffer;
use tests::pair::Setup;
use tests::random::Dice;
use tests::simulation::{Simulation, play, schedules};

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
    let mut resumed = 0;
    for seed in schedules(2000) {
        play(seed, |seed| {
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
                let lens = if small { [0, 1, 10, 100] } else { [0, 1, 3000, 30_000] };
                simulation.open(seed, dice.once_in(2), [0, 1].map(|_| dice.pick(&lens)));
            }
            simulation.cuts.0 = dice.between(1, 6);
            simulation.run(true);
            simulation.check();
            resumed += simulation.pair.server.losses.1;
        });
    }
    assert!(resumed > 0, "no session was ever resumed");
}
