//! `adit tunnel`.

use clap::{Args, Subcommand};

use super::values::{ApiArgs, Length, Who};

#[derive(Debug, Args)]
pub(crate) struct TunnelArgs {
    #[command(subcommand)]
    pub(crate) action: TunnelAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelAction {
    /// Show all tunnels of the token's owner; of everybody to the operator
    List(ApiArgs),
    /// Show a tunnel
    Show(TunnelOnlyArgs),
    /// Make a tunnel
    Create(TunnelCreateArgs),
    /// Delete a tunnel, and end what goes on in it
    Delete(TunnelOnlyArgs),
    /// Show the ports that the relay lists for a tunnel, after changing that list. What a running host offers is its own
    /// matter: `adit host --ports-file` changes it
    Ports(TunnelPortsArgs),
    /// Show who may connect to a tunnel beside the holders of tokens, after changing it
    Access(TunnelAccessArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TunnelOnlyArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelCreateArgs {
    /// Its id: 3 to 49 of a-z, 0-9 and -. One is chosen unless given
    pub(crate) tunnel: Option<String>,

    /// A text for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,

    /// A port that it offers
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Vec<u16>,

    /// Who may connect without a token: `anonymous`, user:NAME or an address range
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Forget it when nobody has used it for this long: 2h, 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<Length>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelPortsArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    /// List this port too; a host that runs offers it no sooner
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) add: Vec<u16>,

    /// List this port no more; a host that runs goes on offering it
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) remove: Vec<u16>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TunnelAccessArgs {
    /// The tunnel's id or name
    pub(crate) tunnel: String,

    /// Let these connect
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) allow: Vec<Who>,

    /// Let these not connect, whatever else allows it
    #[arg(long, value_name = "anonymous|user:NAME|CIDR")]
    pub(crate) deny: Vec<Who>,

    /// Forget all rules first
    #[arg(long)]
    pub(crate) clear: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
