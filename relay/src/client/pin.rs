//! Whose key has to be at the other end.

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::HostKeyVerifier;
use ssh_core::error::HostKeyError;
use ssh_core::keys::{Fingerprint, HostKey};

/// Which host is the right one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    /// The one with this key, as a link from the host says.
    Key(Fingerprint),
    /// Any: whoever runs the relay can read and change everything.
    None,
}

impl HostKeyVerifier for Pin {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let found = shown.key.fingerprint();
        let checked = match self {
            Self::Key(pinned) if *pinned != found => Err(HostKeyError {
                message: format!(
                    "the host's key is {found}, and the link says {pinned}: somebody else is at the other end of the \
                     tunnel, or the host has a new key; ask whoever runs the host for a new link"
                )
                .into(),
                key: shown.key.clone(),
            }),
            Self::Key(_) | Self::None => Ok(()),
        };
        std::future::ready(checked).boxed()
    }
}
