//! A bound on channels that come to nothing.

use std::time::Instant;

use crate::error::Error;

/// Counts channels that are refused, or that the peer opens and gives up before it used them, so that a flood of them
/// ends.
#[derive(Debug)]
pub(super) struct Churn {
    since: Instant,
    count: u32,
}

/// [`Limits::abandoned_channels`](crate::config::Limits::abandoned_channels) is about so long.
const CHURN_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Churn {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    /// One more; past `most` it is one too many.
    pub(super) fn add(&mut self, now: Instant, most: Option<u32>) -> Result<(), Error> {
        if now.saturating_duration_since(self.since) > CHURN_TIME {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        if most.is_some_and(|most| self.count > most) {
            return Err(crate::error::PeerMisbehaved::ChannelChurn.into());
        }
        Ok(())
    }
}
