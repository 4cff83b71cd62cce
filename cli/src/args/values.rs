//! What several commands take: the relay that they talk to, and values with a form of their own.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::commands::keygen::duration;

/// Names the relay where --relay does not.
pub(crate) const RELAY_VARIABLE: &str = "ADIT_RELAY";

/// Which relay is asked, and by what right.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArgs {
    /// The relay
    #[arg(long, value_name = "URL", env = RELAY_VARIABLE)]
    pub(crate) relay: String,

    /// A file with a token. Otherwise the environment variable ADIT_TOKEN is used
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Trust the certificates in this PEM file, and no others
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RelayProtocol {
    V1,
    V2,
}

/// How long, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Length(pub(crate) u64);

impl std::str::FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = duration(text).and_then(|seconds| seconds.try_into().ok());
        seconds.map(Self).ok_or_else(|| format!("{text:?} is no time; write 30m, 1h, 7d or 1h30m"))
    }
}

/// Who a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    Anonymous,
    User(String),
    /// The relay says whether it is one.
    Range(String),
}

impl std::str::FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("user:") {
            Some("") => Err("the user has no name".into()),
            Some(name) => Ok(Self::User(name.into())),
            None if text == "anonymous" => Ok(Self::Anonymous),
            None if text.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') => {
                Ok(Self::Range(text.into()))
            }
            None => Err("write `anonymous`, user:NAME, or an address range such as 10.0.0.0/8".into()),
        }
    }
}

pub(super) fn port_number(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{text:?} is not a port from 1 to 65535"))
}
