//! `adit forward`.

use std::path::PathBuf;

use clap::Args;
use ssh_core::keys::Fingerprint;

use super::session::SessionArgs;
use crate::commands::forward::{DynamicSpec, Endpoint, ForwardSpec, Place, RemoteSpec, Target};

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The server; the user is the login name and the port 22 unless given
    #[arg(value_name = "[USER@]HOST[:PORT]")]
    pub(crate) target: Target,

    /// The server's port, as `ssh` takes it; instead of one behind HOST
    #[arg(short = 'p', value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// What whoever types `ssh -N` means is what is done anyway
    #[arg(short = 'N', hide = true)]
    pub(crate) _no_command: bool,

    /// Listen here, connect from the server. Binds loopback unless told otherwise; port 0 chooses one. The path of a Unix
    /// socket may stand for [BIND:]PORT, and for HOST:PORT
    #[arg(short = 'L', value_name = "[BIND:]PORT:HOST:PORT")]
    pub(crate) local: Vec<ForwardSpec>,

    /// Listen at the server, connect from here; Unix sockets as for -L. Without HOST:PORT a proxy as for -D, that
    /// connects from here: whoever reaches it reaches what this machine does
    #[arg(short = 'R', value_name = "[BIND:]PORT[:HOST:PORT]")]
    pub(crate) remote: Vec<RemoteSpec>,

    /// Listen here as a SOCKS4a, SOCKS5 and HTTP CONNECT proxy, connect from the server
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    pub(crate) dynamic: Vec<DynamicSpec>,

    /// Connect stdin and stdout to a target of the server, as an OpenSSH ProxyCommand does; the path of a Unix socket may
    /// stand for HOST:PORT
    #[arg(short = 'W', value_name = "HOST:PORT")]
    pub(crate) stdio: Option<Place<Endpoint>>,

    /// A private key to log in with, or the public half of one that the ssh-agent has; ~/.ssh/id_ed25519, id_ecdsa and
    /// id_rsa unless given
    #[arg(short = 'i', value_name = "KEYFILE")]
    pub(crate) identity: Vec<PathBuf>,

    /// Leave the keys of the ssh-agent at SSH_AUTH_SOCK alone
    #[arg(long)]
    pub(crate) no_agent: bool,

    /// A file with the password on its first line. Otherwise the environment variable ADIT_PASSWORD is used
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Known host keys; ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts: Vec<PathBuf>,

    /// Accept this host key, or the certificates of this authority, and no other, whatever the known hosts say but @revoked
    #[arg(long, value_name = "SHA256:...")]
    pub(crate) host_key: Vec<Fingerprint>,

    /// Trust the key of an unknown host and add it to the known hosts. A changed key is still refused
    #[arg(long)]
    pub(crate) accept_new: bool,

    /// Give up if connecting and logging in take longer than this
    #[arg(long, value_name = "SECS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) connect_timeout: u64,

    /// With -W, give up when a lost connection is not back after this long. 300 is how long `adit serve` keeps the session
    #[arg(long, value_name = "SECS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) resume_timeout: u64,

    #[command(flatten)]
    pub(crate) session: SessionArgs,
}
