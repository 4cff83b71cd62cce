//! Choices that weaken security.

use futures::future::{BoxFuture, FutureExt as _};

use super::{AuthAttempt, AuthDecision, AuthOffer, AuthStart, Authenticator, Principal};
use crate::protocol::Method;

/// Lets everybody in, under whatever name.
#[derive(Debug, Clone, Copy)]
pub struct AcceptEverybody;

impl Authenticator for AcceptEverybody {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready([Method::None, Method::PublicKey, Method::Password, Method::KeyboardInteractive])
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        std::future::ready(AuthDecision::Accept(Principal::new(attempt.user))).boxed()
    }
}
