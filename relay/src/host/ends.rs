//! The host's end of the sessions with its clients.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::config::Limits;
use ssh_core::keys::SigningKey;
use ssh_core::server::{
    self, AuthAttempt, AuthDecision, AuthOffer, AuthStart, Authenticator, DetachedLimits, DetachedSessions,
    Method, Principal,
};

use super::Config;

/// Connections of one client at once.
const CHANNELS: usize = 1024;

/// What all sessions with clients share, over all WebSockets: those whose stream is lost wait here for their client.
pub(super) fn for_clients(config: &Config, key: SigningKey) -> Result<Arc<server::Config>, Error> {
    let mut limits = Limits::default();
    limits.channels = CHANNELS;
    server(config, key, limits, DetachedLimits::default())
}

/// The same for the sessions inside connections of v2.
pub(super) fn for_connections(config: &Config, key: SigningKey) -> Result<Arc<server::Config>, Error> {
    let mut detached = DetachedLimits::default();
    detached.offer.window = CONNECTION_REPLAY;
    server(config, key, connection_limits(), detached)
}

/// There is one for each connection, so it may hold less than a session that carries all of them, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// The same for what has not been acknowledged. So much of each, of many at once, waits for a link that is lost.
pub(crate) const CONNECTION_REPLAY: usize = 2 * 1024 * 1024;

/// Of a session inside a connection of v2, at either end.
pub(crate) fn connection_limits() -> Limits {
    let mut limits = Limits::default();
    limits.channels = 4;
    limits.session_window = CONNECTION_WINDOW;
    limits.max_channel_window = CONNECTION_WINDOW;
    limits
}

fn server(
    config: &Config,
    key: SigningKey,
    limits: Limits,
    mut detached: DetachedLimits,
) -> Result<Arc<server::Config>, Error> {
    // All clients have the same name.
    detached.count_per_user = detached.count;
    server::Config::builder(LetThrough)
        .host_key(key)
        .detached_sessions(DetachedSessions::new(detached))
        .limits(limits)
        .provider(config.provider)
        .build()
}

/// Whoever the relay has let through may come in: the right to connect is the relay's to check, and the client's to have the
/// host's key.
#[derive(Debug)]
struct LetThrough;

impl Authenticator for LetThrough {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready([Method::None])
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        std::future::ready(AuthDecision::Accept(Principal::new(attempt.user))).boxed()
    }
}
