//! Each method by itself: what is asked of whom, what is refused, and what is cut.

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{
    AsyncSigner, Credential, Identity, InfoRequest, KeySource, PasswordPrompt, Prompt, PromptResponder,
};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::{AuthFailure, PeerMisbehaved, SignError};
use ssh_core::keys::{Certificate, CertificateKind, KeyKind, PrivateKey, SigningKey};
use tests::raw_peer::{Field, message, put_string};
use tests::scripted_server::{Said, What, failure, info_request, pk_ok, success};
use zeroize::Zeroizing;

use super::support::{Answers, blob, builder, credential, key, log_in, log_in_to, steps};

// ---- Passwords -----------------------------------------------------------------------------------------

/// Says these passwords one after the other.
#[derive(Debug, Default)]
struct Says {
    passwords: Mutex<Vec<&'static str>>,
    new: Mutex<Vec<&'static str>>,
    words: Arc<Mutex<Vec<String>>>,
}

impl PasswordPrompt for Says {
    fn password(&self) -> BoxFuture<'_, Option<Zeroizing<String>>> {
        let next = self.passwords.lock().unwrap().pop();
        std::future::ready(next.map(|password| Zeroizing::new(password.to_owned()))).boxed()
    }

    fn new_password<'a>(&'a self, prompt: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        self.words.lock().unwrap().push(prompt.to_owned());
        let next = self.new.lock().unwrap().pop();
        std::future::ready(next.map(|password| Zeroizing::new(password.to_owned()))).boxed()
    }
}

#[tokio::test]
async fn an_empty_password_is_not_tried() {
    let nobody = Says { passwords: Mutex::new(vec![""]), ..Says::default() };
    let config = builder()
        .authenticate(credential("password "))
        .authenticate(Credential::ask_password(nobody))
        .authenticate(Credential::ask_password(Says::default()))
        .authenticate(credential("password secret"));
    let login = log_in(config.build().unwrap(), steps(&[&["password secret"]])).await;
    login.assert_in(&["none", "password secret"]);
}

#[tokio::test]
async fn a_password_is_asked_for_only_when_it_is_wanted() {
    let asked = Arc::new(Says { passwords: Mutex::new(vec!["secret", "typo"]), ..Says::default() });
    let ask = || Credential::AskPassword(Arc::clone(&asked) as Arc<dyn PasswordPrompt>);
    let config = builder().authenticate(ask()).authenticate(ask()).authenticate(credential("key A")).build();
    let config = config.unwrap();
    log_in(Arc::clone(&config), steps(&[&["key A"]])).await.assert_in(&["none", "query A", "key A"]);
    assert_eq!(asked.passwords.lock().unwrap().len(), 2, "nobody was asked");
    let login = log_in(config, steps(&[&["password secret"]])).await;
    login.assert_in(&["none", "password typo", "password secret"]);
}

#[tokio::test]
async fn rfc4252_8_a_password_is_changed_when_the_server_wants_that() {
    let words = Arc::new(Mutex::new(Vec::new()));
    let prompt = Says {
        passwords: Mutex::new(vec!["old"]),
        new: Mutex::new(vec!["better", "short"]),
        words: Arc::clone(&words),
    };
    let config = builder().authenticate(Credential::ask_password(prompt)).build().unwrap();
    let login = log_in(config, |said| match &said.what {
        What::Password(_) => vec![message(60, &[Field::Str("Expired\x1b[2J"), Field::Str("")])],
        What::Change(_, new) if new == "short" => {
            vec![message(60, &[Field::Str("Too short"), Field::Str("")])]
        }
        What::Change(..) => vec![success()],
        _ => vec![failure("password")],
    })
    .await;
    login.assert_in(&["none", "password old", "change old short", "change old better"]);
    assert_eq!(*words.lock().unwrap(), ["Expired\\u{1b}[2J", "Too short"]);
}

