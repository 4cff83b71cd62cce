//! What both sides of a session are made of.

use std::time::{Duration, SystemTime};

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{CryptoProvider, SignatureAlgorithm};
use ssh_core::keys::KeyKind;
use tokio::net::TcpStream;

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
    let keepalive = args.keepalive.unwrap_or(KEEPALIVE);
    limits.keepalive = (keepalive > 0).then(|| Duration::from_secs(keepalive));
    if let Some(bytes) = args.rekey_bytes {
        limits.rekey_bytes = bytes;
    }
    limits
}

/// When a peer that has been silent is taken for dead, where that costs nothing.
pub(crate) fn dead_peer_after(args: &SessionArgs) -> Duration {
    match args.keepalive.unwrap_or(KEEPALIVE_RESUMABLE) {
        0 => Duration::MAX,
        keepalive => Duration::from_secs(keepalive).saturating_mul(3),
    }
}

/// In seconds.
const KEEPALIVE: u64 = 20;
/// The same for sessions that can be resumed: a connection is replaced lightly.
const KEEPALIVE_RESUMABLE: u64 = 5;

/// Small packets leave at once. A socket that cannot do it still works.
pub(crate) fn tune(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
}

/// The time of day, by which certificates are judged.
#[expect(clippy::disallowed_methods, reason = "the command line is where the clock comes from")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// Adds ECDSA over nistp521, which is off by default, for who has said that they use such a key. Under a stricter policy
/// it stays off.
pub(crate) fn with_p521(algorithms: Algorithms, args: &SessionArgs) -> Algorithms {
    with_p521_user_keys(with_p521_host_keys(algorithms, args), args)
}

/// As [`with_p521`], for host keys alone.
pub(crate) fn with_p521_host_keys(algorithms: Algorithms, args: &SessionArgs) -> Algorithms {
    if args.policy != Policy::Default {
        return algorithms;
    }
    let host_keys = insert_p521(algorithms.host_keys());
    algorithms.with_host_keys(host_keys)
}

/// As [`with_p521`], for users' keys alone.
pub(crate) fn with_p521_user_keys(algorithms: Algorithms, args: &SessionArgs) -> Algorithms {
    if args.policy != Policy::Default {
        return algorithms;
    }
    let user_keys = insert_p521(algorithms.user_keys());
    algorithms.with_user_keys(user_keys)
}

/// RSA stays last, because some servers offer it without having such a key.
fn insert_p521(list: &[SignatureAlgorithm]) -> Vec<SignatureAlgorithm> {
    let (rsa, others): (Vec<_>, Vec<_>) =
        list.iter().partition(|algorithm| KeyKind::Rsa.algorithms().contains(algorithm));
    [others, vec![SignatureAlgorithm::EcdsaP521], rsa].concat()
}
