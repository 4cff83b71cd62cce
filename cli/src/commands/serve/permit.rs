//! What `--permit-open` and `--permit-listen` say.

use std::str::FromStr;

use ssh_core::services::port_forward::{BadPermit, BadPermitPath, PermitPath};

/// Ports, or Unix sockets, whose paths begin with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Permit<T> {
    Port(T),
    Socket(PermitPath),
}

/// A text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadPermitArg {
    #[error(transparent)]
    Port(#[from] BadPermit),
    #[error(transparent)]
    Socket(#[from] BadPermitPath),
}

impl<T: FromStr<Err = BadPermit>> FromStr for Permit<T> {
    type Err = BadPermitArg;

    fn from_str(text: &str) -> Result<Self, BadPermitArg> {
        if text.starts_with('/') { Ok(Self::Socket(text.parse()?)) } else { Ok(Self::Port(text.parse()?)) }
    }
}

#[cfg(test)]
mod tests {
    use ssh_core::services::port_forward::PermitTarget;

    use super::*;

    #[test]
    fn paths_begin_with_a_slash() {
        assert!(matches!("/run/s".parse(), Ok(Permit::<PermitTarget>::Socket(_))));
        assert!(matches!("any".parse(), Ok(Permit::<PermitTarget>::Port(_))));
        assert!("/run/../s".parse::<Permit<PermitTarget>>().is_err());
        assert!("run/s".parse::<Permit<PermitTarget>>().is_err());
    }
}
