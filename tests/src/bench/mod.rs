//! The benchmarks: what is compared, what is measured on it, and what comes out.

mod bulk;
mod clients;
mod connect;
mod delay;
mod error;
mod events;
mod forward;
mod idle;
mod interrupt;
mod latency;
mod options;
mod pattern;
mod process;
mod procfs;
mod relay;
mod report;
mod scratch;
mod target;
mod through_forward;
mod through_openssh;
mod through_relay;
mod tunnel;

use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use error::{Context, Result};
use options::Load;
use report::{Report, Sample};
use tunnel::Tunnel;

pub use forward::main as forward;
pub use relay::main as relay;

/// Prints what was found, also when it broke off half way.
fn finish(
    program: &str,
    load: &Load,
    report: &Report,
    (heading, settings): (String, Value),
    outcome: Result<()>,
) -> ExitCode {
    if !report.is_empty() {
        if load.json {
            println!("{:#}", report.json(settings));
        } else {
            println!("{heading}");
            println!("each cell: min / median / max; ratios are taken inside each run\n");
            println!("{}", report.table());
        }
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A tunnel and the column that its samples belong into.
struct Side {
    name: &'static str,
    column: usize,
    tunnel: Tunnel,
}

impl Side {
    fn start(name: &'static str, column: usize, start: impl FnOnce() -> Result<Tunnel>) -> Result<Self> {
        Ok(Self { name, column, tunnel: start().context(name)? })
    }

    fn take(&self, report: &mut Report, measure: impl FnOnce(&Tunnel) -> Result<Vec<Sample>>) -> Result<()> {
        let samples = measure(&self.tunnel).map_err(|error| self.tunnel.explain(error)).context(self.name)?;
        report.add(self.column, samples);
        Ok(())
    }
}

/// Our own sockets need two descriptors for an idle stream, and the tunnels inherit the limit; what it is now.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // Failing leaves the limit as it was, and the caller says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current
}

/// A measurement that needs nothing but the load.
type Measure = fn(&Tunnel, &Load) -> Result<Vec<Sample>>;
