//! How far the set-up of a connection is, by the names and numbers of the Dev Tunnels SSH libraries.

use std::collections::VecDeque;

/// A stage of a connection's set-up, which each connection passes at most once.
///
/// They come in the order [`OpeningSshSessionConnection`](Self::OpeningSshSessionConnection), version exchange, key exchange,
/// [`OpenedSshSessionConnection`](Self::OpenedSshSessionConnection), authentication: as with the Dev Tunnels SSH libraries,
/// whose numbers have another order. A connection without any security, and one that carries an older session on, has no
/// authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Progress {
    /// There is a stream, and the set-up begins.
    OpeningSshSessionConnection = 0,
    /// The keys are in use: what follows is authentication.
    OpenedSshSessionConnection = 1,
    /// Our version line leaves (RFC 4253 §4.2).
    StartingProtocolVersionExchange = 2,
    /// The peer's version line has come.
    CompletedProtocolVersionExchange = 3,
    /// The first key exchange goes on (RFC 4253 §7).
    StartingKeyExchange = 4,
    /// The first key exchange is done.
    CompletedKeyExchange = 5,
    /// A client has accepted the host key; a server has received the first request of a user (RFC 4252 §5).
    StartingSessionAuthentication = 6,
    /// The user is let in.
    CompletedSessionAuthentication = 7,
}

impl Progress {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// The stages of one connection that nobody has heard of yet.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    passed: u8,
    untold: VecDeque<Progress>,
}

impl Stages {
    /// Notes a stage, unless it was passed before.
    pub(crate) fn pass(&mut self, stage: Progress) {
        if !self.has_passed(stage) {
            self.passed |= Self::bit(stage);
            self.untold.push_back(stage);
        }
    }

    pub(crate) fn has_passed(&self, stage: Progress) -> bool {
        self.passed & Self::bit(stage) != 0
    }

    pub(crate) fn next(&mut self) -> Option<Progress> {
        self.untold.pop_front()
    }

    pub(crate) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    const fn bit(stage: Progress) -> u8 {
        1_u8.wrapping_shl(stage as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_told_once() {
        let mut stages = Stages::default();
        for stage in [Progress::StartingKeyExchange, Progress::CompletedSessionAuthentication] {
            stages.pass(stage);
            stages.pass(stage);
            assert!(stages.has_passed(stage));
            assert_eq!((stages.next(), stages.next()), (Some(stage), None));
            stages.pass(stage);
            assert!(!stages.has_untold());
        }
        assert!(!stages.has_passed(Progress::OpeningSshSessionConnection));
    }
}
