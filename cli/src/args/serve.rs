//! `adit serve`.

use std::path::PathBuf;

use clap::Args;
use ssh_core::services::port_forward::{PermitListen, PermitTarget};

use super::session::SessionArgs;
use crate::commands::forward::DynamicSpec;
use crate::commands::serve::{AuthorizedKeysArg, Permit, Requirement, UserArg};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on; port 0 chooses one
    #[arg(long, value_name = "[HOST:]PORT")]
    pub(crate) listen: DynamicSpec,

    /// A private host key. Unless given, one is made on the first start and kept in the user's data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) host_key: Vec<PathBuf>,

    /// A certificate for one of the host keys, as `ssh-keygen -h` or `adit keygen sign --host` make them
    #[arg(long, value_name = "FILE-cert.pub")]
    pub(crate) host_cert: Vec<PathBuf>,

    /// Who may log in by key: any user name, or only NAME
    #[arg(long, value_name = "[NAME:]FILE")]
    pub(crate) authorized_keys: Vec<AuthorizedKeysArg>,

    /// Whose certificates let in the users that they name: the public keys of authorities, one a line; for any user
    /// name, or only NAME
    #[arg(long, value_name = "[NAME:]FILE")]
    pub(crate) trusted_ca: Vec<AuthorizedKeysArg>,

    /// Who may log in by password: the first line of the file holds its hash, by `adit hash-password` or
    /// `openssl passwd -6`
    #[arg(long, value_name = "NAME:PASSWORDFILE")]
    pub(crate) user: Vec<UserArg>,

    /// The methods that a login takes, in order; `,` parts alternatives, as in `publickey+password,publickey+publickey`.
    /// Any one method unless given
    #[arg(long, value_name = "METHOD+METHOD,...")]
    pub(crate) require: Option<Requirement>,

    /// A text for everybody who is about to log in
    #[arg(long, value_name = "FILE")]
    pub(crate) banner: Option<PathBuf>,

    /// Do not delay and turn away sources whose logins fail too often
    #[arg(long)]
    pub(crate) no_penalties: bool,

    /// Where clients may connect to: `any`, HOST:PORT or HOST:*; the path of a Unix socket or DIRECTORY/*, which `any` does
    /// not include
    #[arg(long, value_name = "any|HOST:PORT|PATH", required_unless_present = "permit_listen", num_args = 1..)]
    pub(crate) permit_open: Vec<Permit<PermitTarget>>,

    /// Where clients may listen here: `any`, `[BIND:]PORT` or `BIND:*`; a path as above. Nowhere unless given
    #[arg(long, value_name = "any|[BIND:]PORT|PATH", num_args = 1..)]
    pub(crate) permit_listen: Vec<Permit<PermitListen>>,

    /// Sessions at once. One that waits for its client to come back counts, but gives way to a new one
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_sessions: u32,

    /// Change a limit, by the name that those who meet it are told: login=60, waiting_per_source=64. A name that does not exist
    /// shows those that do
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,

    #[command(flatten)]
    pub(crate) session: SessionArgs,
}
