//! RFC 4252 and RFC 4256 as a server keeps them: who is asked what, and what the client is told.

mod failures;
mod gate;
mod interactive;
mod keys;
mod steps;

use std::time::Duration;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{AuthAnswer, Method, Role};
use tests::raw_peer::{Field, RawPeer, message, put_string};

/// Every method that there is.
const ALL: [Method; 5] =
    [Method::None, Method::PublicKey, Method::Password, Method::KeyboardInteractive, Method::HostBased];

const DELAY: Duration = Duration::from_millis(100);

fn key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

/// A server that offers every method, has accepted the authentication service, and leaves attempts undecided unless
/// `answers` says more.
fn server() -> RawPeer {
    in_service(RawPeer::against(Role::Server).ask_methods(|_| ALL.to_vec()))
}

fn with_limits(limits: Limits) -> RawPeer {
    let peer = RawPeer::with(Role::Server, Algorithms::default(), limits);
    in_service(peer.ask_methods(|_| ALL.to_vec()))
}

fn in_service(mut peer: RawPeer) -> RawPeer {
    peer.answer = None;
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    assert!(peer.take(6).is_some());
    peer.received.clear();
    peer
}

fn answering(answers: impl IntoIterator<Item = AuthAnswer>) -> RawPeer {
    let mut peer = server();
    peer.answers.extend(answers);
    peer
}

/// USERAUTH_REQUEST.
fn request(user: &str, method: &str, fields: &[Field<'_>]) -> Vec<u8> {
    let mut all = vec![Field::Str(user), Field::Str("ssh-connection"), Field::Str(method)];
    all.extend(fields);
    message(50, &all)
}

fn none(user: &str) -> Vec<u8> {
    request(user, "none", &[])
}

fn key_request(signed: bool, user: &str, algorithm: &str, blob: &[u8]) -> Vec<u8> {
    request(user, "publickey", &[Field::Bool(signed), Field::Str(algorithm), Field::Bytes(blob)])
}

fn interactive(user: &str) -> Vec<u8> {
    request(user, "keyboard-interactive", &[Field::Str(""), Field::Str("")])
}

fn answers(texts: &[&str]) -> Vec<u8> {
    let mut fields = vec![Field::U32(u32::try_from(texts.len()).unwrap())];
    fields.extend(texts.iter().map(|text| Field::Str(text)));
    message(61, &fields)
}

/// `sent` with a signature over the session id and `covered`.
fn signed(session_id: &[u8], covered: &[u8], sent: &[u8], key: &SigningKey) -> Vec<u8> {
    let mut over = Vec::new();
    put_string(&mut over, session_id);
    over.extend(covered);
    let mut signature = Vec::new();
    put_string(&mut signature, b"ssh-ed25519");
    put_string(&mut signature, &key.sign(SignatureAlgorithm::Ed25519, &over).unwrap());
    let mut payload = sent.to_vec();
    put_string(&mut payload, &signature);
    payload
}

/// A signed request as it should be.
fn sign_in(peer: &RawPeer, user: &str, key: &SigningKey) -> Vec<u8> {
    let sent = key_request(true, user, "ssh-ed25519", &key.public_key().to_blob());
    signed(&peer.session_id, &sent, &sent, key)
}

/// FAILURE.
fn failure(methods: &str, partial: bool) -> Vec<u8> {
    message(51, &[Field::Str(methods), Field::Bool(partial)])
}

const EVERY: &str = "publickey,password,keyboard-interactive,hostbased";
