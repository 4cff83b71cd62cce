//! The command lines.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// What every benchmark sends, and how often.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// Number of runs; each takes every measurement on everything that is compared.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) runs: u32,

    /// MiB a bulk transfer carries, each direction. CPU time is counted in ticks of about 10 ms, so small
    /// transfers give coarse CPU figures.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(crate) mib: u64,

    /// Round trips of each latency measurement.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) round_trips: u32,

    /// Connections of each connection-rate measurement.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u32).range(16..=20_000))]
    pub(crate) connections: u32,

    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub(crate) json: bool,

    /// The adit binary; by default the one next to this program.
    #[arg(long, value_name = "PATH")]
    pub(crate) adit: Option<PathBuf>,
}

/// Measures a local port forward through Adit (A) and through OpenSSH (B), pair by pair.
#[derive(Parser, Debug)]
#[command(name = "bench-forward")]
pub(crate) struct ForwardOptions {
    #[command(flatten)]
    pub(crate) load: Load,

    /// Round trip between both ends of each tunnel, in milliseconds, made by a proxy between them that holds every byte
    /// back for half of it. The proxy's CPU time is not counted.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) delay: u64,

    /// Cipher both tunnels must use.
    #[arg(long, default_value = CIPHER)]
    pub(crate) cipher: String,

    /// Take only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<ForwardSuite>,

    /// Measure OpenSSH alone.
    #[arg(long, conflicts_with = "only_adit")]
    pub(crate) only_openssh: bool,

    /// Measure Adit alone (ssh-keygen is still needed, for the keys).
    #[arg(long)]
    pub(crate) only_adit: bool,

    /// Measure Adit (A) against Adit without reconnecting (B), which OpenSSH's column then shows.
    #[arg(long, conflicts_with_all = ["only_openssh", "only_adit"])]
    pub(crate) reconnect_cost: bool,

    /// The OpenSSH server.
    #[arg(long, value_name = "PATH", default_value = "/usr/sbin/sshd")]
    pub(crate) sshd: PathBuf,

    /// Idle forwarded connections of the memory measurement.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4000))]
    pub(crate) idle_streams: u32,
}

/// Measures a tunnel through a relay (`adit relay`, `adit host`, `adit connect`) against `adit forward` to `adit serve` and
/// against no tunnel at all, run by run; and the memory of idle clients.
#[derive(Parser, Debug)]
#[command(name = "bench-relay")]
pub(crate) struct RelayOptions {
    #[command(flatten)]
    pub(crate) load: Load,

    /// The version of the relay's protocol.
    #[arg(long, value_enum, default_value_t = Version::V2)]
    pub(crate) protocol: Version,

    /// With v2, without encryption between the ends.
    #[arg(long)]
    pub(crate) no_e2e: bool,

    /// Take only these measurements.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<RelaySuite>,

    /// Idle clients of the memory measurement. Each is the whole of `adit connect` but its listeners: a WebSocket, the SSH
    /// session on it (with the relay in v2, with the host in v1), and its keepalives. They live in this process.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) clients: u32,
}

/// A group of metrics that is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForwardSuite {
    /// Throughput and CPU time, each direction.
    Bulk,
    /// Ping-pong with 1 byte and 1 KiB.
    Latency,
    /// Connections a second.
    Connect,
    /// Memory of idle streams.
    Idle,
}

/// A group of metrics that is measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RelaySuite {
    /// Throughput and CPU time, each direction.
    Bulk,
    /// Ping-pong with 1 byte and 1 KiB.
    Latency,
    /// Connections a second.
    Connect,
    /// Memory of idle clients.
    Clients,
}

/// A version of the relay's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Load {
    pub(crate) fn bulk_bytes(&self) -> u64 {
        self.mib * 1024 * 1024
    }
}

impl ForwardOptions {
    pub(crate) fn wants(&self, suite: ForwardSuite) -> bool {
        self.only.is_empty() || self.only.contains(&suite)
    }
}

impl RelayOptions {
    pub(crate) fn wants(&self, suite: RelaySuite) -> bool {
        self.only.is_empty() || self.only.contains(&suite)
    }
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// What Adit's ends agree on by themselves.
pub(crate) const CIPHER: &str = "aes256-gcm@openssh.com";
