//! `adit host`.

use std::path::PathBuf;

use clap::Args;

use super::values::{Length, RELAY_VARIABLE, RelayProtocol, Who, port_number};
use crate::commands::forward::DynamicSpec;

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// The ports of this machine to offer, perhaps with names for people
    #[arg(value_name = "PORT|NAME=PORT", required_unless_present = "ports_file")]
    pub(crate) port: Vec<NamedPort>,

    /// Offer the ports in this file too, one PORT or NAME=PORT a line, # and what follows is a comment. What is changed there
    /// counts within seconds, for those who are connected as well; a file with a mistake changes nothing. Connections that
    /// are open go on
    #[arg(long, value_name = "FILE")]
    pub(crate) ports_file: Option<PathBuf>,

    /// The relay. Unless given, this machine is the relay too, as long as the command runs
    #[arg(long, value_name = "URL", env = RELAY_VARIABLE)]
    pub(crate) relay: Option<String>,

    /// The tunnel's id or name at the relay; it is made if there is none, and stays. Unless given, an id is chosen, and the
    /// tunnel goes with the command. Without --relay, what has a name is kept: its links hold when it is started again
    #[arg(long, value_name = "NAME")]
    pub(crate) tunnel: Option<String>,

    /// A file with a token of the relay. Otherwise the environment variable ADIT_TOKEN is used
    #[arg(long, value_name = "FILE", requires = "relay")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE", requires = "relay")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Who may connect without the token of the link: `anonymous`, user:NAME or an address range. That holds until the
    /// tunnel is hosted without it; rules of `adit tunnel access` stay as they are
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Stop after this long, when the link holds no more either: 2h, 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Length>,

    /// Without --relay, the address to listen on; port 0 chooses one
    #[arg(long, value_name = "[HOST:]PORT", conflicts_with = "relay")]
    pub(crate) listen: Option<DynamicSpec>,

    /// The private key that clients know the host by. Unless given, one is made on the first start and kept in the user's
    /// data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Option<PathBuf>,

    /// The version of the relay's protocol
    #[arg(long, value_enum, default_value_t = RelayProtocol::V1)]
    pub(crate) protocol: RelayProtocol,

    /// With v2, let clients do without end-to-end encryption: the relay then sees what they send
    #[arg(long)]
    pub(crate) no_e2e: bool,
}

/// `PORT` or `NAME=PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedPort {
    pub(crate) name: Option<String>,
    pub(crate) port: u16,
}

impl std::str::FromStr for NamedPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, port) = match text.split_once('=') {
            Some((name, port)) => (Some(name.to_owned()), port),
            None => (None, text),
        };
        let is_name =
            |name: &String| (1..=60).contains(&name.chars().count()) && !name.chars().any(char::is_control);
        if !name.as_ref().is_none_or(is_name) {
            return Err("a name has 1 to 60 characters".into());
        }
        Ok(Self { name, port: port_number(port)? })
    }
}
