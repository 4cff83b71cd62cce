//! `adit connect`.

use std::path::PathBuf;

use clap::Args;

use super::values::{RELAY_VARIABLE, RelayProtocol, port_number};

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// What `adit host` printed, `-` to read it from stdin, or with --relay the tunnel's id or name
    #[arg(value_name = "LINK|TUNNEL")]
    pub(crate) tunnel: String,

    /// The relay, where it is not in the link
    #[arg(long, value_name = "URL", env = RELAY_VARIABLE)]
    pub(crate) relay: Option<String>,

    /// A file with a token of the relay, instead of the one in the link. Where neither is, the environment variable
    /// ADIT_TOKEN is used
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Listen for the host's port REMOTE on LOCAL
    #[arg(short = 'p', long = "port", value_name = "LOCAL:REMOTE")]
    pub(crate) port: Vec<PortPair>,

    /// Fail where a port is taken here, instead of listening on the next free one
    #[arg(long)]
    pub(crate) same_ports: bool,

    /// Connect stdin and stdout to a port of the host, as an OpenSSH ProxyCommand does; a HOST before it is ignored
    #[arg(short = 'W', value_name = "[HOST:]PORT", value_parser = stdio_port, conflicts_with = "port")]
    pub(crate) stdio: Option<u16>,

    /// The version of the relay's protocol
    #[arg(long, value_enum, default_value_t = RelayProtocol::V1)]
    pub(crate) protocol: RelayProtocol,

    /// With v2, do without end-to-end encryption: the relay then sees what is sent, and nothing outlives a lost link
    #[arg(long)]
    pub(crate) no_e2e: bool,

    /// Accept any host where the link has no key: whoever runs the relay can then read and change everything
    #[arg(long)]
    pub(crate) allow_unpinned_host: bool,
}

/// `LOCAL:REMOTE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    pub(crate) local: u16,
    pub(crate) remote: u16,
}

impl std::str::FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (local, remote) = text.split_once(':').ok_or("write LOCAL:REMOTE, as in 8080:3000")?;
        Ok(Self { local: port_number(local)?, remote: port_number(remote)? })
    }
}

fn stdio_port(text: &str) -> Result<u16, String> {
    port_number(text.rsplit_once(':').map_or(text, |(_, port)| port))
}
