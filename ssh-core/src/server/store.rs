//! An authenticator over any place where users are kept.

use std::fmt;

use futures::future::{BoxFuture, FutureExt as _};

use super::{
    AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthStart, Authenticator, Permissions, Principal,
    RejectReason,
};
use crate::keys::{PublicKey, StoredKey};
use crate::protocol::{Method, OfferedKey, Prompts};

/// Where users are kept: memory, a file, a database, a program, another service. [`StoreAuthenticator`] makes an
/// [`Authenticator`] of it. It is asked anew for every attempt, so what changes there counts at once: a key that is
/// withdrawn between the query and the signature lets nobody in.
///
/// The future is dropped when the attempt's time is up or the connection ends.
pub trait UserStore: Send + Sync + fmt::Debug {
    /// The user of this name, which can be any text of at most 256 bytes.
    ///
    /// # Errors
    /// [`CannotCheck`] if it could not be found out.
    fn find<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Option<StoredUser>, CannotCheck>>;

    /// Whether this is the user's password. It should take as long for a user that does not exist. Unless it is
    /// overridden, nobody has a password.
    ///
    /// # Errors
    /// [`CannotCheck`] if it could not be found out.
    fn check_password<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, CannotCheck>> {
        let _ = (user, password);
        std::future::ready(Ok(false)).boxed()
    }
}

/// A user, as far as its login goes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredUser {
    /// Whom it comes in as.
    pub principal: Principal,
    /// Its keys, whole or by their fingerprints. They have to be put there in a way that is authenticated already: RFC
    /// 4252 leaves that open.
    pub keys: Vec<StoredKey>,
    /// The methods that are needed together, in whatever order; one that is there twice needs two different keys. If it is
    /// empty, one of any method is enough.
    pub needs: Vec<Method>,
}

/// A store could not find out what it was asked. The text goes into the log and may not hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotCheck(pub String);

impl StoredUser {
    /// A user without keys that one method is enough for.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { principal: Principal::new(name), keys: Vec::new(), needs: Vec::new() }
    }

    /// Adds a key.
    #[must_use]
    pub fn key(mut self, key: StoredKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Needs these methods together.
    #[must_use]
    pub fn needs(mut self, methods: impl Into<Vec<Method>>) -> Self {
        self.needs = methods.into();
        self
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.principal.permissions = permissions;
        self
    }

    fn has_key(&self, key: &PublicKey) -> bool {
        self.keys.iter().any(|stored| match stored {
            StoredKey::Whole(stored) => stored == key,
            StoredKey::Fingerprint(fingerprint) => *fingerprint == key.fingerprint(),
        })
    }

    /// The decision on a step that was right.
    fn after_step(self, attempt: &AuthAttempt<'_>) -> AuthDecision {
        let mut left = self.needs;
        if left.is_empty() {
            return AuthDecision::Accept(self.principal);
        }
        let done = attempt.succeeded.iter().map(|step| step.method);
        let now = attempt.method.method();
        let mut is_needed = false;
        for method in done.chain([now]) {
            let at = left.iter().position(|needed| *needed == method);
            is_needed = at.map(|at| left.remove(at)).is_some();
        }
        if !is_needed {
            return AuthDecision::Reject(RejectReason::InvalidMethod);
        }
        if left.is_empty() {
            return AuthDecision::Accept(self.principal);
        }
        let mut next: Vec<Method> = Vec::new();
        for method in left {
            if !next.contains(&method) {
                next.push(method);
            }
        }
        AuthDecision::Partial { next }
    }
}

/// Lets in whom a [`UserStore`] knows: by key, by password, or by a password that is asked for in a
/// keyboard-interactive conversation.
#[derive(Debug)]
pub struct StoreAuthenticator<S> {
    store: S,
    methods: Vec<Method>,
}

impl<S: UserStore> StoreAuthenticator<S> {
    /// Every user, known or not, is offered these methods.
    #[must_use]
    pub fn new(store: S, methods: impl Into<Vec<Method>>) -> Self {
        Self { store, methods: methods.into() }
    }

    async fn key(&self, attempt: &AuthAttempt<'_>, offered: &OfferedKey) -> Decided {
        let user = self.store.find(attempt.user).await?.ok_or(RejectReason::InvalidUser)?;
        // A certificate is worth what its authority is, and a store knows of none.
        let is_known = offered.certificate.is_none() && user.has_key(&offered.key);
        if is_known { Ok(user.after_step(attempt)) } else { Err(RejectReason::InvalidKey) }
    }

    async fn password(&self, attempt: &AuthAttempt<'_>, password: &str) -> Decided {
        // First, and for whomever: what follows takes its time only for those who were right.
        let is_right = self.store.check_password(attempt.user, password).await?;
        let user = self.store.find(attempt.user).await?.ok_or(RejectReason::InvalidUser)?;
        if is_right { Ok(user.after_step(attempt)) } else { Err(RejectReason::InvalidPassword) }
    }

    async fn decide(&self, attempt: &AuthAttempt<'_>) -> Decided {
        match attempt.method {
            AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered) => {
                self.key(attempt, offered).await
            }
            AuthMethod::Password(password) => self.password(attempt, password).await,
            AuthMethod::KeyboardInteractive { answers: None, .. } => {
                Ok(AuthDecision::Prompt(Prompts::new().secret("Password: ")))
            }
            AuthMethod::KeyboardInteractive { answers: Some([password]), .. } => {
                self.password(attempt, password.expose()).await
            }
            // Changing passwords and vouching hosts are for authenticators of their own.
            _ => Err(RejectReason::InvalidMethod),
        }
    }
}

type Decided = Result<AuthDecision, RejectReason>;

impl From<CannotCheck> for RejectReason {
    fn from(error: CannotCheck) -> Self {
        tracing::warn!(%error, "a login could not be checked");
        Self::CannotCheck
    }
}

impl<S: UserStore> Authenticator for StoreAuthenticator<S> {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready(self.methods.clone())
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        async move { self.decide(&attempt).await.unwrap_or_else(AuthDecision::Reject) }.boxed()
    }
}
