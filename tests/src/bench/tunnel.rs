//! Something that carries connections to a target, whoever provides it.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::error::{BenchError, Context, Result};
use super::process::Process;
use super::procfs;
use super::target::{self, Target, op};

/// A tunnel that is ready, and the target behind it.
pub(crate) struct Tunnel {
    entry: SocketAddr,
    /// Dropped, and so killed, in this order; none where connections go straight to the target.
    processes: Vec<Process>,
    target: Target,
}

impl Tunnel {
    /// Starts a target, then by `open` what leads to it: where it is entered, and its processes, those nearest to the entry
    /// first. Carries a byte both ways through them.
    pub(crate) fn start(open: impl FnOnce(SocketAddr) -> Result<(SocketAddr, Vec<Process>)>) -> Result<Self> {
        let target = Target::start()?;
        let (entry, processes) = open(target.address())?;
        let mut tunnel = Self { entry, processes, target };
        tunnel.await_first_byte()?;
        Ok(tunnel)
    }

    /// Straight to the target.
    pub(crate) fn direct() -> Result<Self> {
        Self::start(|target| Ok((target, Vec::new())))
    }

    pub(crate) fn connect(&self) -> Result<TcpStream> {
        target::connect(self.entry).context("connecting to the forward")
    }

    pub(crate) fn entry(&self) -> SocketAddr {
        self.entry
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// CPU seconds all processes have used since they started; `None` without a tunnel.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>> {
        if self.processes.is_empty() {
            return Ok(None);
        }
        let seconds = |process: &Process| procfs::cpu_seconds(process.id()).context(process.name());
        self.processes.iter().map(seconds).sum::<Result<f64>>().map(Some)
    }

    /// KiB resident in the tree of each process.
    pub(crate) fn resident(&self) -> Result<Vec<u64>> {
        let resident = |process: &Process| procfs::resident_kib(process.id()).context(process.name());
        self.processes.iter().map(resident).collect()
    }

    /// Adds what the processes logged to an error of a measurement: often it is another that knows the reason.
    pub(crate) fn explain(&self, error: BenchError) -> BenchError {
        let words = self.processes.iter().map(|process| format!("\n{}", process.last_words()));
        BenchError::new(format!("{error}{}", words.collect::<String>()))
    }

    fn await_first_byte(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while let Err(error) = touch(self.entry) {
            let alive = self.processes.iter_mut().try_for_each(Process::check_alive);
            alive.map_err(|error| self.explain(error))?;
            if Instant::now() > deadline {
                return Err(self.explain(BenchError::new(format!("the tunnel carries nothing: {error}"))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

fn touch(entry: SocketAddr) -> std::io::Result<()> {
    target::exchange(&mut target::connect(entry)?, op::TOUCH)
}

/// A handshake takes milliseconds; a busy machine may take its time over the rest.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);
