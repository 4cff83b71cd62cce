//! The course of `bench-forward`: pairs of tunnels by Adit and by OpenSSH.

use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value, json};

use super::error::Result;
use super::options::{ForwardOptions, ForwardSuite};
use super::report::{Column, Ratio, Report};
use super::scratch::Scratch;
use super::through_forward::{self, Settings};
use super::tunnel::Tunnel;
use super::{Measure, Side, bulk, connect, idle, interrupt, latency, raise_file_limit, through_openssh};

/// Runs the benchmark, and prints what it found.
#[must_use]
pub fn main() -> ExitCode {
    let options = ForwardOptions::parse();
    let other = if options.reconnect_cost { "--no-reconnect (B)" } else { "openssh (B)" };
    let column = |key, title: &str| Column { key, title: title.to_owned() };
    let mut report = Report::new(
        vec![column("direct", "direct"), column("adit", "adit (A)"), column("openssh", other)],
        vec![Ratio { key: "ratio", title: "A/B", of: 1, by: 2 }],
    );
    let outcome = run(&options, &mut report);
    super::finish(PROGRAM, &options.load, &report, about(&options), outcome)
}

const PROGRAM: &str = "bench-forward";

/// Who carries the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Nobody: straight to the target, for orientation.
    Nobody,
    Adit,
    OpenSsh,
    /// Adit with `--no-reconnect`, in OpenSSH's place.
    AditWithout,
}

fn about(options: &ForwardOptions) -> (String, Value) {
    let (load, openssh) = (&options.load, through_openssh::version());
    let heading = format!(
        "{}, {openssh}, {} pairs of {} MiB, {} ms between the ends",
        options.cipher, load.runs, load.mib, options.delay
    );
    let settings = json!({
        "runs": load.runs,
        "mib": load.mib,
        "cipher": options.cipher,
        "round_trips": load.round_trips,
        "connections": load.connections,
        "openssh": openssh,
        "reconnect_cost": options.reconnect_cost,
    });
    (heading, settings)
}

fn run(options: &ForwardOptions, report: &mut Report) -> Result<()> {
    if !options.only_openssh {
        through_forward::binary(&options.load)?;
    }
    if !options.only_adit && !options.reconnect_cost {
        through_openssh::prepare(options)?;
    }
    raise_file_limit();
    let scratch = Scratch::create()?;
    interrupt::install(PROGRAM, scratch.path().to_owned())?;
    for pair in 0..options.load.runs {
        eprintln!("{PROGRAM}: pair {} of {}", pair + 1, options.load.runs);
        let mut compared = Vec::new();
        if !options.only_openssh {
            compared.push(By::Adit);
        }
        if options.reconnect_cost {
            compared.push(By::AditWithout);
        } else if !options.only_adit {
            compared.push(By::OpenSsh);
        }
        // Whoever goes first finds a cooler machine, so they take turns.
        if pair % 2 == 1 {
            compared.reverse();
        }
        compared.insert(0, By::Nobody);
        run_pair(&compared, options, &scratch, report)?;
    }
    Ok(())
}

/// Takes each measurement on all sides before the next, so that what is compared lies close together in time.
fn run_pair(compared: &[By], options: &ForwardOptions, scratch: &Scratch, report: &mut Report) -> Result<()> {
    let sides = compared.iter().map(|by| start(*by, options, scratch)).collect::<Result<Vec<_>>>()?;
    for (suite, measure) in SUITES {
        if options.wants(suite) {
            for side in &sides {
                side.take(report, |tunnel| measure(tunnel, &options.load))?;
            }
        }
    }
    drop(sides);
    if options.wants(ForwardSuite::Idle) {
        for by in compared.iter().filter(|by| **by != By::Nobody) {
            start(*by, options, scratch)?.take(report, |tunnel| idle::measure(tunnel, options))?;
        }
    }
    Ok(())
}

fn start(by: By, options: &ForwardOptions, scratch: &Scratch) -> Result<Side> {
    let adit = |arguments: &[&str]| {
        let settings = Settings { cipher: &options.cipher, delay: options.delay, arguments };
        Tunnel::start(|target| through_forward::start(target, &options.load, scratch, &settings))
    };
    match by {
        By::Nobody => Side::start("direct", 0, Tunnel::direct),
        By::Adit => Side::start("adit", 1, || adit(&[])),
        By::OpenSsh => Side::start("openssh", 2, || {
            Tunnel::start(|target| through_openssh::start(target, options, scratch))
        }),
        By::AditWithout => Side::start("adit --no-reconnect", 2, || adit(&["--no-reconnect"])),
    }
}

/// In this order; memory comes last and on fresh tunnels.
const SUITES: [(ForwardSuite, Measure); 3] = [
    (ForwardSuite::Bulk, bulk::measure),
    (ForwardSuite::Latency, latency::measure),
    (ForwardSuite::Connect, connect::measure),
];
