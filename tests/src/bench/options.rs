//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures a local port forward through Adit (A) and through OpenSSH (B), pair by pair.
#[derive(Parser, Debug)]
#[command(name = "bench-forward")]
pub(crate) struct Options {
    /// Number of A/B pairs.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// MiB a bulk transfer carries, each direction. CPU time is counted in ticks of about 10 ms, so small
    /// transfers give coarse CPU figures.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) mib: u64,

    /// Round trip between both ends of each tunnel, in milliseconds, made by a proxy between them that holds every byte
    /// back for half of it. The proxy's CPU time is not counted.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) delay: u64,

    /// Cipher both tunnels must use.
    #[arg(long, default_value = "aes256-gcm@openssh.com")]
    pub(crate) cipher: String,

    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub(crate) json: bool,

    /// Take only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Suite>,

    /// Measure OpenSSH alone.
    #[arg(long, conflicts_with = "only_adit")]
    pub(crate) only_openssh: bool,

    /// Measure Adit alone (ssh-keygen is still needed, for the keys).
    #[arg(long)]
    pub(crate) only_adit: bool,

    /// The adit binary; by default the one next to this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) adit: Option<PathBuf>,

    /// The OpenSSH server.
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/sshd")]
    pub(crate) sshd: PathBuf,

    /// Idle forwarded connections of the memory measurement.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub(crate) idle_streams: u32,

    /// Round trips of each latency measurement.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) round_trips: u32,

    /// Connections of each connection-rate measurement.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u32).range(16..=20_000))]
    pub(crate) connections: u32,
}

/// A group of metrics that is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Throughput and CPU time, each direction.
    Bulk,
    /// Ping-pong with 1 byte and 1 KiB.
    Latency,
    /// Connections a second.
    Connect,
    /// Memory of idle streams.
    Idle,
}

impl Options {
    pub(crate) fn wants(&self, suite: Suite) -> bool {
        self.only.is_empty() || self.only.contains(&suite)
    }

    pub(crate) fn bulk_bytes(&self) -> u64 {
        self.mib * 1024 * 1024
    }
}
