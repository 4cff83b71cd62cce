//! What both sides of a session take.

use clap::{Args, ValueEnum};

/// What both sides of a session take.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Ciphers in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) cipher: Option<String>,

    /// Key exchange methods in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) kex: Option<String>,

    /// MACs in order of preference, separated by commas
    #[arg(long, value_name = "LIST")]
    pub(crate) mac: Option<String>,

    /// Which algorithms are offered; `hardened` offers post-quantum key exchange only and no NIST curve
    #[arg(long, value_enum, default_value_t = Policy::Default)]
    pub(crate) policy: Policy,

    /// New keys after this many bytes each way
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1024..))]
    pub(crate) rekey_bytes: Option<u64>,

    /// Forwarded connections of a session at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) max_channels: u32,

    /// Ask a silent peer for a sign of life after this many seconds; with three unanswered the connection is lost. 0
    /// never asks. 20 unless given; 5 where the session can be resumed, and then two are enough
    #[arg(long, value_name = "SECS")]
    pub(crate) keepalive: Option<u64>,

    /// End sessions with their connection. Otherwise a lost connection is replaced: nothing is lost if both sides are
    /// Adit, and with any other server `forward` logs in anew
    #[arg(long)]
    pub(crate) no_reconnect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    Default,
    Hardened,
}
