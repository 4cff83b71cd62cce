use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::Credential;
use crate::connection_info::ConnectionInfo;

/// Chooses what to authenticate with, once the server has said which methods it takes.
///
/// The first attempt is always `none`; then the policy is asked before each one, also after a partial success
/// (RFC 4252 §5.1). After 64 attempts the login fails, so one that always answers the same comes to an end.
pub trait AuthPolicy: Send + Sync + fmt::Debug {
    /// What to try now. The login deadline goes on meanwhile.
    ///
    /// # Errors
    /// Whatever is wrong with the connection. The login ends at once: the server is told nothing but that it was
    /// cancelled, and the caller gets the very error as [`Error::Policy`](crate::Error::Policy).
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>>;
}

/// An error of a policy's own.
pub type PolicyError = Arc<dyn StdError + Send + Sync>;

/// What a policy decides by.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthContext<'a> {
    /// Session id, versions, addresses and algorithms.
    pub connection: &'a ConnectionInfo,
    /// Who wants to log in.
    pub user: &'a str,
    /// The methods of the server's last refusal, in its order.
    pub allowed: &'a [String],
    /// The methods that were a part of what is needed, in the order of the attempts; one may be there twice.
    pub partial_successes: &'a [&'static str],
    /// The methods that were refused, in the order of the attempts, `none` first; one may be there twice. One that was
    /// a partial success is not among them.
    pub failed: &'a [&'static str],
    /// All attempts, whatever became of them, in their order, `none` first.
    pub tried: &'a [&'static str],
}

/// What a policy wants to be tried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AuthChoice {
    /// This, which need not be in the configuration's list.
    Try(Credential),
    /// The first of the configuration's list that the server takes and that was not tried yet. The policy is asked again
    /// before the attempt after it.
    Defer,
    /// The same, but the policy is not asked again: the list alone goes on, as it would without a policy.
    DeferForGood,
}
