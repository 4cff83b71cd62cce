use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{CannotCheck, StoredUser, UserStore};
use crate::passwords::PasswordHash;

/// Users in memory.
///
/// Passwords are checked on other threads, a few at once ([`MemoryUsers::checks_at_once`]); further ones wait for their
/// turn, as long as [`AuthAttempt::deadline`](super::AuthAttempt::deadline) lets them.
#[derive(Debug)]
pub struct MemoryUsers {
    users: BTreeMap<String, (StoredUser, Option<Arc<PasswordHash>>)>,
    checks: Arc<Semaphore>,
    /// Chooses whose hash stands in for that of a user that has none.
    chooser: RandomState,
}

impl MemoryUsers {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let checks = Arc::new(Semaphore::new(processors.min(MAX_CHECKS)));
        Self { users: BTreeMap::new(), checks, chooser: RandomState::new() }
    }

    /// Adds a user, under the name of its principal. With a hash it has a password too.
    #[must_use]
    pub fn user(mut self, user: StoredUser, password: Option<PasswordHash>) -> Self {
        self.users.insert(user.principal.name.as_ref().to_owned(), (user, password.map(Arc::new)));
        self
    }

    /// Checks at most so many passwords at once, at least one. Each takes a processor, and up to
    /// [`MAX_MEMORY_KIB`](crate::passwords::MAX_MEMORY_KIB). As many as there are processors, and at most 4.
    #[must_use]
    pub fn checks_at_once(mut self, most: usize) -> Self {
        self.checks = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Somebody's hash, to be checked for a user that has none: always the same one for the same name, so that the time
    /// which a name takes does not tell that there is no such user.
    fn decoy(&self, user: &str) -> Option<Arc<PasswordHash>> {
        let hashes = || self.users.values().filter_map(|(_, hash)| hash.as_ref());
        let count = u64::try_from(hashes().count()).ok()?;
        let number = self.chooser.hash_one(user).checked_rem(count)?;
        hashes().nth(usize::try_from(number).ok()?).cloned()
    }
}

impl Default for MemoryUsers {
    fn default() -> Self {
        Self::new()
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
        let Some(hash) = own.or_else(|| self.decoy(user)) else {
            return std::future::ready(Ok(false)).boxed();
        };
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let checks = Arc::clone(&self.checks);
        async move {
            let cannot = |error: &dyn std::fmt::Display| CannotCheck(error.to_string());
            let place = checks.acquire_owned().await.map_err(|error| cannot(&error))?;
            // Slow on purpose, and not for the thread that moves bytes.
            let checked = tokio::task::spawn_blocking(move || {
                let is_right = hash.verify(&password);
                // Here and not outside: nothing stops a check that runs, not even a client that has gone.
                drop(place);
                is_right
            });
            let is_right = checked.await.map_err(|error| cannot(&error))?;
            Ok(is_right.map_err(|error| cannot(&error))? && has_one)
        }
        .boxed()
    }
}

/// Passwords at once, however many processors there are: a hash may take 256 MiB.
const MAX_CHECKS: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Of `Hello world!`; from the specification of SHA-crypt.
    const HASH: &str = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1";
    /// Of `password`; from the tests of the reference implementation of Argon2.
    const OTHER: &str =
        "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";

    fn users() -> MemoryUsers {
        let hash = |text| Some(PasswordHash::parse(text).unwrap());
        MemoryUsers::new()
            .user(StoredUser::new("ada"), hash(HASH))
            .user(StoredUser::new("bob"), hash(OTHER))
            .user(StoredUser::new("keys only"), None)
    }

    #[tokio::test]
    async fn the_right_password_of_the_right_user_and_no_other() {
        let users = users();
        for (user, password, expected) in [
            ("ada", "Hello world!", true),
            ("ada", "Hello world", false),
            ("ada", "password", false),
            ("ada", "", false),
            ("bob", "password", true),
            ("bob", "Hello world!", false),
            ("keys only", "Hello world!", false),
            ("keys only", "password", false),
            ("keys only", "", false),
            ("nobody", "Hello world!", false),
            ("nobody", "password", false),
            ("", "", false),
            ("ADA", "Hello world!", false),
        ] {
            assert_eq!(users.check_password(user, password).await, Ok(expected), "{user} {password}");
        }
        for (user, is_known) in [("ada", true), ("keys only", true), ("nobody", false), ("ADA", false)] {
            assert_eq!(users.find(user).await.unwrap().is_some(), is_known, "{user}");
        }
        assert_eq!(MemoryUsers::new().check_password("ada", "").await, Ok(false));
    }

    #[test]
    fn an_unknown_name_always_meets_the_same_hash_and_names_meet_all() {
        let users = users();
        let mut met = [0; 2];
        for number in 0..100 {
            let name = format!("nobody {number}");
            let decoy = users.decoy(&name).unwrap();
            assert!((0..5).all(|_| Arc::ptr_eq(&users.decoy(&name).unwrap(), &decoy)));
            met[usize::from(*decoy.to_text() == *OTHER)] += 1;
        }
        assert!(met.iter().all(|times| *times > 10), "{met:?}");
    }

    #[tokio::test]
    async fn no_more_run_at_once_than_allowed_not_even_for_clients_that_left() {
        let users = users().checks_at_once(1);
        let mut abandoned = users.check_password("ada", "x");
        assert!((&mut abandoned).now_or_never().is_none());
        drop(abandoned);
        assert_eq!(users.checks.available_permits(), 0, "it still runs");
        // The next waits for it, and has its turn.
        assert_eq!(users.check_password("ada", "Hello world!").await, Ok(true));
        let _place = users.checks.acquire().await.unwrap();
        let waiting = users.check_password("nobody", "x");
        assert!(tokio::time::timeout(Duration::from_millis(100), waiting).await.is_err());
    }
}
