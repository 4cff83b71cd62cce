//! The flow of RFC 4252 §7: query, PK_OK, signature, verdict.

use std::sync::atomic::{AtomicUsize, Ordering};

use ssh_core::crypto::{CryptoError, CryptoProvider, Signatures, Signer};
use ssh_core::keys::{Certificate, CertificateKind, PrivateKey, PublicKey};
use ssh_core::protocol::{Refusal, ServerMethod};

use super::*;

/// What a server says to one signed request whose key and user it knows.
fn verdict(make: impl FnOnce(&RawPeer, &SigningKey) -> Vec<u8>) -> (usize, Vec<Refusal>) {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    let payload = make(&peer, &key());
    peer.send(&payload);
    peer.wait(DELAY);
    (peer.authenticated, peer.refused)
}

#[test]
fn rfc4252_7_a_signed_request_without_a_query_lets_in() {
    assert_eq!(verdict(|peer, key| sign_in(peer, "ada", key)), (1, vec![]));
}

#[test]
fn rfc4252_7_the_golden_bytes_of_all_four_steps() {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    let key = key();
    let PublicKey::Ed25519(point) = key.public_key().clone() else { panic!("an Ed25519 key") };
    // Written out: byte 50, user, service, method, FALSE, algorithm, blob.
    let mut query = vec![50, 0, 0, 0, 3];
    query.extend(b"ada\0\0\0\x0essh-connection\0\0\0\x09publickey\0\0\0\0\x0bssh-ed25519\0\0\0\x33");
    query.extend(b"\0\0\0\x0bssh-ed25519\0\0\0\x20");
    query.extend(point);
    assert_eq!(query, key_request(false, "ada", "ssh-ed25519", &key.public_key().to_blob()));
    peer.send(&query);
    let mut pk_ok = vec![60];
    pk_ok.extend(b"\0\0\0\x0bssh-ed25519\0\0\0\x33\0\0\0\x0bssh-ed25519\0\0\0\x20");
    pk_ok.extend(point);
    assert_eq!(peer.take(60), Some(pk_ok));
    let mut request = query.clone();
    request[5 + 3 + 18 + 13] = 1;
    let payload = signed(&peer.session_id, &request, &request, &key);
    assert_eq!(payload.len(), request.len() + 4 + 4 + 11 + 4 + 64);
    peer.send(&payload);
    assert_eq!((peer.take(52), peer.authenticated), (Some(vec![52]), 1));
    assert_eq!(peer.attempts, ["ada query", "ada query", "ada publickey"]);
}

