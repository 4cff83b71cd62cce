//! The very bytes of a login.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{AuthChoice, AuthContext, AuthPolicy, Credential, HostBased, Identity, PolicyError};
use tests::raw_peer::{Field, message};

use super::support::{Login, blob, builder, credential, key, log_in, steps};

#[derive(Debug)]
struct Always(AuthChoice);

impl AuthPolicy for Always {
    fn choose<'a>(&'a self, _: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// Every kind of message, with or without a policy that has nothing to say.
async fn everything(policy: Option<AuthChoice>) -> Login {
    let mut config = builder();
    if let Some(choice) = policy {
        config = config.auth_policy(Always(choice));
    }
    for item in ["key A", "password secret", "answers 42", "key B"] {
        config = config.authenticate(credential(item));
    }
    let server: [&[&str]; 3] = [&["key B"], &["password secret"], &["answers 42"]];
    let login = log_in(config.build().unwrap(), steps(&server)).await;
    assert!(login.result.is_ok());
    login
}

const USER: Field<'_> = Field::Str("ada");
const SERVICE: Field<'_> = Field::Str("ssh-connection");

/// Without the signature, which no two sessions share.
fn payloads(login: &Login) -> Vec<Vec<u8>> {
    let cut = |payload: &Vec<u8>| payload.get(..payload.len() - 83 - 4).unwrap_or_default().to_vec();
    let is_signed =
        |said: &tests::scripted_server::Said| matches!(said.what, tests::scripted_server::What::Signed(..));
    login
        .said
        .iter()
        .map(|said| if is_signed(said) { cut(&said.payload) } else { said.payload.clone() })
        .collect()
}

#[tokio::test]
async fn golden_transcript_with_and_without_a_policy() {
    let (a, b) = (blob("A"), blob("B"));
    let public_key = |signed, blob| {
        let method = Field::Str("publickey");
        message(
            50,
            &[USER, SERVICE, method, Field::Bool(signed), Field::Str("ssh-ed25519"), Field::Bytes(blob)],
        )
    };
    let (password, prompts) = (Field::Str("password"), Field::Str("keyboard-interactive"));
    let golden = [
        message(50, &[USER, SERVICE, Field::Str("none")]),
        public_key(false, &a),
        public_key(false, &b),
        public_key(true, &b),
        message(50, &[USER, SERVICE, password, Field::Bool(false), Field::Str("secret")]),
        message(50, &[USER, SERVICE, prompts, Field::Str(""), Field::Str("")]),
        message(61, &[Field::U32(1), Field::Str("42")]),
    ];
    assert_eq!(payloads(&everything(None).await), golden);
    for choice in [AuthChoice::Defer, AuthChoice::DeferForGood] {
        assert_eq!(payloads(&everything(Some(choice)).await), golden);
    }
}

#[tokio::test]
async fn signing_at_once_saves_the_query() {
    let identity = Identity::key(key("A")).unwrap().sign_at_once();
    let config = builder().authenticate(Credential::Identity(identity)).build().unwrap();
    log_in(config, steps(&[&["key A"]])).await.assert_in(&["none", "key A"]);
}

#[tokio::test]
async fn rfc4252_9_hostbased_is_signed_by_the_host_and_off_unless_configured() {
    let host = || HostBased {
        identity: Identity::key(key("C")).unwrap(),
        client_host: "laptop.example.".into(),
        client_user: "ada_l".into(),
    };
    let server = |said: &tests::scripted_server::Said| match said.payload[0] {
        50 if matches!(said.what, tests::scripted_server::What::Host(..)) => {
            vec![tests::scripted_server::success()]
        }
        _ => vec![tests::scripted_server::failure("hostbased,publickey")],
    };
    let config = builder().authenticate(Credential::HostBased(Arc::new(host()))).build().unwrap();
    let login = log_in(config, server).await;
    login.assert_in(&["none", "host C laptop.example. ada_l"]);
    let (c, said) = (blob("C"), &login.said[1].payload);
    let method = Field::Str("hostbased");
    let golden = message(
        50,
        &[
            USER,
            SERVICE,
            method,
            Field::Str("ssh-ed25519"),
            Field::Bytes(&c),
            Field::Str("laptop.example."),
            Field::Str("ada_l"),
        ],
    );
    assert_eq!(said[..said.len() - 87], golden);

    let config = builder().authenticate(credential("password x")).build().unwrap();
    log_in(config, server).await.assert_refused(&["none", "disconnect 14"]);
}
