//! What `adit host` and `adit connect` have in common.

use std::path::Path;

use relay::dial::{DialError, Dialer, Proxies};
use relay::host::Protocol;

use crate::args::RelayProtocol;
use crate::error::{CliError, Code};

/// How relays are reached: with the certificates of the file, if there is one, and by the proxies of the environment.
///
/// # Errors
/// The file makes no sense.
pub(crate) fn dialer(ca_file: Option<&Path>) -> Result<Dialer, CliError> {
    Dialer::new(ca_file, Proxies::from_environment()).map_err(|error| dial_error(&error, End::Host))
}

/// Which end asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Host,
    Client,
}

/// Why a relay does not let us in, with what to do about it.
pub(crate) fn dial_error(error: &DialError, end: End) -> CliError {
    let token = match end {
        End::Host => "give a token that holds with --token-file FILE",
        End::Client => "ask whoever runs the host for a new link, or give a token with --token-file FILE",
    };
    let (code, remedy) = match error {
        DialError::Proxy(_) => (Code::Usage, ""),
        DialError::Authority { .. } => (
            Code::Network,
            "let it have one that an authority has signed, or make one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`",
        ),
        DialError::BadUrl(_) => (Code::Usage, "give one that begins with http:// or https://"),
        DialError::CaFile { .. } => (Code::File, ""),
        DialError::Unreachable { .. } => {
            (Code::Network, "check that the relay runs and that this machine can reach it")
        }
        DialError::Certificate { .. } => {
            (Code::Network, "check the URL, or give the authority's certificate with --ca-file FILE")
        }
        DialError::Refused { status, detail, .. } => {
            let remedy = match status {
                401 | 403 => token,
                404 => "check the name; the tunnel may have been deleted or have expired",
                400 | 426 => "try the other --protocol",
                _ => try_again(*status, detail),
            };
            (code_of(*status, detail), remedy)
        }
        DialError::NoRelay { .. } => {
            (Code::Protocol, "check the URL, also whether it has to begin with http:// or with https://")
        }
        _ => (Code::Internal, ""),
    };
    let separator = if remedy.is_empty() { "" } else { "; " };
    CliError::new(code, format!("{error}{separator}{remedy}"))
}

/// What the status of a refusal comes to, whatever was asked for.
pub(crate) fn code_of(status: u16, detail: &str) -> Code {
    match status {
        401 | 403 => Code::Auth,
        // Waiting makes no room.
        429 if detail.starts_with("the limit `") && !detail.contains("try again") => Code::RemoteRefused,
        408 | 425 | 429 | 500.. => Code::Network,
        _ => Code::RemoteRefused,
    }
}

/// What to do about a refusal that may not last, unless it says so itself.
pub(crate) fn try_again(status: u16, detail: &str) -> &'static str {
    match code_of(status, detail) {
        Code::Network if detail.contains("try again") => "",
        Code::Network => "try again in a moment",
        _ => "",
    }
}

impl From<RelayProtocol> for Protocol {
    fn from(protocol: RelayProtocol) -> Self {
        match protocol {
            RelayProtocol::V1 => Self::V1,
            RelayProtocol::V2 => Self::V2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_wait_is_advised_where_it_helps_and_is_not_said_already() {
        for (detail, advice) in [
            ("the limit `tunnels_per_owner` of 100 is reached; `adit tunnel delete` makes room", ""),
            ("the limit `requests_per_minute` of 600 is reached; try again in 7 s", ""),
            ("too many requests", "try again in a moment"),
        ] {
            assert_eq!(try_again(429, detail), advice, "{detail}");
            let is_lasting = detail.contains("makes room");
            assert_eq!(code_of(429, detail) == Code::RemoteRefused, is_lasting, "{detail}");
        }
    }
}
