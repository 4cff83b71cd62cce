use std::path::Path;

use ssh_core::keys::openssh::{self, Encryption, OpenSshCipher};
use ssh_core::keys::{
    Fingerprint, Half, KeyFileError, KeyFormat, KeyFormatError, KeyKind, KeyPair, Overwrite, PublicLine,
};

use crate::tools::{self, generate, key, parts, run, write_private};

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
            let public = std::fs::read(path.with_extension("pub")).unwrap();
            assert_eq!(openssh::public_key(&text), Ok(PublicLine::parse(&public).unwrap().key));
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
fn encrypted_pem_and_pkcs8_keys_are_read() {
    for (kind, format) in KINDS.into_iter().skip(1).flat_map(|kind| [(kind, "PEM"), (kind, "PKCS8")]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        if !generate(&path, "correct horse", &[kind, &["-m", format]].concat()) {
            return;
        }
        let text = std::fs::read(&path).unwrap();
        let parse = |passphrase| KeyPair::parse(&text, passphrase);
        let line = PublicLine::parse(&std::fs::read(path.with_extension("pub")).unwrap()).unwrap();
        assert_eq!(parse(Some(b"correct horse")).unwrap().public_key(), line.key);
        assert_eq!(parse(None).unwrap_err(), KeyFormatError::PassphraseNeeded);
        assert_eq!(parse(Some(b"correct horsE")).unwrap_err(), KeyFormatError::WrongPassphrase);
    }
}

#[test]
fn old_ciphers_are_read() {
    for cipher in [
        "aes128-cbc",
        "aes192-cbc",
        "aes256-cbc",
        "3des-cbc",
        "aes128-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    ] {
        for kind in [KINDS[0], KINDS[4]] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            if !generate(&path, "correct horse", &[kind, &["-Z", cipher]].concat()) {
                return;
            }
            read(&path, "correct horse");
            let error = KeyPair::read_file(&path, Some(b"x")).unwrap_err();
            let KeyFileError::Format { source, .. } = error else { panic!("{error}") };
            assert_eq!(source, KeyFormatError::WrongPassphrase);
        }
    }
}

/// The public half that `ssh-keygen` sees in a file of ours.
fn seen(path: &Path, content: &str, passphrase: &str) -> Option<PublicLine> {
    let name = write_private(path, content);
    let line = run("ssh-keygen", &["-y", "-P", passphrase, "-f", &name])?;
    Some(PublicLine::parse(line.unwrap().as_bytes()).unwrap())
}

#[test]
fn it_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    for kind in tools::KINDS {
        let pair = key(kind);
        // It has no Ed25519 in PKCS#8 yet; OpenSSL reads those.
        let formats: &[KeyFormat] = match kind {
            KeyKind::Ed25519 => &[KeyFormat::OpenSsh],
            KeyKind::Rsa => &[KeyFormat::OpenSsh, KeyFormat::Pkcs8, KeyFormat::Pkcs1],
            _ => &[KeyFormat::OpenSsh, KeyFormat::Pkcs8, KeyFormat::Sec1],
        };
        for format in formats {
            let Some(line) = seen(&path, &pair.encode(*format, None).unwrap(), "") else { return };
            assert_eq!(line.key, pair.public_key());
            if format.encrypts() {
                let text = pair.encode(*format, Some("quite secret é".as_bytes())).unwrap();
                assert_eq!(seen(&path, &text, "quite secret é").unwrap().key, pair.public_key());
            }
        }
        let cipher = OpenSshCipher::Aes256Gcm;
        let encryption = Encryption { passphrase: b"x", cipher, rounds: 5 };
        let text = openssh::write_with(&pair.private, "c", Some(encryption)).unwrap();
        assert_eq!(seen(&path, &text, "x").unwrap().key, pair.public_key());
    }
}

#[test]
fn public_keys_go_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pub");
    for kind in tools::KINDS {
        let line = PublicLine::new(key(kind).public_key(), "me@here");
        let ours = write_private(&path, line.encode(KeyFormat::OpenSsh).unwrap());
        for (name, format) in
            [("RFC4716", KeyFormat::Rfc4716), ("PKCS8", KeyFormat::Pkcs8), ("PEM", KeyFormat::Pkcs1)]
        {
            // It has no Ed25519 in ASN.1, and calls the form that both others have PEM for ECDSA.
            let missing = kind == KeyKind::Ed25519 && format != KeyFormat::Rfc4716;
            if missing || !format.holds(Half::Public, kind) {
                continue;
            }
            let Some(theirs) = run("ssh-keygen", &["-e", "-m", name, "-f", &ours]) else { return };
            let theirs = theirs.unwrap();
            let read = PublicLine::decode(theirs.as_bytes()).unwrap();
            assert_eq!(read.key, line.key);
            if format == KeyFormat::Rfc4716 {
                assert!(read.comment.contains("converted by"), "{}", read.comment);
            } else {
                assert_eq!(theirs, line.encode(format).unwrap());
            }
            let other = dir.path().join("other");
            let other = write_private(&other, line.encode(format).unwrap());
            let theirs = run("ssh-keygen", &["-i", "-m", name, "-f", &other]).unwrap().unwrap();
            assert_eq!(PublicLine::parse(theirs.as_bytes()).unwrap().key, line.key);
        }
    }
}

#[test]
fn a_long_comment_is_folded() {
    let comment = "a comment that is long, ".repeat(8) + "é";
    let line = PublicLine::new(key(tools::KINDS[0]).public_key(), &comment);
    let text = line.encode(KeyFormat::Rfc4716).unwrap();
    assert!(
        text.lines().all(|line| line.len() <= 72) && text.lines().filter(|l| l.ends_with('\\')).count() == 2
    );
    assert_eq!(PublicLine::decode(text.as_bytes()), Ok(line.clone()));
    let dir = tempfile::tempdir().unwrap();
    let file = write_private(&dir.path().join("key"), text);
    let Some(theirs) = run("ssh-keygen", &["-i", "-f", &file]) else { return };
    assert_eq!(PublicLine::parse(theirs.unwrap().as_bytes()).unwrap().key, line.key);
}

#[test]
fn it_reads_our_ssh2_private_keys() {
    let pair = key(KeyKind::Rsa);
    let text = pair.encode(KeyFormat::Ssh2, None).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = write_private(&dir.path().join("key"), text.as_bytes());
    let Some(theirs) = run("ssh-keygen", &["-i", "-f", &file]) else { return };
    let theirs = KeyPair::parse(theirs.unwrap().as_bytes(), None).unwrap();
    assert_eq!(parts(&theirs), parts(pair));
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
