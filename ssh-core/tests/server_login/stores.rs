//! An authenticator over a store.

use ssh_core::keys::StoredKey;
use ssh_core::server::{CannotCheck, StoreAuthenticator, StoredUser, UserStore};

use super::*;

/// A store that forgets everybody after so many questions, or never answers.
#[derive(Debug, Default)]
struct Store {
    keys: Vec<StoredKey>,
    needs: Vec<Method>,
    lookups: std::sync::atomic::AtomicUsize,
    forgets_after: Option<usize>,
    is_down: bool,
}

impl UserStore for Store {
    fn find<'a>(&'a self, user: &'a str) -> BoxFuture<'a, Result<Option<StoredUser>, CannotCheck>> {
        let lookup = self.lookups.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let is_known = user == "ada" && self.forgets_after.is_none_or(|last| lookup < last);
        let found = || {
            let user = StoredUser::new("ada").needs(self.needs.clone());
            self.keys.iter().fold(user, |user, key| user.key(key.clone()))
        };
        let found = if self.is_down { Err(CannotCheck("down".into())) } else { Ok(is_known.then(found)) };
        Box::pin(std::future::ready(found))
    }

    fn check_password<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
    ) -> BoxFuture<'a, Result<bool, CannotCheck>> {
        let is_right = user == "ada" && password == "secret";
        Box::pin(std::future::ready(if self.is_down {
            Err(CannotCheck("down".into()))
        } else {
            Ok(is_right)
        }))
    }
}

async fn is_let_in(store: Store, credentials: Vec<Credential>) -> bool {
    let methods = [Method::PublicKey, Method::Password, Method::KeyboardInteractive];
    let server = server::Config::builder(StoreAuthenticator::new(store, methods));
    let (client, server) = log_in(client(credentials), server.host_key(key()).limits(quick())).await;
    assert_eq!(client.is_ok(), server.is_ok());
    client.is_ok()
}

fn whole(key: &SigningKey) -> StoredKey {
    StoredKey::Whole(key.public_key().clone())
}

#[tokio::test]
async fn a_store_holds_whole_keys_or_their_fingerprints() {
    for make in [whole, |key: &SigningKey| StoredKey::Fingerprint(key.public_key().fingerprint())] {
        let others = || vec![make(&key()), make(&key())];
        let strangers = Store { keys: others(), ..Store::default() };
        assert!(!is_let_in(strangers, vec![Credential::key(key())]).await);
        // Of several keys the blob says which.
        let mine = key();
        let mut stored = others();
        stored.insert(1, make(&mine));
        assert!(is_let_in(Store { keys: stored, ..Store::default() }, vec![Credential::key(mine)]).await);
    }
}

#[tokio::test]
async fn a_key_that_is_taken_out_between_query_and_signature_lets_nobody_in() {
    for (lookups, lets_in) in [(0, false), (1, false), (2, false), (3, true)] {
        // The query, the signed request before and after its signature is verified.
        let mine = key();
        let store = Store { keys: vec![whole(&mine)], forgets_after: Some(lookups), ..Store::default() };
        assert_eq!(is_let_in(store, vec![Credential::key(mine)]).await, lets_in, "{lookups}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_lets_nobody_in() {
    let mine = key();
    let store = Store { keys: vec![whole(&mine)], is_down: true, ..Store::default() };
    assert!(!is_let_in(store, vec![Credential::key(mine), Credential::password("secret")]).await);
}

#[tokio::test]
async fn what_is_needed_together_comes_in_any_order() {
    let (first, second) = (Arc::new(key()), Arc::new(key()));
    let keys = || vec![whole(&first), whole(&second)];
    let one = || Credential::Key(Arc::clone(&first));
    let two = || Credential::Key(Arc::clone(&second));
    let secret = || Credential::password("secret");
    let needs = vec![Method::PublicKey, Method::Password, Method::PublicKey];
    for (credentials, lets_in) in [
        (vec![one(), two(), secret()], true),
        (vec![secret(), two(), one()], true),
        (vec![one(), secret(), two()], true),
        (vec![one(), secret()], false),
        (vec![one(), two()], false),
        (vec![secret()], false),
    ] {
        let store = Store { keys: keys(), needs: needs.clone(), ..Store::default() };
        assert_eq!(is_let_in(store, credentials).await, lets_in);
    }
}
