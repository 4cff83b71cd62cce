//! The command line: clap types and nothing else.
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "what stands here is shown as help on a terminal"
)]

mod connect;
mod forward;
mod host;
mod keygen;
mod relay;
mod serve;
mod session;
mod token;
mod tunnel;
mod values;

use clap::{ArgAction, Parser, Subcommand};

use crate::error::EXIT_CODES;

pub(crate) use connect::ConnectArgs;
pub(crate) use forward::ForwardArgs;
pub(crate) use host::{HostArgs, NamedPort};
pub(crate) use keygen::{KeyType, KeygenAction, KeygenArgs, SignArgs};
pub(crate) use relay::RelayArgs;
pub(crate) use serve::ServeArgs;
pub(crate) use session::{Policy, SessionArgs};
pub(crate) use token::{TokenAction, TokenArgs, TokenCreateArgs, TokenRevokeArgs};
pub(crate) use tunnel::{TunnelAccessArgs, TunnelAction, TunnelArgs, TunnelCreateArgs, TunnelPortsArgs};
pub(crate) use values::{ApiArgs, RELAY_VARIABLE, RelayProtocol, Who};

/// SSH tunnels: forward ports, serve forwards, make keys.
#[derive(Debug, Parser)]
#[command(name = "adit", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print events as JSON on stdout (with -W: on stderr), one object a line; ask nobody anything
    #[arg(long, global = true, display_order = LAST)]
    pub(crate) json: bool,

    /// Log to stderr; repeat for more (-vv: debug, -vvv: packets). ADIT_LOG takes a finer filter
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = LAST)]
    pub(crate) verbose: u8,
}

/// Options that every command has come after its own, with `--help`.
const LAST: usize = 900;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Offer ports of this machine to whoever has the link that is printed
    #[command(after_help = EXIT_CODES)]
    Host(Box<HostArgs>),
    /// Bring the ports of a host here
    #[command(after_help = EXIT_CODES)]
    Connect(Box<ConnectArgs>),
    /// Log in to an SSH server and forward ports
    #[command(after_help = EXIT_CODES)]
    Forward(Box<ForwardArgs>),
    /// Be an SSH server that does forwards and nothing else
    #[command(after_help = EXIT_CODES)]
    Serve(Box<ServeArgs>),
    /// Make a key, show the fingerprint of one, convert one, change its passphrase, or certify one
    #[command(after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
    Keygen(Box<KeygenArgs>),
    /// Be a relay, where hosts offer tunnels and clients connect to them; Dev Tunnels SDKs work with it too
    #[command(after_help = EXIT_CODES)]
    Relay(Box<RelayArgs>),
    /// Look at the tunnels of a relay, make and delete them, say who may use them
    #[command(after_help = EXIT_CODES)]
    Tunnel(Box<TunnelArgs>),
    /// Make tokens for the tunnels of a relay, take them back, or look at one
    #[command(after_help = EXIT_CODES)]
    Token(Box<TokenArgs>),
    /// Turn a password into a hash for `serve --user`
    #[command(after_help = EXIT_CODES)]
    HashPassword,
    /// Print what completes these command lines in a shell: `source <(adit completions bash)`
    Completions {
        /// The shell to complete them in
        shell: clap_complete::Shell,
    },
    /// Print the manual page of a command, for `man -l -`, or of `adit` itself
    Man {
        /// The command, as in `adit man keygen sign`
        command: Vec<String>,
    },
}
