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

/// What all sessions of clients share, over all WebSockets: those whose stream is lost wait here for their client.
pub(super) fn server(config: &Config, key: SigningKey) -> Result<Arc<server::Config>, Error> {
    let mut limits = Limits::default();
    limits.channels = CHANNELS;
    let mut detached = DetachedLimits::default();
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
