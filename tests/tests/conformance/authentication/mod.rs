//! RFC 4252, and what may not come before it is over.

mod keys;
mod limits;
mod order;

use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{AuthAnswer, Role};
use tests::raw_peer::{Field, RawPeer, message, put_string};

const PROTOCOL_ERROR: u32 = 2;
const SERVICE_NOT_AVAILABLE: u32 = 7;
const NO_MORE_AUTH_METHODS: u32 = 14;

fn key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

/// A server that has accepted the authentication service and answers every attempt with `answer`.
fn server(answer: AuthAnswer) -> RawPeer {
    let mut peer = RawPeer::against(Role::Server);
    peer.answer = Some(answer);
    peer.connect();
    peer.send(&message(5, &[Field::Str("ssh-userauth")]));
    assert_eq!(peer.take(6), Some(message(6, &[Field::Str("ssh-userauth")])));
    peer
}

fn none(user: &str) -> Vec<u8> {
    message(50, &[Field::Str(user), Field::Str("ssh-connection"), Field::Str("none")])
}

fn public_key(signed: bool, user: &str, algorithm: &str, key: &[u8]) -> Vec<u8> {
    message(
        50,
        &[
            Field::Str(user),
            Field::Str("ssh-connection"),
            Field::Str("publickey"),
            Field::Bool(signed),
            Field::Str(algorithm),
            Field::Bytes(key),
        ],
    )
}

/// A publickey request, signed over `session_id` and what `signed_as` says.
fn signed(session_id: &[u8], request: &[u8], signed_as: &[u8], name: &str, key: &SigningKey) -> Vec<u8> {
    let mut over = Vec::new();
    put_string(&mut over, session_id);
    over.extend(signed_as);
    let blob = key.sign(SignatureAlgorithm::Ed25519, &over).unwrap();
    let mut signature = Vec::new();
    put_string(&mut signature, name.as_bytes());
    put_string(&mut signature, &blob);
    let mut payload = request.to_vec();
    put_string(&mut payload, &signature);
    payload
}
