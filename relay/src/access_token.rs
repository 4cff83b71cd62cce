//! What lets an end of a tunnel in at the relay, and where the next one comes from.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// A token for a tunnel, and perhaps a way to another one.
///
/// Clones share the token: one that has been renewed is renewed for all.
#[derive(Clone)]
pub struct AccessToken(Arc<Inner>);

struct Inner {
    current: Mutex<Zeroizing<String>>,
    renew: Option<Renew>,
}

type Renew = Box<dyn Fn() -> BoxFuture<'static, Option<Zeroizing<String>>> + Send + Sync>;

/// A new token is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(30);

impl AccessToken {
    /// A token that holds as long as it holds.
    #[must_use]
    pub fn new(token: Zeroizing<String>) -> Self {
        Self(Arc::new(Inner { current: Mutex::new(token), renew: None }))
    }

    /// The same, and once the relay refuses it (401), `renew` is asked for another: at most once for each attempt to connect,
    /// and for 30 s. `None`, or the token that was refused, stands for there being none; the refusal is final then.
    #[must_use]
    pub fn renewed_by<F, R>(token: Zeroizing<String>, renew: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Option<Zeroizing<String>>> + Send + 'static,
    {
        let renew: Renew = Box::new(move || renew().boxed());
        Self(Arc::new(Inner { current: Mutex::new(token), renew: Some(renew) }))
    }

    pub(crate) fn current(&self) -> Zeroizing<String> {
        self.0.current.lock().clone()
    }

    /// Whether there is another token than the one that was refused.
    pub(crate) async fn renew(&self, refused: &Zeroizing<String>) -> bool {
        let Some(renew) = &self.0.renew else { return false };
        match tokio::time::timeout(PATIENCE, renew()).await {
            Ok(Some(token)) if token != *refused => {
                *self.0.current.lock() = token;
                true
            }
            _ => false,
        }
    }
}

/// Tokens stay out of logs.
impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").field("renewable", &self.0.renew.is_some()).finish_non_exhaustive()
    }
}

impl From<Zeroizing<String>> for AccessToken {
    fn from(token: Zeroizing<String>) -> Self {
        Self::new(token)
    }
}
