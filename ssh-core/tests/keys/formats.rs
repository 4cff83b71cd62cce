//! Every format by itself: what is written is read back, and what cannot be written is named.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_core::crypto::default_provider;
use ssh_core::keys::openssh::{self, Encryption, OpenSshCipher};
use ssh_core::keys::{Half, KdfLimits, KeyFormat, KeyFormatError, KeyPair, PrivateKey, PublicLine};

use crate::tools::{KINDS, key, parts};

const PASSPHRASE: &[u8] = b"correct horse";

fn keeps_comment(format: KeyFormat) -> bool {
    !matches!(format, KeyFormat::Pkcs8 | KeyFormat::Pkcs1 | KeyFormat::Sec1)
}

/// What `detect` calls a format that has two names.
fn detected(format: KeyFormat, half: Half) -> KeyFormat {
    match (format, half) {
        (KeyFormat::JwkNist, _) => KeyFormat::Jwk,
        (KeyFormat::Ssh2, Half::Public) => KeyFormat::Rfc4716,
        _ => format,
    }
}

/// The content of an armor.
fn unarmored(text: &str) -> Vec<u8> {
    let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(base64).unwrap()
}

#[test]
fn private_keys_of_every_format_are_read_back() {
    let mut written = 0;
    for (format, kind) in KeyFormat::ALL.iter().flat_map(|format| KINDS.map(|kind| (*format, kind))) {
        let pair = key(kind);
        let text = match pair.encode(format, None) {
            Ok(text) => text,
            Err(error) => {
                assert_eq!(error, KeyFormatError::CannotHold { format, half: Half::Private, kind });
                assert!(!format.holds(Half::Private, kind));
                continue;
            }
        };
        written += 1;
        assert!(text.ends_with('\n') && !text.contains('\r'));
        assert_eq!(
            KeyFormat::detect(text.as_bytes()),
            Some((detected(format, Half::Private), Half::Private))
        );
        // Windows' line ends and blank lines behind do no harm.
        for text in [text.to_string(), text.replace('\n', "\r\n"), format!("\n{}\n\n", &*text)] {
            let again = KeyPair::parse(text.as_bytes(), None).unwrap();
            assert_eq!(parts(&again), parts(pair), "{format}");
            assert_eq!(again.comment, if keeps_comment(format) { &*pair.comment } else { "" }, "{format}");
            again.check(default_provider()).unwrap();
        }
        assert_eq!(PublicLine::decode(text.as_bytes()).unwrap_err(), KeyFormatError::IsPrivate, "{format}");
    }
    assert_eq!(written, 25);
}

#[test]
fn public_keys_of_every_format_are_read_back() {
    let mut written = 0;
    for (format, kind) in KeyFormat::ALL.iter().flat_map(|format| KINDS.map(|kind| (*format, kind))) {
        let line = key(kind).public_line();
        let text = match line.encode(format) {
            Ok(text) => text,
            Err(error) => {
                assert_eq!(error, KeyFormatError::CannotHold { format, half: Half::Public, kind });
                assert!(!format.holds(Half::Public, kind));
                continue;
            }
        };
        written += 1;
        assert_eq!(KeyFormat::detect(text.as_bytes()), Some((detected(format, Half::Public), Half::Public)));
        for text in [text.clone(), text.replace('\n', "\r\n"), format!("\n{text}\n\n")] {
            let again = PublicLine::decode(text.as_bytes()).unwrap();
            assert_eq!(again.key, line.key, "{format}");
            assert_eq!(again.comment, if keeps_comment(format) { &*line.comment } else { "" }, "{format}");
        }
        assert_eq!(KeyPair::parse(text.as_bytes(), None).unwrap_err(), KeyFormatError::IsPublic, "{format}");
        line.key.encode(format).unwrap();
    }
    assert_eq!(written, 31);
}

