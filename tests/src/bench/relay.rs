//! The course of `bench-relay`: runs through a relay, by a forward without one, and without a tunnel.

use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value, json};

use super::error::{BenchError, Context as _, Result};
use super::options::{CIPHER, RelayOptions, RelaySuite, Version};
use super::report::{Column, Ratio, Report};
use super::scratch::Scratch;
use super::through_forward::{self, Settings};
use super::tunnel::Tunnel;
use super::{Measure, Side, bulk, clients, connect, interrupt, latency, raise_file_limit, through_relay};

/// Runs the benchmark, and prints what it found.
#[must_use]
pub fn main() -> ExitCode {
    let options = RelayOptions::parse();
    let column = |key, title: &str| Column { key, title: title.to_owned() };
    let mut report = Report::new(
        vec![
            column("direct", "direct (D)"),
            column("forward", "adit forward (F)"),
            column("relay", "through the relay (R)"),
        ],
        vec![
            Ratio { key: "relay_by_direct", title: "R/D", of: RELAY, by: DIRECT },
            Ratio { key: "relay_by_forward", title: "R/F", of: RELAY, by: FORWARD },
        ],
    );
    let outcome = run(&options, &mut report);
    super::finish(PROGRAM, &options.load, &report, about(&options), outcome)
}

const PROGRAM: &str = "bench-relay";

/// The columns.
const DIRECT: usize = 0;
const FORWARD: usize = 1;
const RELAY: usize = 2;

fn about(options: &RelayOptions) -> (String, Value) {
    let load = &options.load;
    let version = options.protocol.name();
    let encrypted = if options.no_e2e { "without end-to-end encryption" } else { "encrypted end to end" };
    let heading = format!(
        "{version}, {encrypted}, {CIPHER}; {} runs of {} MiB; an idle client is all of `adit connect` but its listeners",
        load.runs, load.mib
    );
    let settings = json!({
        "runs": load.runs,
        "mib": load.mib,
        "cipher": CIPHER,
        "round_trips": load.round_trips,
        "connections": load.connections,
        "protocol": version,
        "end_to_end": !options.no_e2e,
        "clients": options.clients,
    });
    (heading, settings)
}

fn run(options: &RelayOptions, report: &mut Report) -> Result<()> {
    if options.no_e2e && options.protocol == Version::V1 {
        return Err(BenchError::new("v1 is always encrypted between the ends; --no-e2e needs --protocol v2"));
    }
    through_forward::binary(&options.load)?;
    let limit = raise_file_limit();
    if options.wants(RelaySuite::Clients) {
        clients::check_limit(options, limit)?;
    }
    let scratch = Scratch::create()?;
    interrupt::install(PROGRAM, scratch.path().to_owned())?;
    for number in 0..options.load.runs {
        eprintln!("{PROGRAM}: run {} of {}", number + 1, options.load.runs);
        run_once(number % 2 == 1, options, &scratch, report)?;
    }
    Ok(())
}

/// Takes each measurement on all sides before the next, so that what is compared lies close together in time.
fn run_once(swapped: bool, options: &RelayOptions, scratch: &Scratch, report: &mut Report) -> Result<()> {
    let suites = SUITES.into_iter().filter(|(suite, _)| options.wants(*suite));
    let suites: Vec<Measure> = suites.map(|(_, measure)| measure).collect();
    if !suites.is_empty() {
        let settings = Settings { cipher: CIPHER, delay: 0, arguments: &[] };
        let mut sides = vec![
            Side::start("adit forward", FORWARD, || {
                Tunnel::start(|target| through_forward::start(target, &options.load, scratch, &settings))
            })?,
            Side::start("the relay", RELAY, || {
                Tunnel::start(|target| through_relay::start(target, options, scratch))
            })?,
        ];
        // Whoever goes first finds a cooler machine, so they take turns.
        if swapped {
            sides.reverse();
        }
        sides.insert(0, Side::start("direct", DIRECT, Tunnel::direct)?);
        for measure in suites {
            for side in &sides {
                side.take(report, |tunnel| measure(tunnel, &options.load))?;
            }
        }
    }
    if options.wants(RelaySuite::Clients) {
        report.add(RELAY, clients::measure(options, scratch).context("idle clients")?);
    }
    Ok(())
}

/// In this order; memory comes last and on a relay of its own.
const SUITES: [(RelaySuite, Measure); 3] = [
    (RelaySuite::Bulk, bulk::measure),
    (RelaySuite::Latency, latency::measure),
    (RelaySuite::Connect, connect::measure),
];
