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

/// A peer may cause this many failed opens in [`CHURN_TIME`].
const MAX_CHURN: u32 = 5000;
const CHURN_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Churn {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    pub(super) fn add(&mut self, now: Instant) -> Result<(), Error> {
        if now.saturating_duration_since(self.since) > CHURN_TIME {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        if self.count > MAX_CHURN {
            return Err(crate::error::PeerMisbehaved::ChannelChurn.into());
        }
        Ok(())
    }
}