#[test]
fn rfc4252_7_each_field_that_the_signature_covers_counts() {
    let blob = |key: &SigningKey| key.public_key().to_blob();
    let field = |number: u8, texts: [&str; 3], flag: bool, algorithm: &str, blob: &[u8]| {
        let [user, service, method] = texts.map(Field::Str);
        message(
            number,
            &[user, service, method, Field::Bool(flag), Field::Str(algorithm), Field::Bytes(blob)],
        )
    };
    let right = ["ada", "ssh-connection", "publickey"];
    let name = "ssh-ed25519";
    type Covered = (&'static str, fn(&[u8], &SigningKey) -> (Vec<u8>, Vec<u8>));
    // What the client signed instead: session id and request.
    let cases: [Covered; 8] = [
        ("session id", |id, key| {
            let mut id = id.to_vec();
            id[0] ^= 1;
            (id, key_request(true, "ada", "ssh-ed25519", &key.public_key().to_blob()))
        }),
        ("message number", |id, key| {
            let mut covered = key_request(true, "ada", "ssh-ed25519", &key.public_key().to_blob());
            covered[0] = 51;
            (id.to_vec(), covered)
        }),
        ("user", |id, key| {
            (id.to_vec(), key_request(true, "adb", "ssh-ed25519", &key.public_key().to_blob()))
        }),
        ("service", |id, key| {
            let mut covered = key_request(true, "ada", "ssh-ed25519", &key.public_key().to_blob());
            covered[12] ^= 1;
            (id.to_vec(), covered)
        }),
        ("method", |id, key| {
            let mut covered = key_request(true, "ada", "ssh-ed25519", &key.public_key().to_blob());
            covered[30] ^= 1;
            (id.to_vec(), covered)
        }),
        ("flag", |id, key| {
            (id.to_vec(), key_request(false, "ada", "ssh-ed25519", &key.public_key().to_blob()))
        }),
        ("algorithm", |id, key| {
            (id.to_vec(), key_request(true, "ada", "ssh-ed25518", &key.public_key().to_blob()))
        }),
        ("key", |id, key| {
            let mut blob = key.public_key().to_blob();
            *blob.last_mut().unwrap() ^= 1;
            (id.to_vec(), key_request(true, "ada", "ssh-ed25519", &blob))
        }),
    ];
    for (what, covered) in cases {
        let found = verdict(|peer, key| {
            let sent = field(50, right, true, name, &blob(key));
            let (id, covered) = covered(&peer.session_id, key);
            assert_ne!((&id, &covered), (&peer.session_id, &sent), "{what}");
            signed(&id, &covered, &sent, key)
        });
        assert_eq!(found, (0, vec![Refusal::Signature]), "{what}");
    }
}

#[test]
fn every_flipped_bit_of_a_signed_request_is_refused() {
    let length = sign_in(&server(), "ada", &key()).len();
    for bit in 0..8 * length {
        let mut peer = server();
        peer.answer = Some(AuthAnswer::Accept);
        let mut payload = sign_in(&peer, "ada", &key());
        payload[bit / 8] ^= 1 << (bit % 8);
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!((peer.authenticated, peer.count(52)), (0, 0), "bit {bit}");
    }
}

#[test]
fn a_signature_captured_in_another_session_is_refused() {
    let key = key();
    let mut first = server();
    first.answer = Some(AuthAnswer::Accept);
    let captured = sign_in(&first, "ada", &key);
    first.send(&captured);
    assert_eq!(first.authenticated, 1);
    assert_eq!(verdict(|_, _| captured), (0, vec![Refusal::Signature]));
}

#[test]
fn the_session_id_stays_when_keys_change_during_the_login() {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    let first = peer.session_id.clone();
    peer.rekey();
    assert_eq!(peer.session_id, first);
    let payload = sign_in(&peer, "ada", &key());
    peer.send(&payload);
    assert_eq!(peer.authenticated, 1);
}

#[test]
fn the_right_key_of_another_user_is_refused() {
    let (of_ada, of_bob) = (key(), key());
    for (user, key, lets_in) in
        [("ada", &of_ada, true), ("bob", &of_bob, true), ("ada", &of_bob, false), ("bob", &of_ada, false)]
    {
        let mut peer = server();
        let knows = (user == "ada" && *key.public_key() == *of_ada.public_key())
            || (user == "bob" && *key.public_key() == *of_bob.public_key());
        peer.answer = Some(if knows { AuthAnswer::Accept } else { AuthAnswer::Reject });
        let payload = sign_in(&peer, user, key);
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!((peer.authenticated == 1, peer.count(51) == 0), (lets_in, lets_in), "{user}");
        let ServerMethod::PublicKeyQuery(asked) = &peer.asked[0].method else { panic!("a query") };
        assert_eq!((peer.asked[0].user.as_str(), &asked.key), (user, key.public_key()));
    }
}

#[test]
fn the_blob_says_which_of_several_keys() {
    let keys = [key(), key(), key()];
    let mut peer = server();
    peer.answers.extend([AuthAnswer::Accept, AuthAnswer::Accept]);
    let payload = sign_in(&peer, "ada", &keys[1]);
    peer.send(&payload);
    assert_eq!(peer.authenticated, 1);
    let ServerMethod::PublicKey(proven) = &peer.asked[1].method else { panic!("a proven key") };
    assert_eq!(&proven.key, keys[1].public_key());
}

#[test]
fn query_key_a_and_sign_with_b() {
    let (a, b) = (key(), key());
    // B signs and says that it is A.
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    peer.send(&key_request(false, "ada", "ssh-ed25519", &a.public_key().to_blob()));
    assert_eq!(peer.count(60), 1);
    let sent = key_request(true, "ada", "ssh-ed25519", &a.public_key().to_blob());
    let payload = signed(&peer.session_id, &sent, &sent, &b);
    peer.send(&payload);
    peer.wait(DELAY);
    assert_eq!((peer.authenticated, peer.refused.as_slice()), (0, &[Refusal::Signature][..]));

    // B signs and says so, after A was asked about: B is what the application hears of.
    let mut peer = server();
    peer.answers.extend([AuthAnswer::Accept, AuthAnswer::Reject]);
    peer.send(&key_request(false, "ada", "ssh-ed25519", &a.public_key().to_blob()));
    let payload = sign_in(&peer, "ada", &b);
    peer.send(&payload);
    peer.wait(DELAY);
    let ServerMethod::PublicKeyQuery(asked) = &peer.asked[1].method else { panic!("a query") };
    assert_eq!((&asked.key, peer.authenticated), (b.public_key(), 0));
}

#[test]
fn a_query_never_lets_in() {
    for answer in [AuthAnswer::Accept, AuthAnswer::Partial(vec![Method::Password])] {
        let mut peer = server();
        peer.answer = Some(answer);
        for _ in 0..5 {
            peer.send(&key_request(false, "ada", "ssh-ed25519", &key().public_key().to_blob()));
        }
        assert_eq!((peer.authenticated, peer.count(60), peer.count(51), peer.count(52)), (0, 5, 0, 0));
        // Nor does it leave a trace that a later step could build on.
        assert!(peer.asked.iter().all(|attempt| attempt.succeeded.is_empty()));
    }
}

#[test]
fn a_key_that_is_withdrawn_between_the_steps_is_refused() {
    let mut peer = answering([AuthAnswer::Accept, AuthAnswer::Accept, AuthAnswer::Reject]);
    let key = key();
    peer.send(&key_request(false, "ada", "ssh-ed25519", &key.public_key().to_blob()));
    assert_eq!(peer.count(60), 1);
    let payload = sign_in(&peer, "ada", &key);
    peer.send(&payload);
    peer.wait(DELAY);
    assert_eq!((peer.authenticated, peer.count(51)), (0, 1));
    assert_eq!(peer.attempts, ["ada query", "ada query", "ada publickey"]);
}

/// Counts verifications.
#[derive(Debug)]
struct Counting(&'static dyn Signatures, AtomicUsize);

impl Signatures for Counting {
    fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        key: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.verify(algorithm, key, message, signature)
    }

    fn signer(&self, key: &PrivateKey) -> Result<Box<dyn Signer>, CryptoError> {
        self.0.signer(key)
    }

    fn generate(&self, kind: KeyKind, rsa_bits: u32) -> Result<PrivateKey, CryptoError> {
        self.0.generate(kind, rsa_bits)
    }
}

#[test]
fn an_unknown_user_costs_no_signature_check() {
    let provider = default_provider();
    let counting: &'static Counting = Box::leak(Box::new(Counting(provider.signatures, AtomicUsize::new(0))));
    let counted: &'static CryptoProvider =
        Box::leak(Box::new(CryptoProvider { signatures: counting, ..*provider }));
    for (answer, checks) in [(AuthAnswer::Reject, 0), (AuthAnswer::Accept, 1)] {
        let peer = RawPeer::with_provider(Role::Server, Algorithms::default(), Limits::default(), counted);
        let mut peer = in_service(peer.ask_methods(|_| ALL.to_vec()));
        peer.answer = Some(answer);
        let key = key();
        counting.1.store(0, Ordering::Relaxed);
        peer.send(&key_request(false, "ada", "ssh-ed25519", &key.public_key().to_blob()));
        peer.wait(DELAY);
        assert_eq!(counting.1.load(Ordering::Relaxed), 0, "a query");
        let payload = sign_in(&peer, "ada", &key);
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!(counting.1.load(Ordering::Relaxed), checks);
    }
}

#[test]
fn an_algorithm_that_nobody_knows_fails_its_attempt_only() {
    let mut peer = server();
    for algorithm in ["ssh-nonsense", "", "ssh-rsa", "ssh-dss", "ssh-ed25519\0", "SSH-ED25519"] {
        if peer.error().is_some() {
            peer = server();
        }
        peer.send(&key_request(false, "ada", algorithm, &key().public_key().to_blob()));
        peer.wait(DELAY);
        assert_eq!(peer.refused.pop(), Some(Refusal::Key), "{algorithm}");
        assert!(std::mem::take(&mut peer.refused_queries) == 1, "{algorithm}: it only asked");
        assert_eq!(peer.take(51), Some(failure(EVERY, false)), "{algorithm}");
    }
    assert!(peer.asked.is_empty());
}

#[test]
fn dev_tunnels_rsa_blobs_name_their_algorithm() {
    let provider = default_provider();
    let private = provider.signatures.generate(KeyKind::Rsa, 3072).unwrap();
    let key = SigningKey::new(&private, provider).unwrap();
    let PublicKey::Rsa { e, n } = key.public_key() else { panic!("an RSA key") };
    for inside in ["ssh-rsa", "rsa-sha2-256", "rsa-sha2-512"] {
        let mut blob = Vec::new();
        put_string(&mut blob, inside.as_bytes());
        put_string(&mut blob, e);
        put_string(&mut blob, &[&[0], &n[..]].concat());
        let mut peer = server();
        peer.answer = Some(AuthAnswer::Accept);
        peer.send(&key_request(false, "ada", "rsa-sha2-512", &blob));
        // PK_OK says back the blob that was asked about.
        let pk_ok = message(60, &[Field::Str("rsa-sha2-512"), Field::Bytes(&blob)]);
        assert_eq!(peer.take(60), Some(pk_ok), "{inside}");
        let sent = key_request(true, "ada", "rsa-sha2-512", &blob);
        let mut over = Vec::new();
        put_string(&mut over, &peer.session_id);
        over.extend(&sent);
        let mut signature = Vec::new();
        put_string(&mut signature, b"rsa-sha2-512");
        put_string(&mut signature, &key.sign(SignatureAlgorithm::RsaSha512, &over).unwrap());
        let mut payload = sent;
        put_string(&mut payload, &signature);
        peer.send(&payload);
        assert_eq!(peer.authenticated, 1, "{inside}");
        let ServerMethod::PublicKey(proven) = &peer.asked[2].method else { panic!("a proven key") };
        assert_eq!(&proven.key, key.public_key());
    }
}

#[test]
fn a_certificate_of_the_other_kind_is_not_looked_at() {
    let (authority, key) = (key(), key());
    for (kind, is_asked) in [(CertificateKind::User, true), (CertificateKind::Host, false)] {
        let certificate = Certificate::builder(kind, key.public_key().clone())
            .principal("ada")
            .sign(&authority, default_provider())
            .unwrap();
        let name = "ssh-ed25519-cert-v01@openssh.com";
        let mut peer = server();
        peer.send(&key_request(false, "ada", name, &certificate.to_blob()));
        peer.wait(DELAY);
        assert_eq!((peer.asked.len() == 1, peer.refused.is_empty()), (is_asked, is_asked), "{kind:?}");
        // And the other way round where a host vouches.
        let fields =
            [Field::Str(name), Field::Bytes(&certificate.to_blob()), Field::Str("host."), Field::Str("eve")];
        let sent = request("ada", "hostbased", &fields);
        let mut peer = server();
        let payload = signed(&peer.session_id, &sent, &sent, &key);
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!((peer.asked.is_empty(), peer.refused.is_empty()), (is_asked, !is_asked), "{kind:?}");
    }
}

#[test]
fn rfc4252_9_a_host_signs_for_its_user() {
    let host_key = key();
    let sent = request(
        "ada",
        "hostbased",
        &[
            Field::Str("ssh-ed25519"),
            Field::Bytes(&host_key.public_key().to_blob()),
            Field::Str("host.example."),
            Field::Str("eve"),
        ],
    );
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    let payload = signed(&peer.session_id, &sent, &sent, &host_key);
    peer.send(&payload);
    assert_eq!(peer.authenticated, 1);
    let ServerMethod::HostBased { key: proven, host, user } = &peer.asked[0].method else {
        panic!("hostbased")
    };
    assert_eq!((&proven.key, host.as_str(), user.as_str()), (host_key.public_key(), "host.example.", "eve"));

    // The application hears nothing of a signature that does not verify.
    for (id, key) in [(vec![1; 32], &host_key), (server().session_id, &host_key)] {
        let mut peer = server();
        peer.answer = Some(AuthAnswer::Accept);
        peer.send(&signed(&id, &sent, &sent, key));
        peer.wait(DELAY);
        assert_eq!((peer.authenticated, peer.asked.len()), (0, 0));
        assert_eq!(peer.refused, [Refusal::Signature]);
    }
    let mut peer = server();
    let payload = signed(&peer.session_id, &sent, &sent, &key());
    peer.send(&payload);
    peer.wait(DELAY);
    assert_eq!((peer.asked.len(), peer.refused.as_slice()), (0, &[Refusal::Signature][..]));
}