#[tokio::test]
async fn a_password_change_that_nobody_makes_is_a_failure_and_comes_to_an_end() {
    let change = |said: &Said| match &said.what {
        What::Password(_) | What::Change(..) => vec![message(60, &[Field::Str("Change it"), Field::Str("")])],
        What::Query(key, algorithm) => vec![pk_ok(algorithm, key)],
        What::Signed(..) => vec![success()],
        _ => vec![failure("password,publickey")],
    };
    let config = builder().authenticate(credential("password old")).authenticate(credential("key A"));
    let login = log_in(config.build().unwrap(), change).await;
    login.assert_in(&["none", "password old", "query A", "key A"]);

    let stubborn =
        Says { passwords: Mutex::new(vec!["old"]), new: Mutex::new(vec!["x"; 100]), ..Says::default() };
    let config = builder().authenticate(Credential::ask_password(stubborn)).build().unwrap();
    let login = log_in(config, change).await;
    assert!(login.result.is_err());
    assert_eq!(login.said.len(), 1 + 1 + 3 + 1);
}

// ---- Keys ----------------------------------------------------------------------------------------------

/// A key that somebody has to be asked for, once the server takes it.
#[derive(Debug)]
struct Deferred {
    key: Mutex<Option<Arc<SigningKey>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl AsyncSigner for Deferred {
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.asked.lock().unwrap().push(algorithm.to_owned());
        let signed = match self.key.lock().unwrap().as_ref() {
            None => Err(SignError::Refused("nobody knows the passphrase".into())),
            Some(key) => {
                let known = SignatureAlgorithm::from_name(algorithm).unwrap();
                let mut signature = Vec::new();
                put_string(&mut signature, algorithm.as_bytes());
                put_string(&mut signature, &key.sign(known, data).unwrap());
                Ok(signature)
            }
        };
        async move {
            tokio::task::yield_now().await;
            signed
        }
        .boxed()
    }
}