#[test]
fn asn1_is_read_without_its_armor() {
    for (format, kind) in KeyFormat::ALL.iter().flat_map(|format| KINDS.map(|kind| (*format, kind))) {
        if !matches!(format, KeyFormat::Pkcs8 | KeyFormat::Pkcs1 | KeyFormat::Sec1) {
            continue;
        }
        if format.holds(Half::Private, kind) {
            let der = unarmored(&key(kind).encode(format, None).unwrap());
            assert_eq!(KeyFormat::detect(&der), Some((format, Half::Private)));
            assert_eq!(parts(&KeyPair::parse(&der, None).unwrap()), parts(key(kind)));
        }
        if format.holds(Half::Public, kind) {
            let der = unarmored(&key(kind).public_line().encode(format).unwrap());
            assert_eq!(KeyFormat::detect(&der), Some((format, Half::Public)));
            assert_eq!(PublicLine::decode(&der).unwrap().key, key(kind).public_key());
        }
    }
    let der = unarmored(&key(KINDS[1]).encode(KeyFormat::Pkcs8, Some(PASSPHRASE)).unwrap());
    assert_eq!(parts(&KeyPair::parse(&der, Some(PASSPHRASE)).unwrap()), parts(key(KINDS[1])));
}

#[test]
fn a_passphrase_is_for_the_formats_that_encrypt() {
    let mut limits = KdfLimits::default();
    for (format, kind) in KeyFormat::ALL.iter().flat_map(|format| KINDS.map(|kind| (*format, kind))) {
        if !format.holds(Half::Private, kind) {
            continue;
        }
        let pair = key(kind);
        if !format.encrypts() {
            for passphrase in [PASSPHRASE, b""] {
                let error = pair.encode(format, Some(passphrase)).unwrap_err();
                assert_eq!(error, KeyFormatError::CannotEncrypt(format));
                assert!(error.to_string().contains("use openssh or pkcs8"));
            }
            continue;
        }
        assert_eq!(pair.encode(format, Some(b"")).unwrap_err(), KeyFormatError::EmptyPassphrase);
        let text = pair.encode(format, Some(PASSPHRASE)).unwrap();
        let parse = |passphrase| KeyPair::parse(text.as_bytes(), passphrase);
        assert_eq!(parts(&parse(Some(PASSPHRASE)).unwrap()), parts(pair));
        assert_eq!(parse(None).unwrap_err(), KeyFormatError::PassphraseNeeded);
        assert_eq!(parse(Some(b"correct horsE")).unwrap_err(), KeyFormatError::WrongPassphrase);
        assert_eq!(parse(Some(b"")).unwrap_err(), KeyFormatError::WrongPassphrase);
        // The limits of the caller hold.
        (limits.bcrypt_rounds, limits.pbkdf2_iterations) = (23, 599_999);
        let error = KeyPair::parse_within(text.as_bytes(), Some(PASSPHRASE), &limits).unwrap_err();
        assert!(
            matches!(
                error,
                KeyFormatError::TooManyRounds { rounds: 24, limit: 23 }
                    | KeyFormatError::KdfTooCostly { kdf: "PBKDF2", cost: 600_000, limit: 599_999 }
            ),
            "{error}"
        );
    }
}

#[test]
fn openssh_keys_are_written_with_gcm_and_few_rounds_too() {
    let pair = key(KINDS[2]);
    for cipher in [OpenSshCipher::Aes256Ctr, OpenSshCipher::Aes256Gcm] {
        let encryption = Encryption { passphrase: PASSPHRASE, cipher, rounds: 1 };
        assert!(!format!("{encryption:?}").contains("99, 111"));
        let text = openssh::write_with(&pair.private, "c", Some(encryption)).unwrap();
        assert!(String::from_utf8_lossy(&unarmored(&text)).contains(cipher.name()));
        assert_eq!(parts(&KeyPair::parse(text.as_bytes(), Some(PASSPHRASE)).unwrap()), parts(pair));
        let wrong = KeyPair::parse(text.as_bytes(), Some(b"x")).unwrap_err();
        assert_eq!(wrong, KeyFormatError::WrongPassphrase);
        let encryption = Encryption { rounds: u32::MAX, ..encryption };
        let error = openssh::write_with(&pair.private, "c", Some(encryption)).unwrap_err();
        assert!(matches!(error, KeyFormatError::TooManyRounds { .. }));
    }
}

