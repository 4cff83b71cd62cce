//! Users in memory, with hashed passwords.

use std::time::{Duration, Instant};

use ssh_core::keys::StoredKey;
use ssh_core::passwords::PasswordHash;
use ssh_core::server::{MemoryUsers, Permissions, StoreAuthenticator, StoredUser, UserStore as _};

use super::*;

fn hash(password: &str) -> PasswordHash {
    PasswordHash::create(password.as_bytes(), default_provider()).unwrap()
}

#[tokio::test]
async fn users_in_memory_log_in_by_key_and_by_password() {
    let (of_ada, of_bob) = (Arc::new(key()), Arc::new(key()));
    let stored = |key: &SigningKey| StoredKey::Whole(key.public_key().clone());
    let authenticator = || {
        let ada = StoredUser::new("ada").key(stored(&of_ada)).permissions(Permissions::restricted());
        let bob = StoredUser::new("bob").key(stored(&of_bob));
        let users = MemoryUsers::new().user(ada, Some(hash("sesame"))).user(bob, None);
        StoreAuthenticator::new(users, [Method::PublicKey, Method::Password])
    };
    let of = |key: &Arc<SigningKey>| Credential::Key(Arc::clone(key));
    for (user, credential, lets_in) in [
        ("ada", of(&of_ada), true),
        ("ada", Credential::password("sesame"), true),
        ("bob", of(&of_bob), true),
        ("ada", of(&of_bob), false),
        ("bob", of(&of_ada), false),
        ("ada", Credential::password("Sesame"), false),
        // Somebody else's password is nobody's who has none, nor a stranger's.
        ("bob", Credential::password("sesame"), false),
        ("eve", Credential::password("sesame"), false),
        ("eve", of(&of_ada), false),
    ] {
        let name = format!("{user} {credential:?}");
        let client = client::Config::builder(user).verify_host_key(AcceptAnyHostKey).authenticate(credential);
        let server = server::Config::builder(authenticator()).host_key(key()).limits(quick());
        let (client, server) = log_in(client, server).await;
        assert_eq!((client.is_ok(), server.is_ok()), (lets_in, lets_in), "{name}");
        if let Ok(session) = server {
            let principal = session.principal().unwrap();
            assert_eq!((&*principal.name, principal.permissions.port_forwarding), (user, user == "bob"));
        }
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is about the clock")]
async fn a_stranger_costs_as_much_as_a_user() {
    let users = MemoryUsers::new().user(StoredUser::new("ada"), Some(hash("sesame")));
    let mut times = [Duration::MAX; 2];
    for _ in 0..5 {
        for (name, least) in ["ada", "eve"].into_iter().zip(&mut times) {
            let began = Instant::now();
            assert_eq!(users.check_password(name, "wrong").await, Ok(false));
            *least = began.elapsed().min(*least);
        }
    }
    // A lookup alone takes a thousandth of a hash.
    assert!(times[1] * 4 > times[0], "{times:?}");
    assert_eq!(MemoryUsers::new().check_password("ada", "").await, Ok(false));
}