#[tokio::test]
async fn a_private_key_is_fetched_only_after_the_server_has_taken_the_public_one() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let deferred = |name: &str, have: bool| {
        let key = Mutex::new(have.then(|| key(name)));
        let signer = Arc::new(Deferred { key, asked: Arc::clone(&asked) });
        Credential::Identity(Identity::new(&blob(name), signer).unwrap())
    };
    let config = builder().authenticate(deferred("A", true)).authenticate(deferred("B", true)).build();
    let login = log_in(config.unwrap(), steps(&[&["key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "key B"]);
    assert_eq!(*asked.lock().unwrap(), ["ssh-ed25519"]);

    // One that is not given is passed over.
    let config = builder().authenticate(deferred("A", false)).authenticate(deferred("B", true)).build();
    let login = log_in(config.unwrap(), steps(&[&["key A", "key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "key B"]);
    // And is the reason if nothing else is enough.
    let config = builder().authenticate(deferred("A", false)).build();
    let login = log_in(config.unwrap(), steps(&[&["key A", "key B"]])).await;
    let error = login.assert_refused(&["none", "query A", "disconnect 14"]);
    assert!(matches!(error, Error::Auth(AuthFailure::Signing(SignError::Refused(_)))), "{error}");
}

/// A source of keys, as an agent is.
#[derive(Debug)]
struct Source(Vec<&'static str>, Arc<Mutex<u32>>);

impl KeySource for Source {
    fn identities(&self) -> BoxFuture<'_, Result<Vec<Identity>, SignError>> {
        *self.1.lock().unwrap() += 1;
        let all = self.0.iter().map(|name| Identity::key(key(name)).unwrap()).collect();
        std::future::ready(Ok(all)).boxed()
    }
}

#[tokio::test]
async fn a_source_of_keys_is_asked_when_keys_are_wanted_and_its_keys_are_used_in_turn() {
    let asked = Arc::default();
    let source = Credential::keys(Source(vec!["A", "B", "C"], Arc::clone(&asked)));
    let config = builder().authenticate(source.clone()).authenticate(credential("password secret"));
    let config = config.build().unwrap();
    log_in(Arc::clone(&config), steps(&[&["password secret"]])).await.assert_in(&["none", "password secret"]);
    assert_eq!(*asked.lock().unwrap(), 0);
    // Two keys of one source are two steps (golang/go#23461).
    let login = log_in(Arc::clone(&config), steps(&[&["key C"], &["key B"]])).await;
    login.assert_in(&["none", "query A", "query B", "query C", "key C", "query A", "query B", "key B"]);
    // A key that two know is tried once.
    let config = builder().authenticate(credential("key B")).authenticate(source).build().unwrap();
    let login = log_in(config, steps(&[&["key C"]])).await;
    login.assert_in(&["none", "query B", "query A", "query C", "key C"]);
}

#[tokio::test]
async fn rfc8332_3_3_a_key_that_server_sig_algs_leaves_out_is_not_tried() {
    let mut entries = vec![7, 0, 0, 0, 1];
    put_string(&mut entries, b"server-sig-algs");
    put_string(&mut entries, b"rsa-sha2-256");
    let rsa = || {
        let provider = default_provider();
        let key = provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
        Credential::key(SigningKey::new(&key, provider).unwrap())
    };
    let config = builder().authenticate(credential("key A")).authenticate(rsa()).build().unwrap();
    let login = log_in_to("SSH-2.0-Script", config, vec![entries], |said| match &said.what {
        What::Query(key, algorithm) => {
            assert_eq!(algorithm, "rsa-sha2-256");
            vec![pk_ok(algorithm, key)]
        }
        What::Signed(_, algorithm) if algorithm == "rsa-sha2-256" => vec![success()],
        _ => vec![failure("publickey")],
    })
    .await;
    login.assert_in(&["none", "query another key", "key another key"]);
    // Without the extension the better one is taken, and SHA-1 never.
    let config = builder().authenticate(rsa()).build().unwrap();
    let login = log_in(config, |said| match &said.what {
        What::Query(key, algorithm) if algorithm == "rsa-sha2-512" => vec![pk_ok(algorithm, key)],
        What::Signed(_, algorithm) if algorithm == "rsa-sha2-512" => vec![success()],
        _ => vec![failure("publickey")],
    })
    .await;
    assert!(login.result.is_ok());
}

#[tokio::test]
async fn rfc4252_7_pk_ok_for_anything_else_ends_the_login_before_a_signature() {
    let other = blob("B");
    let wrong: [(&str, Option<&[u8]>); 4] = [
        ("ssh-ed25519", Some(&other)),
        ("rsa-sha2-512", None),
        ("ssh-ed25519-cert-v01@openssh.com", None),
        ("", None),
    ];
    for (algorithm, key) in wrong {
        let key = key.map(<[u8]>::to_vec);
        let config = builder().authenticate(credential("key A")).build().unwrap();
        let login = log_in(config, move |said| match &said.what {
            What::Query(asked, _) => vec![pk_ok(algorithm, key.as_ref().unwrap_or(asked))],
            _ => vec![failure("publickey")],
        })
        .await;
        let error = login.assert_refused(&["none", "query A", "disconnect 2"]);
        assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::PkOkMismatch)), "{error}");
    }
}

fn generate(kind: KeyKind) -> PrivateKey {
    default_provider().signatures.generate(kind, 3072).unwrap()
}

fn certificate(key: &PrivateKey) -> Certificate {
    let authority = SigningKey::new(&generate(KeyKind::Ed25519), default_provider()).unwrap();
    Certificate::builder(CertificateKind::User, key.public_key())
        .principal("ada")
        .sign(&authority, default_provider())
        .unwrap()
}

#[tokio::test]
async fn a_certificate_goes_by_its_own_algorithm_and_is_signed_by_the_plain_one() {
    for (kind, name) in [
        (KeyKind::Ed25519, "ssh-ed25519-cert-v01@openssh.com"),
        (KeyKind::Rsa, "rsa-sha2-512-cert-v01@openssh.com"),
    ] {
        let private = generate(kind);
        let certificate = certificate(&private);
        let signing = || SigningKey::new(&private, default_provider()).unwrap();
        let certified = certificate.to_blob();
        let answer = move |said: &Said| match &said.what {
            What::Query(key, algorithm) if *key == certified => {
                assert_eq!(algorithm, name);
                vec![pk_ok(algorithm, key)]
            }
            What::Signed(key, algorithm) if *key == certified && algorithm == name => vec![success()],
            _ => vec![failure("publickey")],
        };
        let only = Credential::certificate(certificate.clone(), signing()).unwrap();
        let config = builder().authenticate(only.clone()).build().unwrap();
        assert!(log_in(config, answer.clone()).await.result.is_ok());
        // A key that carries one offers it first, then itself.
        let both = Credential::key(signing().with_certificate(certificate.clone()).unwrap());
        let config = builder().authenticate(both).build().unwrap();
        assert!(log_in(config, answer).await.result.is_ok());
        let plain = private.public_key().to_blob();
        let takes_plain = move |said: &Said| match &said.what {
            What::Query(key, algorithm) if *key == plain => vec![pk_ok(algorithm, key)],
            What::Signed(key, _) if *key == plain => vec![success()],
            _ => vec![failure("publickey")],
        };
        let both = Credential::key(signing().with_certificate(certificate).unwrap());
        let config = builder().authenticate(both).build().unwrap();
        let login = log_in(config, takes_plain.clone()).await;
        assert!(login.result.is_ok());
        assert_eq!(login.said.len(), 1 + 2 + 1);
        let config = builder().authenticate(only).build().unwrap();
        assert!(log_in(config, takes_plain).await.result.is_err(), "the key itself is not offered");
    }
    let other = certificate(&generate(KeyKind::Ed25519));
    let key = SigningKey::new(&generate(KeyKind::Ed25519), default_provider()).unwrap();
    assert!(Credential::certificate(other, key).is_err());
}

// ---- Prompts -------------------------------------------------------------------------------------------

#[tokio::test]
async fn rfc4256_many_rounds_no_prompts_and_echo() {
    let responder = Answers::new("ada,1234");
    let asked = Arc::clone(&responder.asked);
    let config = builder().authenticate(Credential::keyboard_interactive(responder)).build().unwrap();
    let mut round = 0;
    let login = log_in(config, move |said| {
        if matches!(said.what, What::None) {
            return vec![failure("keyboard-interactive")];
        }
        round += 1;
        match round {
            1 => vec![info_request("Login", "First\nof two", &[("User: ", true), ("PIN: ", false)])],
            2 => vec![info_request("", "Wait for it", &[])],
            3 => vec![info_request("", "", &[("Again: ", false)])],
            _ => vec![success()],
        }
    })
    .await;
    login.assert_in(&["none", "prompts", "answers ada,1234", "answers ", "answers ada"]);
    let prompt = |text: &str, echo| Prompt { text: text.into(), echo };
    let request = |name: &str, instruction: &str, prompts| InfoRequest {
        name: name.into(),
        instruction: instruction.into(),
        prompts,
    };
    assert_eq!(
        *asked.lock().unwrap(),
        [
            request("Login", "First\nof two", vec![prompt("User: ", true), prompt("PIN: ", false)]),
            request("", "Wait for it", vec![]),
            request("", "", vec![prompt("Again: ", false)]),
        ]
    );
}

#[tokio::test]
async fn dev_tunnels_peers_write_their_flags_behind_the_prompts() {
    for version in ["SSH-2.0-dev-tunnels-ssh-go_0.1", "SSH-2.0-dev-tunnels-ssh_3.12.42"] {
        let responder = Answers::new("ada,1234");
        let asked = Arc::clone(&responder.asked);
        let config = builder().authenticate(Credential::keyboard_interactive(responder)).build().unwrap();
        let login = log_in_to(version, config, Vec::new(), |said| match said.what {
            What::None => vec![failure("keyboard-interactive")],
            What::Prompts => {
                let mut request = info_request("", "", &[]);
                let count = request.len() - 1;
                request[count] = 2;
                put_string(&mut request, b"User: ");
                put_string(&mut request, b"PIN: ");
                request.extend([1, 0]);
                vec![request]
            }
            _ => vec![success()],
        })
        .await;
        login.assert_in(&["none", "prompts", "answers ada,1234"]);
        let prompts = asked.lock().unwrap()[0].prompts.clone();
        assert_eq!(prompts.iter().map(|prompt| prompt.echo).collect::<Vec<_>>(), [true, false]);
    }
}

#[tokio::test]
async fn dev_tunnels_servers_without_none_do_not_say_that_they_ask_questions() {
    const FIXED: &str = "publickey,password,hostbased";
    for (version, list, said) in [
        ("SSH-2.0-dev-tunnels-ssh_3.12.42", FIXED, &["none", "prompts", "answers 42"][..]),
        ("SSH-2.0-dev-tunnels-ssh_3.12.42", "publickey,password", &["none"]),
        ("SSH-2.0-OpenSSH_9.9", FIXED, &["none"]),
    ] {
        let config = builder().authenticate(credential("answers 42")).build().unwrap();
        let login = log_in_to(version, config, Vec::new(), |said| match said.what {
            What::None => vec![failure(list)],
            What::Prompts => vec![info_request("", "", &[("Code: ", true)])],
            _ => vec![success()],
        })
        .await;
        assert_eq!(login.script()[..said.len()], *said, "{version} {list}");
        assert_eq!(login.result.is_ok(), said.len() > 1, "{version} {list}");
    }
}

#[tokio::test]
async fn questions_that_never_end_do() {
    let config = builder().authenticate(credential("answers x")).build().unwrap();
    let login = log_in(config, |said| match said.what {
        What::None => vec![failure("keyboard-interactive")],
        _ => vec![info_request("", "", &[("Again: ", false)])],
    })
    .await;
    assert!(matches!(login.result, Err(Error::Auth(AuthFailure::TooManyAttempts(64)))));
    assert_eq!(login.said.len(), 1 + 1 + 64 + 1);
}

/// Nobody, or somebody who does not read the questions.
#[derive(Debug)]
struct Fixed(Option<usize>);

impl PromptResponder for Fixed {
    fn respond<'a>(&'a self, _: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answers = self.0.map(|count| vec![Zeroizing::new("x".to_owned()); count]);
        std::future::ready(answers).boxed()
    }
}

#[tokio::test]
async fn questions_that_nobody_answers_leave_room_for_another_attempt() {
    let config = builder()
        .authenticate(Credential::keyboard_interactive(Fixed(None)))
        .authenticate(credential("password secret"))
        .build()
        .unwrap();
    let login = log_in(config, steps(&[&["answers 42", "password secret"]])).await;
    login.assert_in(&["none", "prompts", "password secret"]);

    let config = builder().authenticate(Credential::keyboard_interactive(Fixed(Some(2)))).build().unwrap();
    let login = log_in(config, steps(&[&["answers 42"]])).await;
    assert!(matches!(login.result, Err(Error::ApiMisuse(_))), "two answers to one question");
}

#[tokio::test]
async fn message_60_means_what_the_attempt_makes_of_it() {
    let pk = || pk_ok("ssh-ed25519", &blob("A"));
    let info = || info_request("", "", &[("x", false)]);
    let cases: [(&str, Vec<u8>); 4] =
        [("password x", info()), ("answers x", pk()), ("key A", info()), ("key A", vec![60])];
    for (item, reply) in cases {
        let config = builder().authenticate(credential(item)).build().unwrap();
        let login = log_in(config, move |said| match said.what {
            What::None => vec![failure("password,publickey,keyboard-interactive")],
            _ => vec![reply.clone()],
        })
        .await;
        assert!(matches!(login.result, Err(Error::PeerMisbehaved(_))), "{item}: {:?}", login.result.err());
        assert_eq!(login.script().last().unwrap(), "disconnect 2");
    }
    // A second one without an answer in between.
    let config = builder().authenticate(Credential::keyboard_interactive(Fixed(Some(1)))).build().unwrap();
    let login = log_in(config, move |said| match said.what {
        What::None => vec![failure("keyboard-interactive")],
        What::Prompts => vec![info_request("", "", &[("x", false)]), info_request("", "", &[("x", false)])],
        _ => Vec::new(),
    })
    .await;
    assert!(matches!(login.result, Err(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage(60)))));
}

// ---- Banners -------------------------------------------------------------------------------------------

#[tokio::test]
async fn rfc4252_5_4_banners_are_shown_clean_and_cut() {
    let shown = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&shown);
    let config = builder()
        .on_banner(move |text| into.lock().unwrap().push(text.to_owned()))
        .authenticate(credential("password secret"))
        .build()
        .unwrap();
    let banner = |text: &[u8]| message(53, &[Field::Bytes(text), Field::Str("en")]);
    let login = log_in(config, move |said| match said.what {
        What::None => vec![banner(b"Welcome\r\n\tto \x1b]0;evil\x07 \x9b1m\n"), failure("password")],
        _ => vec![banner(&[b'x'; 20_000]), banner("\n".repeat(5000).as_bytes()), success()],
    })
    .await;
    login.assert_in(&["none", "password secret"]);
    let shown = shown.lock().unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[0], "Welcome\n\tto \\u{1b}]0;evil\\u{7} \u{fffd}1m\n");
    assert!(shown[1].len() < 8300 && shown[1].ends_with('…'));
    assert!(shown[2].lines().count() <= 101);
}
