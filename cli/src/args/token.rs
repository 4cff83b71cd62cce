//! `adit token`.

use clap::{Args, Subcommand};

use super::values::{ApiArgs, Length};

#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// Make a token and print it
    Create(TokenCreateArgs),
    /// Show what the token on stdin says; whether it still holds, only its relay knows
    Inspect,
    /// Take back the token on stdin. What goes on with it ends within seconds
    Revoke(TokenRevokeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// The tunnel that it is about; all of the subject's unless given, which the operator alone may make
    #[arg(long, value_name = "TUNNEL", required_unless_present = "subject")]
    pub(crate) tunnel: Option<String>,

    /// What it allows: host, connect, manage, manage:ports, create; all of them unless given, which goes only
    /// without --tunnel
    #[arg(long, value_name = "SCOPE", value_delimiter = ',', required_unless_present = "subject")]
    pub(crate) scope: Vec<String>,

    /// How long it holds: 30m, 1h, 7d. What goes on with it ends then; who comes with it later is let in for another minute,
    /// since clocks differ
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) expires: Length,

    /// Whom it is for; the operator alone may say
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The token's id, from `adit token inspect` or the audit log, instead of the token; the operator alone may
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) id: Option<String>,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}
