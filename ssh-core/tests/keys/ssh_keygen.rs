use std::path::Path;

use ssh_core::keys::{Fingerprint, KeyFormatError, KeyPair, Overwrite, PublicLine};

use crate::tools::{generate, parts, run};

const KINDS: [&[&str]; 6] = [
    &["-t", "ed25519"],
    &["-t", "ecdsa", "-b", "256"],
    &["-t", "ecdsa", "-b", "384"],
    &["-t", "ecdsa", "-b", "521"],
    &["-t", "rsa", "-b", "2048"],
    &["-t", "rsa", "-b", "3072"],
];

/// Reads a key that `ssh-keygen` made, and checks it against the `.pub` file and the fingerprint beside it.
fn read(path: &Path, passphrase: &str) -> KeyPair {
    let pair = KeyPair::read_file(path, non_empty(passphrase)).unwrap();
    let public = path.with_extension("pub");
    let line = PublicLine::parse(&std::fs::read(&public).unwrap()).unwrap();
    assert_eq!((pair.public_key(), "me@here"), (line.key.clone(), line.comment.as_str()));
    let listed = run("ssh-keygen", &["-l", "-f", public.to_str().unwrap()]).unwrap().unwrap();
    let mut words = listed.split(' ');
    assert_eq!(words.next().unwrap(), line.key.bits().to_string());
    let fingerprint = words.next().unwrap();
    assert_eq!(line.key.fingerprint().to_string(), fingerprint);
    assert_eq!(fingerprint.parse::<Fingerprint>().unwrap(), line.key.fingerprint());
    pair
}

/// Writes a key in the clear and encrypted; `ssh-keygen` and we must read the same key.
fn write(pair: &KeyPair, dir: &Path) {
    for passphrase in ["", "a", "quite secret é"] {
        let path = dir.join(format!("written{}", passphrase.len()));
        pair.write_file(&path, non_empty(passphrase), Overwrite::Refuse).unwrap();
        let name = path.to_str().unwrap();
        let public = run("ssh-keygen", &["-y", "-P", passphrase, "-f", name]).unwrap().unwrap();
        let line = PublicLine::parse(public.as_bytes()).unwrap();
        assert_eq!((line.key, line.comment), (pair.public_key(), pair.comment.clone()));
        let listed = run("ssh-keygen", &["-l", "-f", name]).unwrap().unwrap();
        assert!(listed.contains(&pair.public_key().fingerprint().to_string()), "{listed}");
        // `-y` believes the public half; a signature is made with the private one.
        if passphrase.is_empty() {
            sign_and_verify(name, &public, dir);
        }
        let again = KeyPair::read_file(&path, non_empty(passphrase)).unwrap();
        assert_eq!(parts(&again), parts(pair));
        assert_eq!(again.comment, pair.comment);
    }
}

fn sign_and_verify(key: &str, public: &str, dir: &Path) {
    let message = dir.join("message");
    let signers = dir.join("signers");
    std::fs::write(&message, "hello").unwrap();
    std::fs::write(&signers, format!("me {public}")).unwrap();
    let signature = format!("{}.sig", message.display());
    let _ = std::fs::remove_file(&signature);
    run("ssh-keygen", &["-q", "-Y", "sign", "-n", "t", "-f", key, message.to_str().unwrap()])
        .unwrap()
        .unwrap();
    let input = std::fs::File::open(&message).unwrap();
    let verified = std::process::Command::new("ssh-keygen")
        .args([
            "-q",
            "-Y",
            "verify",
            "-n",
            "t",
            "-I",
            "me",
            "-s",
            &signature,
            "-f",
            signers.to_str().unwrap(),
        ])
        .stdin(input)
        .status()
        .unwrap();
    assert!(verified.success());
}

fn non_empty(passphrase: &str) -> Option<&[u8]> {
    (!passphrase.is_empty()).then_some(passphrase.as_bytes())
}

