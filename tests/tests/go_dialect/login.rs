//! Logging in, in both roles.

use std::sync::Arc;

use ssh_core::client::{self, Config, Credential};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::Error;
use ssh_core::keys::{Curve, KeyKind, SigningKey};
use ssh_core::protocol::{AuthAnswer, Method, Prompts, Role};
use tests::raw_peer::{Field, RawPeer, message, password, put_string};
use tests::scripted_server::{Said, ScriptedServer, What, failure, pk_ok, success};

use super::go_peer::{GoPeer, VERSION};

const USER: Field<'_> = Field::Str("testuser");
const SERVICE: Field<'_> = Field::Str("ssh-connection");
const PUBLIC_KEY: Field<'_> = Field::Str("publickey");

fn service_request() -> Vec<u8> {
    message(5, &[Field::Str("ssh-userauth")])
}

/// The request of a key, with Go's signature where it is to prove that it has it.
fn key_request(peer: &RawPeer, key: &SigningKey, signed: bool) -> Vec<u8> {
    let algorithm = SignatureAlgorithm::EcdsaP256;
    let blob = key.public_key().to_blob();
    let fields =
        [USER, SERVICE, PUBLIC_KEY, Field::Bool(signed), Field::Str(algorithm.name()), Field::Bytes(&blob)];
    let mut request = message(50, &fields);
    if signed {
        let mut data = Vec::new();
        put_string(&mut data, &peer.session_id);
        data.extend(&request);
        let mut signature = Vec::new();
        put_string(&mut signature, algorithm.name().as_bytes());
        put_string(&mut signature, &key.sign(algorithm, &data).unwrap());
        put_string(&mut request, &signature);
    }
    request
}

fn key() -> SigningKey {
    let provider = default_provider();
    let key = provider.signatures.generate(KeyKind::Ecdsa(Curve::P256), 0).unwrap();
    SigningKey::new(&key, provider).unwrap()
}

/// Asking whether a key would do is a call of its own in Go; the login that follows asks for the service once more, and
/// signs at once.
#[test]
fn a_query_and_the_login_behind_it_ask_for_the_service_twice() {
    let mut peer = GoPeer::against(Role::Server);
    peer.connect();
    let key = key();
    peer.say(&service_request());
    assert_eq!(peer.raw.take(6), Some(message(6, &[Field::Str("ssh-userauth")])), "Go waits for its name");
    peer.say(&key_request(&peer.raw, &key, false));
    assert_eq!(peer.raw.count(60), 1);
    peer.say(&service_request());
    peer.say(&key_request(&peer.raw, &key, true));
    assert_eq!((peer.raw.count(6), peer.raw.count(52)), (1, 1), "{:?}", peer.raw.error());
}

/// A login that was given up because it took too long may be tried again on the same session, while the first is undecided.
#[test]
fn another_login_may_begin_while_one_is_undecided() {
    let mut peer = GoPeer::against(Role::Server);
    peer.raw.answer = None;
    peer.connect();
    peer.say(&service_request());
    peer.say(&password("testuser", "first"));
    peer.say(&service_request());
    peer.say(&password("testuser", "second"));
    peer.raw.assert_alive();
    assert_eq!((peer.raw.attempts.len(), peer.raw.count(6)), (1, 1), "in order");
    peer.raw.answer = Some(AuthAnswer::Accept);
    peer.raw.engine.auth_answer(AuthAnswer::Reject, peer.raw.now).unwrap();
    peer.raw.wait(std::time::Duration::from_secs(5));
    let heard: Vec<u8> = peer.raw.received.iter().map(|payload| payload[0]).skip(4).collect();
    assert_eq!(heard, [6, 51, 6, 52], "{:?}", peer.raw.error());
}

/// So may one whose questions nobody answers: Go says nothing then.
#[test]
fn another_login_may_begin_while_a_question_is_unanswered() {
    let mut peer = GoPeer::over(
        RawPeer::against(Role::Server).ask_methods(|_| vec![Method::KeyboardInteractive, Method::Password]),
    );
    peer.raw.answers.push_back(AuthAnswer::Prompt(Prompts::new().visible("Code: ")));
    peer.connect();
    peer.say(&service_request());
    let interactive = [USER, SERVICE, Field::Str("keyboard-interactive"), Field::Str(""), Field::Str("")];
    peer.say(&message(50, &interactive));
    assert_eq!(peer.raw.count(60), 1);
    peer.say(&service_request());
    peer.say(&password("testuser", "secret"));
    assert_eq!((peer.raw.count(6), peer.raw.count(52)), (2, 1), "{:?}", peer.raw.error());
}