#[test]
fn errors_name_the_format_the_kind_and_the_remedy() {
    let message = key(KINDS[0]).encode(KeyFormat::Sec1, None).unwrap_err().to_string();
    for part in ["sec1", "private", "ssh-ed25519", "use openssh, pkcs8, jwk"] {
        assert!(message.contains(part), "{message}");
    }
    let message = key(KINDS[1]).public_line().encode(KeyFormat::Sec1).unwrap_err().to_string();
    for part in ["sec1", "public", "ecdsa-sha2-nistp256", "use openssh, pkcs8, rfc4716"] {
        assert!(message.contains(part), "{message}");
    }
    for format in KeyFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!("pem".parse::<KeyFormat>().is_err());
}

#[test]
fn curves_have_the_names_that_were_asked_for() {
    for (kind, registered, ssh) in
        [(KINDS[1], "P-256", "nistp256"), (KINDS[2], "P-384", "nistp384"), (KINDS[3], "P-521", "nistp521")]
    {
        let text = key(kind).encode(KeyFormat::Jwk, None).unwrap();
        assert!(text.contains(&format!("\"crv\": \"{registered}\"")), "{kind:?}");
        let text = key(kind).encode(KeyFormat::JwkNist, None).unwrap();
        assert!(text.contains(&format!("\"crv\": \"{ssh}\"")), "{kind:?}");
    }
}

#[test]
fn debug_shows_no_secret() {
    for kind in KINDS {
        let pair = key(kind);
        let shown = format!("{pair:?} {:?} {:#?}", pair.private, Some(pair));
        assert!(shown.contains("[..]") && shown.contains(kind.name()));
        for secret in parts(pair).1 {
            let bytes: Vec<String> = secret.iter().take(4).map(u8::to_string).collect();
            let hex: String = secret.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            assert!(!shown.contains(&bytes.join(", ")) && !shown.contains(&hex), "{kind:?}");
        }
    }
}

/// One half of one key and the other half of another.
#[test]
fn halves_of_two_keys_are_no_key() {
    for kind in KINDS {
        let (ours, other) = (key(kind), KeyPair::generate(default_provider(), kind, 3072).unwrap());
        let mixed = match (&ours.private, &other.private) {
            (PrivateKey::Ed25519 { seed, .. }, PrivateKey::Ed25519 { public, .. }) => {
                PrivateKey::Ed25519 { seed: seed.clone(), public: *public }
            }
            (PrivateKey::Ecdsa { curve, d, .. }, PrivateKey::Ecdsa { point, .. }) => {
                PrivateKey::Ecdsa { curve: *curve, d: d.clone(), point: point.clone() }
            }
            (PrivateKey::Rsa { e, d, p, q, iqmp, .. }, PrivateKey::Rsa { n, .. }) => PrivateKey::Rsa {
                e: e.clone(),
                n: n.clone(),
                d: d.clone(),
                p: p.clone(),
                q: q.clone(),
                iqmp: iqmp.clone(),
            },
            _ => unreachable!(),
        };
        let mixed = KeyPair::new(mixed, "");
        assert_eq!(mixed.check(default_provider()).unwrap_err(), KeyFormatError::Mismatch);
        for format in KeyFormat::ALL.into_iter().filter(|format| format.holds(Half::Private, kind)) {
            let text = mixed.encode(format, None).unwrap();
            match KeyPair::parse(text.as_bytes(), None) {
                // A format that leaves the public half out has no mismatch.
                Ok(read)
                    if matches!(mixed.private, PrivateKey::Ed25519 { .. }) && format == KeyFormat::Pkcs8 =>
                {
                    read.check(default_provider()).unwrap();
                    assert_eq!(parts(&read), parts(ours));
                }
                Ok(read) => assert_eq!(read.check(default_provider()).unwrap_err(), KeyFormatError::Mismatch),
                Err(error) => assert_eq!(error, KeyFormatError::Mismatch, "{format}"),
            }
        }
    }
}
