use std::collections::HashMap;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};

use super::{CannotCheck, StoredUser, UserStore};
use crate::passwords::PasswordHash;

/// Users in memory.
#[derive(Debug, Default)]
pub struct MemoryUsers {
    users: HashMap<String, (StoredUser, Option<Arc<PasswordHash>>)>,
}

impl MemoryUsers {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a user, under the name of its principal. With a hash it has a password too.
    #[must_use]
    pub fn user(mut self, user: StoredUser, password: Option<PasswordHash>) -> Self {
        self.users.insert(user.principal.name.as_ref().to_owned(), (user, password.map(Arc::new)));
        self
    }

    /// Somebody's hash, to be checked for those who have none.
    fn any_hash(&self) -> Option<Arc<PasswordHash>> {
        self.users.values().find_map(|(_, hash)| hash.clone())
    }
}

impl UserStore for MemoryUsers {
    fn find<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Option<StoredUser>, CannotCheck>> {
        std::future::ready(Ok(self.users.get(user).map(|(user, _)| user.clone()))).boxed()
    }

    fn check_password<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, CannotCheck>> {
        let own = self.users.get(user).and_then(|(_, hash)| hash.clone());
        let has_one = own.is_some();
        let Some(hash) = own.or_else(|| self.any_hash()) else {
            return std::future::ready(Ok(false)).boxed();
        };
        let password = zeroize::Zeroizing::new(password.as_bytes().to_vec());
        async move {
            // Slow on purpose, and not for the thread that moves bytes.
            let checked = tokio::task::spawn_blocking(move || hash.verify(&password)).await;
            let is_right = checked.map_err(|error| CannotCheck(error.to_string()))?;
            Ok(is_right.map_err(|error| CannotCheck(error.to_string()))? && has_one)
        }
        .boxed()
    }
}
