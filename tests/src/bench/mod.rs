//! The benchmark's course: pairs of runs, and what comes out.

mod adit;
mod bulk;
mod connect;
mod delay;
mod error;
mod idle;
mod interrupt;
mod latency;
mod openssh;
mod options;
mod pattern;
mod process;
mod procfs;
mod report;
mod scratch;
mod target;
mod tunnel;

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use error::{Context, Result};
use options::{Options, Suite};
use report::{Report, Sample};
use scratch::Scratch;
use tunnel::{Side, Tunnel};

/// Runs the benchmark and prints what it found, also when it broke off half way.
pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    let mut report = Report::default();
    let outcome = run(&options, &mut report);
    if !report.is_empty() {
        if options.json {
            println!("{:#}", report.json(&options, &openssh::version()));
        } else {
            println!(
                "{}, {}, {} pairs of {} MiB, {} ms between the ends",
                options.cipher,
                openssh::version(),
                options.runs,
                options.mib,
                options.delay
            );
            println!("each cell: min / median / max; A/B is taken inside each pair\n");
            println!("{}", report.table());
        }
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-forward: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.only_openssh {
        adit::binary(options)?;
    }
    if !options.only_adit {
        openssh::prepare(options)?;
    }
    raise_file_limit();
    let scratch = Scratch::create()?;
    interrupt::install(scratch.path().to_owned())?;
    for pair in 0..options.runs {
        eprintln!("bench-forward: pair {} of {}", pair + 1, options.runs);
        let mut sides = Vec::new();
        if !options.only_openssh {
            sides.push(Side::Adit);
        }
        if !options.only_adit {
            sides.push(Side::OpenSsh);
        }
        // Whoever goes first finds a cooler machine, so they take turns.
        if pair % 2 == 1 {
            sides.reverse();
        }
        sides.insert(0, Side::Direct);
        run_pair(&sides, options, &scratch, report)?;
    }
    Ok(())
}

/// Takes each measurement on all sides before the next, so that what is compared lies close together in time.
fn run_pair(sides: &[Side], options: &Options, scratch: &Scratch, report: &mut Report) -> Result<()> {
    let start =
        |side: Side| Tunnel::start(side, options, scratch).context(side.name()).map(|tunnel| (side, tunnel));
    let tunnels = sides.iter().map(|side| start(*side)).collect::<Result<Vec<_>>>()?;
    for (suite, measure) in SUITES {
        if options.wants(suite) {
            for (side, tunnel) in &tunnels {
                take(*side, tunnel, options, measure, report)?;
            }
        }
    }
    drop(tunnels);
    if options.wants(Suite::Idle) {
        for side in sides.iter().filter(|side| **side != Side::Direct) {
            let (side, tunnel) = start(*side)?;
            take(side, &tunnel, options, idle::measure, report)?;
        }
    }
    Ok(())
}

fn take(side: Side, tunnel: &Tunnel, options: &Options, measure: Measure, report: &mut Report) -> Result<()> {
    let samples = measure(tunnel, options).map_err(|error| tunnel.explain(error)).context(side.name())?;
    report.add(side, samples);
    Ok(())
}

/// Our own sockets need two descriptors for an idle stream, and the tunnels inherit the limit.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Failing leaves the limit as it was; opening idle streams then stops early and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

type Measure = fn(&Tunnel, &Options) -> Result<Vec<Sample>>;

/// In this order; memory comes last and on fresh tunnels.
const SUITES: [(Suite, Measure); 3] =
    [(Suite::Bulk, bulk::measure), (Suite::Latency, latency::measure), (Suite::Connect, connect::measure)];