/// Without keys and without a password Go tries `none`, and then what the list of the refusal has.
#[test]
fn a_client_without_credentials_goes_from_none_to_questions() {
    let mut peer =
        GoPeer::over(RawPeer::against(Role::Server).ask_methods(|_| vec![Method::KeyboardInteractive]));
    let prompts = Prompts::new().instruction("Please").visible("User: ").secret("Code: ");
    peer.raw.answers.push_back(AuthAnswer::Prompt(prompts));
    peer.connect();
    peer.say(&service_request());
    peer.say(&message(50, &[USER, SERVICE, Field::Str("none")]));
    peer.raw.wait(std::time::Duration::from_secs(1));
    let refusal = message(51, &[Field::Str("keyboard-interactive"), Field::Bool(false)]);
    assert_eq!(peer.raw.take(51), Some(refusal));
    let interactive = [USER, SERVICE, Field::Str("keyboard-interactive"), Field::Str(""), Field::Str("")];
    peer.say(&message(50, &interactive));
    // All prompts, then all flags.
    let mut question = message(
        60,
        &[
            Field::Str(""),
            Field::Str("Please"),
            Field::Str(""),
            Field::U32(2),
            Field::Str("User: "),
            Field::Str("Code: "),
        ],
    );
    question.extend([1, 0]);
    assert_eq!(peer.raw.take(60), Some(question));
    peer.say(&message(61, &[Field::U32(2), Field::Str("ada"), Field::Str("42")]));
    assert_eq!(peer.raw.count(52), 1, "{:?}", peer.raw.error());
}

/// What our client says to a Go server that answers so.
async fn log_in_to_go(
    at_once: bool,
    answer: impl FnMut(&Said) -> Vec<Vec<u8>>,
) -> (Vec<What>, Result<(), Error>) {
    let mut config = Config::builder("testuser").verify_host_key(client::danger::AcceptAnyHostKey);
    if at_once {
        config = config.begin_with_credentials();
    }
    for password in PASSWORDS {
        config = config.authenticate(Credential::password(password));
    }
    run(config.build().unwrap(), answer).await
}

/// What a client says to a Go server that answers so, and what comes of it.
async fn run(
    config: Arc<Config>,
    answer: impl FnMut(&Said) -> Vec<Vec<u8>>,
) -> (Vec<What>, Result<(), Error>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async { ScriptedServer::accept(far, VERSION).await.login(answer).await };
    let (said, session) = tokio::join!(server, client::connect(near, config));
    (said.into_iter().map(|said| said.what).collect(), session.map(drop))
}

const PASSWORDS: [&str; 5] = ["one", "two", "three", "four", "five"];

/// `none`, unless it is left out, and then so many passwords.
fn attempts(at_once: bool, count: usize) -> Vec<What> {
    let passwords = PASSWORDS.iter().map(|password| What::Password((*password).to_owned()));
    [What::None].into_iter().chain(passwords).skip(usize::from(at_once)).take(count).collect()
}

/// A Go server's yes to a query names the type of an RSA key where the algorithm of the question belongs.
#[tokio::test]
async fn a_yes_to_an_rsa_key_names_its_type() {
    let provider = default_provider();
    let rsa = provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
    let rsa = Credential::key(SigningKey::new(&rsa, provider).unwrap());
    for (named, is_taken) in [("ssh-rsa", true), ("rsa-sha2-512", true), ("rsa-sha2-256", false)] {
        let config = Config::builder("testuser")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .begin_with_credentials()
            .authenticate(rsa.clone())
            .build()
            .unwrap();
        let (said, result) = run(config, |said| match &said.what {
            What::Query(key, asked) => {
                // Its server-sig-algs are empty.
                assert_eq!(asked, "rsa-sha2-512");
                vec![pk_ok(named, key)]
            }
            _ => vec![success()],
        })
        .await;
        assert_eq!(result.is_ok(), is_taken, "{named}: {result:?}");
        assert_eq!(matches!(said[..], [What::Query(..), What::Signed(..)]), is_taken, "{said:?}");
    }
}

/// A Go application may let in whoever tries `none`, without meaning to: for the library any value that is not nil means yes.
#[tokio::test]
async fn who_has_a_password_need_not_be_let_in_without_it() {
    for at_once in [false, true] {
        let (said, result) = log_in_to_go(at_once, |_| vec![success()]).await;
        assert_eq!(said, attempts(at_once, 1));
        assert!(result.is_ok(), "{result:?}");
    }
}

/// Go counts every refusal, `none` included, and says goodbye behind the fifth.
#[tokio::test]
async fn the_fifth_refusal_is_the_last() {
    for at_once in [false, true] {
        let mut refusals = 0;
        let (said, result) = log_in_to_go(at_once, |_| {
            refusals += 1;
            let text = Field::Str("Authentication failed.");
            let goodbye = message(1, &[Field::U32(14), text, Field::Str("")]);
            let refusal = failure("none,password,publickey,keyboard-interactive");
            if refusals == 5 { vec![refusal, goodbye] } else { vec![refusal] }
        })
        .await;
        assert_eq!(said[..5], attempts(at_once, 5));
        assert!(result.is_err());
    }
}
