//! Descriptors that connections may not take, so that logs, keys and the answer to a refused request can be opened still.

use tokio::net::TcpStream;

/// The highest descriptor that a connection may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptors {
    most: Option<u64>,
}

impl Descriptors {
    /// Takes as many as the system allows, and keeps `reserved` of them.
    pub(super) fn reserve(reserved: usize) -> Self {
        let reserved = u64::try_from(reserved).unwrap_or(u64::MAX);
        // Where so few are allowed that this would leave none for connections, half of them are.
        Self { most: allowed().map(|allowed| allowed.saturating_sub(reserved).max(allowed / 2)) }
    }

    /// Whether a connection may stay. The system always gives the lowest descriptor that is free, so its number says how
    /// many are taken.
    pub(super) fn admits(self, stream: &TcpStream) -> bool {
        self.most.is_none_or(|most| number(stream).is_none_or(|number| number < most))
    }
}

#[cfg(unix)]
fn allowed() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the number of open files stays limited as it is");
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(unix)]
fn number(stream: &TcpStream) -> Option<u64> {
    use std::os::fd::AsRawFd as _;
    u64::try_from(stream.as_raw_fd()).ok()
}

#[cfg(not(unix))]
fn allowed() -> Option<u64> {
    None
}

#[cfg(not(unix))]
fn number(_stream: &TcpStream) -> Option<u64> {
    None
}
