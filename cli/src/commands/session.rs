//! What both sides of a session are made of.

use std::time::Duration;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::CryptoProvider;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::args::{Policy, SessionArgs};
use crate::error::CliError;

/// Who does the cryptography of the command.
pub(crate) const PROVIDER: &CryptoProvider = &ssh_core::crypto::aws_lc::PROVIDER;

/// A session that was told to end gets this long to tell its peer.
pub(crate) const FAREWELL: Duration = Duration::from_secs(2);

/// What is offered.
pub(crate) fn algorithms(args: &SessionArgs) -> Result<Algorithms, CliError> {
    let mut algorithms = match args.policy {
        Policy::Default => Algorithms::default(),
        Policy::Hardened => Algorithms::hardened(),
    };
    let bad = |option: &str, error: ssh_core::config::UnknownAlgorithm| {
        CliError::usage(format!("{option}: {error}"))
    };
    if let Some(list) = &args.kex {
        algorithms = algorithms.with_kex(list).map_err(|error| bad("--kex", error))?;
    }
    if let Some(list) = &args.cipher {
        algorithms = algorithms.with_ciphers(list).map_err(|error| bad("--cipher", error))?;
    }
    if let Some(list) = &args.mac {
        algorithms = algorithms.with_macs(list).map_err(|error| bad("--mac", error))?;
    }
    Ok(algorithms)
}

/// What a session may cost.
pub(crate) fn limits(args: &SessionArgs) -> Limits {
    let mut limits = Limits::default();
    limits.channels = usize::try_from(args.max_channels).unwrap_or(usize::MAX);
    limits.keepalive = (args.keepalive > 0).then(|| Duration::from_secs(args.keepalive));
    if let Some(bytes) = args.rekey_bytes {
        limits.rekey_bytes = bytes;
    }
    limits
}

/// Small packets leave at once. A socket that cannot do it still works.
pub(crate) fn tune(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

/// The two tasks under a session.
pub(crate) struct Wires(JoinSet<()>);

impl Wires {
    pub(crate) fn spawn(driver: ssh_core::Driver) -> Self {
        let (reading, writing) = driver.into_loops();
        let mut tasks = JoinSet::new();
        tasks.spawn(reading);
        tasks.spawn(writing);
        Self(tasks)
    }

    /// Waits until the peer has been told of the end, but not for long.
    pub(crate) async fn flushed(mut self) {
        let all = async { while self.0.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FAREWELL, all).await;
    }
}
