//! Asking whether a key would do, without signing anything.

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{AuthChoice, AuthContext, AuthPolicy, Credential, Identity, PolicyError};
use ssh_core::crypto::default_provider;
use ssh_core::error::AuthFailure;
use ssh_core::keys::{KeyKind, SigningKey};
use tests::raw_peer::{Field, message};
use tests::scripted_server::{What, pk_ok, success};

use super::support::{builder, credential, key, log_in, log_in_to, steps};

type Answers = Arc<Mutex<Vec<(&'static str, bool)>>>;

/// Asks about a key of which only the public half is there.
fn query(name: &'static str, answers: &Answers) -> Credential {
    let answers = Arc::clone(answers);
    let identity = Identity::public(key(name).public_key()).unwrap();
    Credential::key_query(identity, move |would_do| answers.lock().unwrap().push((name, would_do)))
}

#[tokio::test]
async fn a_query_tells_whether_a_key_would_do_and_signs_nothing() {
    let answers = Answers::default();
    let config = builder().authenticate(query("A", &answers)).authenticate(query("B", &answers));
    let login = log_in(config.build().unwrap(), steps(&[&["key B"]])).await;
    // Nobody is let in by it.
    let error = login.assert_refused(&["none", "query A", "query B", "disconnect 14"]);
    assert!(matches!(error, Error::Auth(AuthFailure::Refused { .. })), "{error}");
    assert_eq!(*answers.lock().unwrap(), [("A", false), ("B", true)]);
}

#[tokio::test]
async fn the_login_goes_on_behind_a_query() {
    let answers = Answers::default();
    let config = [query("A", &answers), query("B", &answers), credential("key A"), credential("key B")]
        .into_iter()
        .fold(builder(), |config, credential| config.authenticate(credential));
    let login = log_in(config.build().unwrap(), steps(&[&["key B"]])).await;
    // What was refused is not tried again.
    login.assert_in(&["none", "query A", "query B", "query B", "key B"]);
    assert_eq!(*answers.lock().unwrap(), [("A", false), ("B", true)]);
}

#[tokio::test]
async fn where_keys_are_not_taken_nobody_is_asked() {
    let answers = Answers::default();
    let config = builder().authenticate(query("A", &answers)).authenticate(credential("password secret"));
    let login = log_in(config.build().unwrap(), steps(&[&["password secret"]])).await;
    login.assert_in(&["none", "password secret"]);
    assert!(answers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_key_without_its_private_half_is_passed_over() {
    let identity = Identity::public(key("A").public_key()).unwrap();
    let config = builder().authenticate(Credential::Identity(identity)).authenticate(credential("key B"));
    let login = log_in(config.build().unwrap(), steps(&[&["key A", "key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "key B"]);
}

/// Asks about all keys, and fetches the private half of one that would do.
#[derive(Debug)]
struct AskFirst(Answers, Mutex<Vec<&'static str>>);

impl AuthPolicy for AskFirst {
    fn choose<'a>(&'a self, _: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        let choice = match self.1.lock().unwrap().pop() {
            Some(name) => AuthChoice::Try(query(name, &self.0)),
            None => match self.0.lock().unwrap().iter().find(|(_, would_do)| *would_do) {
                Some((name, _)) => AuthChoice::Try(Credential::Key(key(name))),
                None => AuthChoice::Defer,
            },
        };
        std::future::ready(Ok(choice)).boxed()
    }
}

#[tokio::test]
async fn a_policy_chooses_by_the_answers() {
    let answers = Answers::default();
    let policy = AskFirst(Arc::clone(&answers), Mutex::new(vec!["C", "B", "A"]));
    let login = log_in(builder().auth_policy(policy).build().unwrap(), steps(&[&["key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "query C", "query B", "key B"]);
    assert_eq!(*answers.lock().unwrap(), [("A", false), ("B", true), ("C", false)]);
}

/// The list of signatures (RFC 8308 §3.1) has come by then.
#[tokio::test]
async fn who_begins_with_credentials_knows_what_the_server_takes() {
    let provider = default_provider();
    let rsa = provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
    let rsa = Arc::new(SigningKey::new(&rsa, provider).unwrap());
    for list in ["rsa-sha2-256", "rsa-sha2-512"] {
        let ext_info = message(7, &[Field::U32(1), Field::Str("server-sig-algs"), Field::Str(list)]);
        let config = builder().begin_with_credentials().authenticate(Credential::Key(Arc::clone(&rsa)));
        let login = log_in_to("SSH-2.0-Script_1.0", config.build().unwrap(), vec![ext_info], |said| {
            let What::Query(key, algorithm) = &said.what else { return vec![success()] };
            vec![pk_ok(algorithm, key)]
        })
        .await;
        let asked: Vec<&What> = login.said.iter().map(|said| &said.what).collect();
        assert!(
            matches!(&asked[..], [What::Query(_, asked), What::Signed(_, signed)] if asked == list && signed == list),
            "{asked:?}"
        );
    }
}
