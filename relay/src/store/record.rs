//! What is kept of a tunnel.

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::model::Tunnel;
use crate::tokens::random_id;

/// A tunnel and what the API does not show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The tunnel, without tokens and status.
    pub tunnel: Tunnel,
    /// The principal that made it.
    pub owner: String,
    /// When a host or client was last connected, in seconds since 1970.
    pub used: u64,
    /// Tells it from the tunnels that had its id before and will have it later: tokens for one tunnel name it, so that they
    /// end with theirs. None if it was made by a version that did not have this; such a tunnel's tokens name none either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

impl Record {
    /// A new tunnel, of a generation of its own. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`].
    pub fn new(tunnel: Tunnel, owner: String, now: u64) -> Result<Self, StoreError> {
        Ok(Self { tunnel, owner, used: now, generation: Some(random_id()?) })
    }

    /// Whether both are states of one tunnel, and not of two that have had an id one after the other.
    #[must_use]
    pub fn is_same_tunnel(&self, other: &Self) -> bool {
        self.tunnel.tunnel_id == other.tunnel.tunnel_id && self.generation == other.generation
    }
}