#[test]
fn keys_of_every_kind_go_both_ways() {
    for kind in KINDS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        if !generate(&path, "", kind) {
            return;
        }
        let pair = read(&path, "");
        assert_eq!(pair.comment, "me@here");
        write(&pair, dir.path());
    }
}

#[test]
fn encrypted_keys_of_every_kind_and_cipher_are_read() {
    let ciphers = ["aes128-ctr", "aes192-ctr", "aes256-ctr", "aes256-gcm@openssh.com"];
    for (kind, ciphers) in
        KINDS.into_iter().zip([&ciphers[..], &ciphers[2..], &ciphers[3..]].into_iter().cycle())
    {
        for cipher in ciphers {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            if !generate(&path, "correct horse", &[kind, &["-Z", cipher]].concat()) {
                return;
            }
            assert_eq!(read(&path, "correct horse").comment, "me@here");
            let text = std::fs::read(&path).unwrap();
            let parse = |passphrase| KeyPair::parse(&text, passphrase).unwrap_err();
            assert_eq!(parse(None), KeyFormatError::PassphraseNeeded);
            assert_eq!(parse(Some(b"")), KeyFormatError::WrongPassphrase);
            assert_eq!(parse(Some(b"correct horsE")), KeyFormatError::WrongPassphrase);
        }
    }
}

#[test]
fn pem_and_pkcs8_keys_are_read() {
    for kind in KINDS {
        for format in ["PEM", "PKCS8"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            if !generate(&path, "", &[kind, &["-m", format]].concat()) {
                return;
            }
            write(&read(&path, ""), dir.path());
        }
    }
}

#[test]
fn encrypted_pem_and_pkcs8_keys_are_named() {
    for (kind, format, name) in [
        (KINDS[1], "PEM", "SEC1"),
        (KINDS[4], "PEM", "PKCS#1"),
        (KINDS[1], "PKCS8", "PKCS#8"),
        (KINDS[4], "PKCS8", "PKCS#8"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        if !generate(&path, "correct horse", &[kind, &["-m", format]].concat()) {
            return;
        }
        let text = std::fs::read(&path).unwrap();
        for passphrase in [None, Some(&b"correct horse"[..])] {
            let error = KeyPair::parse(&text, passphrase).unwrap_err();
            assert_eq!(error, KeyFormatError::EncryptionUnsupported(name));
        }
    }
}

#[test]
fn keys_of_openssl_are_read_or_named() {
    let Some(ec) = run("openssl", &["ecparam", "-name", "secp384r1", "-genkey"]) else { return };
    // With the parameters in a block of their own.
    let ec = ec.unwrap();
    assert!(ec.contains("BEGIN EC PARAMETERS"));
    KeyPair::parse(ec.as_bytes(), None).unwrap();
    let genpkey = |args: &[&str]| run("openssl", &[&["genpkey"], args].concat()).unwrap().unwrap();
    let ed25519 = KeyPair::parse(genpkey(&["-algorithm", "ED25519"]).as_bytes(), None);
    if cfg!(feature = "rustcrypto") {
        // `ssh-keygen` makes a signature with it and checks it under its public half.
        write(&ed25519.unwrap(), tempfile::tempdir().unwrap().path());
    } else {
        assert_eq!(ed25519.unwrap_err(), KeyFormatError::NoPublicHalf);
    }
    let p521 = genpkey(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    KeyPair::parse(p521.as_bytes(), None).unwrap();
    let k1 = genpkey(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]);
    assert!(matches!(KeyPair::parse(k1.as_bytes(), None), Err(KeyFormatError::UnsupportedType(_))));
    let x25519 = genpkey(&["-algorithm", "X25519"]);
    assert!(matches!(KeyPair::parse(x25519.as_bytes(), None), Err(KeyFormatError::UnsupportedType(_))));
}

#[test]
fn a_public_key_is_told_from_a_private_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    if !generate(&path, "", KINDS[0]) {
        return;
    }
    let public = std::fs::read(path.with_extension("pub")).unwrap();
    assert_eq!(KeyPair::parse(&public, None).unwrap_err(), KeyFormatError::IsPublic);
}
