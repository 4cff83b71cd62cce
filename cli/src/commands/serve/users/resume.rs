//! Who may go on with a session over another connection.

use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::keys::LoginFacts;
use ssh_core::server::{Permissions, ResumeAttempt, ResumePolicy};
use tokio::time::Instant;

use super::evidence::Evidence;
use super::{EVIDENCE, Inner, KEYS, METHODS, both};
use crate::commands::serve::limits::Source;
use crate::commands::serve::penalties::Penalties;
use crate::commands::session;

/// Looks again at what let the user in: the key or the password may have been taken away, the certificate may have ended,
/// and what it all permits may be less. Then the session is over, and only another login tells what is right now.
pub(in crate::commands::serve) struct MayResume {
    pub(super) users: Arc<Inner>,
    pub(super) penalties: Arc<Penalties>,
}

impl ResumePolicy for MayResume {
    fn may_resume<'a>(&'a self, attempt: ResumeAttempt<'a>) -> BoxFuture<'a, bool> {
        let source = attempt.connection.addresses.peer.map(|peer| peer.ip());
        let is_refused =
            source.is_some_and(|source| self.penalties.is_refused(Source::of(source), Instant::now()));
        let (users, user) = (Arc::clone(&self.users), attempt.user.to_owned());
        let permissions = attempt.principal.map(|principal| principal.permissions.clone());
        let facts = LoginFacts { source, now: session::now() };
        async move {
            let Some(permissions) = permissions.filter(|_| !is_refused) else { return false };
            // Files are read.
            let checked = tokio::task::spawn_blocking(move || users.would_let_in(&user, &permissions, facts));
            checked.await.unwrap_or(false)
        }
        .boxed()
    }
}

impl fmt::Debug for MayResume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MayResume").finish_non_exhaustive()
    }
}

impl Inner {
    /// Whether the same login would lead to the same permissions now.
    fn would_let_in(&self, user: &str, had: &Permissions, facts: LoginFacts) -> bool {
        if had.expires.is_some_and(|expires| facts.now >= expires) {
            return false;
        }
        let Some(steps) = had.extensions.get(EVIDENCE).and_then(|text| Evidence::read(text)) else {
            return false;
        };
        // The order in which a login puts them together.
        let mut has: Option<Permissions> = None;
        for step in steps.iter().rev().take(1).chain(steps.iter().rev().skip(1).rev()) {
            let checked = match step {
                Evidence::Key(key) => self.keys.check(user, key, None, facts).ok(),
                Evidence::Certificate(certificate) => {
                    self.keys.check(user, certificate.key(), Some(certificate), facts).ok()
                }
                Evidence::Password(mark) => {
                    (self.passwords.mark(user).as_ref() == Some(mark)).then(Permissions::default)
                }
            };
            let Some(permissions) = checked else { return false };
            has = match has {
                // What may not be combined would not have let anybody in.
                Some(has) => both(has, permissions).ok(),
                None => Some(permissions),
            };
            if has.is_none() {
                return false;
            }
        }
        let Some(mut has) = has else { return false };
        for name in [METHODS, KEYS, EVIDENCE] {
            if let Some(text) = had.extensions.get(name) {
                has.extensions.insert(name.into(), text.clone());
            }
        }
        has == *had
    }
}
