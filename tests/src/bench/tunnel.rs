//! A running forward, whoever provides it.

#![expect(clippy::disallowed_methods, reason = "a benchmark asks the clock")]

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::adit;
use super::error::{BenchError, Context, Result};
use super::openssh;
use super::options::Options;
use super::process::Process;
use super::procfs;
use super::scratch::Scratch;
use super::target::{self, Target, op};

/// Who carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Nobody: straight to the target, for orientation.
    Direct,
    Adit,
    OpenSsh,
    /// Adit with `--no-reconnect`, in OpenSSH's place.
    AditWithout,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Adit => "adit",
            Self::OpenSsh => "openssh",
            Self::AditWithout => "adit --no-reconnect",
        }
    }
}

/// The two processes of a tunnel. The client is dropped, and so killed, first.
pub(crate) struct Ends {
    pub(crate) client: Process,
    pub(crate) server: Process,
}

/// A forward that is ready, and the target behind it.
pub(crate) struct Tunnel {
    entry: SocketAddr,
    ends: Option<Ends>,
    target: Target,
}

/// KiB resident in the two process trees.
#[derive(Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) client_kib: u64,
    pub(crate) server_kib: u64,
}

impl Tunnel {
    /// Starts server and client and carries a byte both ways through them.
    pub(crate) fn start(side: Side, options: &Options, scratch: &Scratch) -> Result<Self> {
        let target = Target::start()?;
        let (entry, mut ends) = match side {
            Side::Direct => (target.address(), None),
            Side::Adit => adit::start(target.address(), options, scratch, &[]).map(with_ends)?,
            Side::AditWithout => {
                adit::start(target.address(), options, scratch, &["--no-reconnect"]).map(with_ends)?
            }
            Side::OpenSsh => openssh::start(target.address(), options, scratch).map(with_ends)?,
        };
        await_first_byte(entry, ends.as_mut())?;
        Ok(Self { entry, ends, target })
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

    /// CPU seconds both ends have used since they started; `None` without a tunnel.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>> {
        let Some(ends) = &self.ends else { return Ok(None) };
        let client = procfs::cpu_seconds(ends.client.id()).context(ends.client.name())?;
        let server = procfs::cpu_seconds(ends.server.id()).context(ends.server.name())?;
        Ok(Some(client + server))
    }

    /// Memory of both ends; `None` without a tunnel.
    pub(crate) fn resident(&self) -> Result<Option<Resident>> {
        let Some(ends) = &self.ends else { return Ok(None) };
        let client_kib = procfs::resident_kib(ends.client.id()).context(ends.client.name())?;
        let server_kib = procfs::resident_kib(ends.server.id()).context(ends.server.name())?;
        Ok(Some(Resident { client_kib, server_kib }))
    }

    /// Adds what the processes logged to an error of a measurement.
    pub(crate) fn explain(&self, error: BenchError) -> BenchError {
        match &self.ends {
            Some(ends) => ends.explain(&error),
            None => error,
        }
    }
}

impl Ends {
    fn check_alive(&mut self) -> Result<()> {
        let alive = self.server.check_alive().and_then(|()| self.client.check_alive());
        alive.map_err(|error| self.explain(&error))
    }

    /// Often it is the other end that knows the reason.
    fn explain(&self, error: &BenchError) -> BenchError {
        BenchError::new(format!("{error}\n{}\n{}", self.client.last_words(), self.server.last_words()))
    }
}

fn await_first_byte(entry: SocketAddr, mut ends: Option<&mut Ends>) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while let Err(error) = touch(entry) {
        if let Some(ends) = ends.as_deref_mut() {
            ends.check_alive()?;
        }
        if Instant::now() > deadline {
            let error = BenchError::new(format!("the forward carries nothing: {error}"));
            return Err(match ends {
                Some(ends) => ends.explain(&error),
                None => error,
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn with_ends((entry, ends): (SocketAddr, Ends)) -> (SocketAddr, Option<Ends>) {
    (entry, Some(ends))
}

fn touch(entry: SocketAddr) -> std::io::Result<()> {
    target::exchange(&mut target::connect(entry)?, op::TOUCH)
}

/// A handshake takes milliseconds; a busy machine may take its time over the rest.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(20);
