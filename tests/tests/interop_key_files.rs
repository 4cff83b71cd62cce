//! Key files between Adit and the key library of Dev Tunnels for TypeScript: every format and kind of key that it has,
//! both ways. `ssh-keygen` and OpenSSL have their tests with the formats, in ssh-core.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use serde_json::{Value, json};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{Curve, Half, KeyFormat, KeyKind, KeyPair, PrivateKey, PublicLine};
use tests::outcome::Outcome;
use tests::peers::dev_tunnels::DevTunnels;

/// The kinds of key that the library has.
const KINDS: [KeyKind; 4] =
    [KeyKind::Ecdsa(Curve::P256), KeyKind::Ecdsa(Curve::P384), KeyKind::Ecdsa(Curve::P521), KeyKind::Rsa];
/// The formats that it reads private keys in, and the names it gives to those that it writes.
const PRIVATE: [KeyFormat; 4] = [KeyFormat::Pkcs8, KeyFormat::Pkcs1, KeyFormat::Sec1, KeyFormat::JwkNist];
const PUBLIC: [KeyFormat; 4] = [KeyFormat::OpenSsh, KeyFormat::Pkcs8, KeyFormat::Pkcs1, KeyFormat::JwkNist];
/// What the script encrypts with.
const THEIRS: &[u8] = b"battery staple";
const OURS: &str = "correct horse";

/// Everything that a key is.
fn parts(pair: &KeyPair) -> (Vec<u8>, Vec<Vec<u8>>) {
    let secrets = match &pair.private {
        PrivateKey::Ecdsa { d, .. } => vec![d.to_vec()],
        PrivateKey::Rsa { d, p, q, iqmp, .. } => [d, p, q, iqmp].map(|number| number.to_vec()).to_vec(),
        _ => unreachable!(),
    };
    (pair.public_key().to_blob(), secrets)
}

/// Reads every text of an answer; all must be the key. Says how many there were.
fn read_all(answer: &Value, expected: &KeyPair, what: &str) -> usize {
    assert!(answer.get("error").is_none(), "{what}: {answer}");
    let texts = |name: &str| {
        let texts = answer.get(name).and_then(Value::as_object).into_iter().flatten();
        texts.filter_map(|(format, text)| Some((format.clone(), text.as_str()?.to_owned())))
    };
    let mut count = 0;
    for (format, text) in texts("public") {
        let line = PublicLine::decode(text.as_bytes())
            .unwrap_or_else(|error| panic!("{what} {format}: {error} {text}"));
        assert_eq!(line.key, expected.public_key(), "{what} {format}");
        count += 1;
    }
    for (name, passphrase) in [("private", None), ("encrypted", Some(THEIRS))] {
        for (format, text) in texts(name) {
            let pair = KeyPair::parse(text.as_bytes(), passphrase)
                .unwrap_or_else(|error| panic!("{what} {name} {format}: {error}"));
            assert_eq!(parts(&pair), parts(expected), "{what} {name} {format}");
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn it_reads_what_we_write_and_we_what_it_writes_of_it() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    for kind in KINDS {
        let pair = KeyPair::generate(default_provider(), kind, 3072).unwrap();
        let pair = KeyPair::new(pair.private, "me@here");
        let mut told = Vec::new();
        let mut names = Vec::new();
        for format in PRIVATE.into_iter().filter(|format| format.holds(Half::Private, kind)) {
            told.push(json!({ "text": *pair.encode(format, None).unwrap() }));
            names.push(format!("{} private {format}", kind.name()));
            if format.encrypts() {
                let text = pair.encode(format, Some(OURS.as_bytes())).unwrap();
                told.push(json!({ "text": *text, "passphrase": OURS }));
                names.push(format!("{} encrypted {format}", kind.name()));
            }
        }
        let privates = told.len();
        for format in PUBLIC.into_iter().filter(|format| format.holds(Half::Public, kind)) {
            told.push(json!({ "text": pair.public_line().encode(format).unwrap() }));
            names.push(format!("{} public {format}", kind.name()));
        }
        let answers = dev_tunnels.keys(&json!({ "keys": told })).await?;
        let answers = answers.as_array().unwrap();
        assert_eq!(answers.len(), names.len());
        for (index, (answer, name)) in answers.iter().zip(&names).enumerate() {
            let count = read_all(answer, &pair, name);
            // PKCS#8, JWK and one of PKCS#1 and SEC1, and PKCS#8 encrypted; the public forms beside them.
            let least = if index < privates { 7 } else { 3 };
            assert!(count >= least, "{name}: only {count} forms: {answer}");
        }
        // Whoever is given the registered names of curves cannot read them.
        if kind != KeyKind::Rsa {
            let text = pair.encode(KeyFormat::Jwk, None).unwrap();
            let answers = dev_tunnels.keys(&json!({ "keys": [{ "text": *text }] })).await?;
            assert!(answers[0].get("error").is_some(), "{answers}");
        }
        // A wrong passphrase opens nothing.
        let text = pair.encode(KeyFormat::Pkcs8, Some(OURS.as_bytes())).unwrap();
        let wrong = json!({ "keys": [{ "text": *text, "passphrase": "wrong" }] });
        assert!(dev_tunnels.keys(&wrong).await?[0].get("error").is_some());
    }
    Ok(())
}

/// Several keys of each kind: a number with leading zeros comes once in 256.
#[tokio::test]
async fn keys_that_it_makes_are_read_in_every_form() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    for (name, times) in [
        ("ecdsa-sha2-nistp256", 300),
        ("ecdsa-sha2-nistp384", 20),
        ("ecdsa-sha2-nistp521", 20),
        ("rsa-sha2-512", 2),
    ] {
        let mut short = 0;
        for answer in dev_tunnels.keys(&json!({ "generate": vec![name; times] })).await?.as_array().unwrap() {
            let text = answer["private"]["pkcs8"].as_str().unwrap_or_else(|| panic!("{answer}"));
            let pair = KeyPair::parse(text.as_bytes(), None).unwrap();
            pair.check(default_provider()).unwrap();
            assert!(read_all(answer, &pair, name) >= 7, "{answer}");
            let PrivateKey::Ecdsa { d, .. } = &pair.private else { continue };
            short += usize::from(d[0] == 0);
        }
        println!("{name}: {short} of {times} begin with a zero");
    }
    Ok(())
}

#[tokio::test]
async fn it_refuses_what_it_cannot_have() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let pair = KeyPair::generate(default_provider(), KeyKind::Ed25519, 0).unwrap();
    let texts = [KeyFormat::Pkcs8, KeyFormat::Jwk]
        .map(|format| json!({ "text": *pair.encode(format, None).unwrap() }));
    for answer in dev_tunnels.keys(&json!({ "keys": texts })).await?.as_array().unwrap() {
        assert!(answer.get("error").is_some(), "the library has Ed25519 now; test with it: {answer}");
    }
    Ok(())
}
