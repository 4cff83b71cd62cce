use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::services::port_forward::{PermitListen, PermitTarget};

/// Whom a server has let in. Nobody but an [`Authenticator`](super::Authenticator) makes one that counts: the session
/// carries the one of the last step of its login.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Principal {
    /// Its name. It need not be the user name that the client sent.
    pub name: Arc<str>,
    /// What it may do.
    pub permissions: Permissions,
}

impl Principal {
    /// Somebody who may do whatever the server's own policy allows.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), permissions: Permissions::default() }
    }

    /// With these permissions instead.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = permissions;
        self
    }
}

/// What a principal may do. It can only take from what the server's own policy allows, never add to it.
///
/// Port forwarding enforces what it says about ports and time; the rest is for the application that serves the channels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// Whether ports may be forwarded at all.
    pub port_forwarding: bool,
    /// The only targets that may be connected to; `None` leaves it to the server's policy.
    pub permit_open: Option<Vec<PermitTarget>>,
    /// The only addresses that may be listened on; `None` leaves it to the server's policy.
    pub permit_listen: Option<Vec<PermitListen>>,
    /// The command that runs whatever the client asks for (`command=`).
    pub forced_command: Option<String>,
    /// Whether a terminal may be had.
    pub pty: bool,
    /// Whether an agent may be forwarded.
    pub agent_forwarding: bool,
    /// Whether X11 may be forwarded.
    pub x11_forwarding: bool,
    /// From when on no new connection is forwarded for this login.
    pub expires: Option<SystemTime>,
    /// What the authenticator wants to tell the application: key fingerprints, groups, certificate extensions.
    pub extensions: BTreeMap<String, String>,
}

impl Default for Permissions {
    fn default() -> Self {
        Self {
            port_forwarding: true,
            permit_open: None,
            permit_listen: None,
            forced_command: None,
            pty: true,
            agent_forwarding: true,
            x11_forwarding: true,
            expires: None,
            extensions: BTreeMap::new(),
        }
    }
}

impl Permissions {
    /// Nothing but to be logged in (`restrict`).
    #[must_use]
    pub fn restricted() -> Self {
        Self {
            port_forwarding: false,
            pty: false,
            agent_forwarding: false,
            x11_forwarding: false,
            ..Self::default()
        }
    }
}
