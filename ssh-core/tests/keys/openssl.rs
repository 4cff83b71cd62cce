//! Key files against OpenSSL, both ways.

use ssh_core::crypto::default_provider;
use ssh_core::keys::{Curve, Half, KeyFormat, KeyFormatError, KeyKind, KeyPair, PublicLine};

use crate::tools::{KINDS, key, parts, run, run_on, write_private};

const PASSPHRASE: &str = "correct horse";

/// Makes a key with OpenSSL, as PKCS#8; `None` if it is not installed.
fn made(kind: KeyKind) -> Option<String> {
    let curve = |name: &str| {
        vec!["-algorithm".into(), "EC".into(), "-pkeyopt".into(), format!("ec_paramgen_curve:{name}")]
    };
    let options: Vec<String> = match kind {
        KeyKind::Ed25519 => vec!["-algorithm".into(), "ED25519".into()],
        KeyKind::Ecdsa(Curve::P256) => curve("P-256"),
        KeyKind::Ecdsa(Curve::P384) => curve("P-384"),
        KeyKind::Ecdsa(Curve::P521) => curve("P-521"),
        KeyKind::Rsa => ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"].map(str::to_owned).to_vec(),
    };
    let mut arguments = vec!["genpkey"];
    arguments.extend(options.iter().map(String::as_str));
    run("openssl", &arguments).map(|made| made.unwrap())
}

/// What OpenSSL makes of `input`.
fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    run_on("openssl", arguments, input).unwrap().unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
}

fn opened(input: &[u8], passphrase: Option<&str>) -> KeyPair {
    let pair = KeyPair::parse(input, passphrase.map(str::as_bytes)).unwrap();
    pair.check(default_provider()).unwrap();
    pair
}

/// It opens with the right passphrase to the same key, and only with that.
fn opens(input: &[u8], expected: &KeyPair) {
    assert_eq!(parts(&opened(input, Some(PASSPHRASE))), parts(expected));
    let error = |passphrase: Option<&str>| KeyPair::parse(input, passphrase.map(str::as_bytes)).unwrap_err();
    assert_eq!(error(None), KeyFormatError::PassphraseNeeded);
    assert_eq!(error(Some("")), KeyFormatError::WrongPassphrase);
    assert_eq!(error(Some("correct horsE")), KeyFormatError::WrongPassphrase);
}

#[test]
fn its_private_keys_are_read_in_every_form() {
    for kind in KINDS {
        let Some(text) = made(kind) else { return };
        let pair = opened(text.as_bytes(), None);
        assert_eq!(pair.public_key().kind(), kind);
        let plain = |arguments: &[&str]| {
            let out = openssl(arguments, text.as_bytes());
            assert_eq!(parts(&opened(&out, None)), parts(&pair), "{kind:?} {arguments:?}");
        };
        plain(&["pkey", "-outform", "DER"]);
        match kind {
            KeyKind::Ed25519 => {}
            KeyKind::Rsa => {
                plain(&["rsa", "-traditional"]);
                plain(&["rsa", "-traditional", "-outform", "DER"]);
            }
            KeyKind::Ecdsa(_) => {
                plain(&["ec"]);
                plain(&["ec", "-outform", "DER"]);
                // The public half is computed.
                plain(&["ec", "-no_public"]);
                plain(&["pkey", "-ec_conv_form", "uncompressed"]);
            }
        }
        // The public half agrees with what OpenSSL computes.
        let spki = openssl(&["pkey", "-pubout"], text.as_bytes());
        assert_eq!(PublicLine::decode(&spki).unwrap().key, pair.public_key());
    }
}

#[test]
fn its_encrypted_private_keys_are_read() {
    let Some(ec) = made(KINDS[2]) else { return };
    let rsa = made(KeyKind::Rsa).unwrap();
    let (ec_pair, rsa_pair) = (opened(ec.as_bytes(), None), opened(rsa.as_bytes(), None));
    let out = format!("pass:{PASSPHRASE}");
    // The header of old.
    for cipher in ["-aes128", "-aes192", "-aes256", "-des3"] {
        opens(&openssl(&["ec", cipher, "-passout", &out], ec.as_bytes()), &ec_pair);
        opens(&openssl(&["rsa", "-traditional", cipher, "-passout", &out], rsa.as_bytes()), &rsa_pair);
    }
    let pkcs8 = |options: &[&str], text: &str| {
        openssl(&[&["pkcs8", "-topk8", "-passout", &out], options].concat(), text.as_bytes())
    };
    for cipher in ["aes-128-cbc", "aes-192-cbc", "aes-256-cbc", "des3"] {
        opens(&pkcs8(&["-v2", cipher], &rsa), &rsa_pair);
    }
    for hash in ["SHA1", "SHA224", "SHA256", "SHA384", "SHA512"] {
        let prf = format!("hmacWith{hash}");
        opens(&pkcs8(&["-v2", "aes-256-cbc", "-v2prf", &prf, "-iter", "1000"], &ec), &ec_pair);
    }
    opens(&pkcs8(&["-scrypt"], &ec), &ec_pair);
    opens(&pkcs8(&["-v2", "aes-256-cbc", "-outform", "DER"], &ec), &ec_pair);
    let ed25519 = made(KeyKind::Ed25519).unwrap();
    opens(&pkcs8(&["-v2", "aes-256-cbc"], &ed25519), &opened(ed25519.as_bytes(), None));
}

#[test]
fn what_is_too_weak_or_too_costly_is_named() {
    let Some(text) = made(KINDS[1]) else { return };
    let pkcs8 = |options: &[&str]| {
        let made = openssl(&[&["pkcs8", "-topk8", "-passout", "pass:x"], options].concat(), text.as_bytes());
        KeyPair::parse(&made, Some(b"x")).unwrap_err()
    };
    assert!(matches!(pkcs8(&["-v1", "PBE-SHA1-3DES"]), KeyFormatError::UnsupportedCipher(_)));
    assert!(matches!(pkcs8(&["-v2", "camellia-256-cbc"]), KeyFormatError::UnsupportedCipher(_)));
    assert!(matches!(
        pkcs8(&["-scrypt", "-scrypt_N", "16384", "-scrypt_r", "8", "-scrypt_p", "16"]),
        KeyFormatError::KdfTooCostly { kdf: "scrypt", cost: 2_097_152, .. }
    ));
    let k1 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], b"");
    assert!(matches!(KeyPair::parse(&k1, None), Err(KeyFormatError::UnsupportedType(_))));
    let x25519 = openssl(&["genpkey", "-algorithm", "X25519"], b"");
    assert!(matches!(KeyPair::parse(&x25519, None), Err(KeyFormatError::UnsupportedType(_))));
    let explicit = openssl(&["ec", "-param_enc", "explicit"], text.as_bytes());
    assert!(matches!(KeyPair::parse(&explicit, None), Err(KeyFormatError::Asn1(_))));
    let parameters = openssl(&["ecparam", "-name", "secp384r1", "-genkey"], b"");
    // With the parameters in a block of their own.
    assert!(String::from_utf8_lossy(&parameters).contains("BEGIN EC PARAMETERS"));
    opened(&parameters, None);
    let dsa =
        openssl(&["genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", "dsa_paramgen_bits:1024"], b"");
    assert!(KeyPair::parse(&dsa, None).is_err());
}

#[test]
fn it_reads_our_private_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    for kind in KINDS {
        let pair = key(kind);
        let spki = pair.public_line().encode(KeyFormat::Pkcs8).unwrap();
        for format in [KeyFormat::Pkcs8, KeyFormat::Pkcs1, KeyFormat::Sec1] {
            if !format.holds(Half::Private, kind) {
                continue;
            }
            for passphrase in [None, Some(PASSPHRASE)] {
                if passphrase.is_some() && !format.encrypts() {
                    continue;
                }
                let text = pair.encode(format, passphrase.map(str::as_bytes)).unwrap();
                let file = write_private(&path, text.as_bytes());
                let pass = format!("pass:{}", passphrase.unwrap_or_default());
                let base = ["pkey", "-in", &file, "-passin", &pass];
                let Some(theirs) = run("openssl", &[&base[..], &["-pubout"]].concat()) else { return };
                assert_eq!(theirs.unwrap(), spki, "{kind:?} {format}");
                // It makes the numbers fit each other; Ed25519 has no such check.
                if kind != KeyKind::Ed25519 {
                    let checked = run("openssl", &[&base[..], &["-check", "-noout"]].concat());
                    assert!(checked.unwrap().unwrap().contains("is valid"), "{kind:?} {format}");
                }
                // Down to the bytes.
                let traditional = if format == KeyFormat::Pkcs8 { &[][..] } else { &["-traditional"] };
                let same = run("openssl", &[&base[..], traditional].concat()).unwrap().unwrap();
                assert_eq!(same, *pair.encode(format, None).unwrap());
            }
        }
    }
}

#[test]
fn public_keys_go_both_ways() {
    for kind in KINDS {
        let line = key(kind).public_line();
        let spki = line.encode(KeyFormat::Pkcs8).unwrap();
        let pubin = ["pkey", "-pubin", "-pubout"];
        let Some(theirs) = run_on("openssl", &pubin, spki.as_bytes()) else { return };
        assert_eq!(theirs.unwrap(), spki.as_bytes());
        let der = openssl(&[&pubin[..], &["-outform", "DER"]].concat(), spki.as_bytes());
        assert_eq!(PublicLine::decode(&der).unwrap().key, line.key);
        if kind == KeyKind::Rsa {
            let pkcs1 = line.encode(KeyFormat::Pkcs1).unwrap();
            let theirs = openssl(&["rsa", "-pubin", "-RSAPublicKey_out"], spki.as_bytes());
            assert_eq!(theirs, pkcs1.as_bytes());
            let back = openssl(&["rsa", "-RSAPublicKey_in", "-pubout"], pkcs1.as_bytes());
            assert_eq!(back, spki.as_bytes());
        }
    }
}

/// ssh.com's cipher, which no tool here writes: OpenSSL does the arithmetic.
#[test]
fn an_encrypted_ssh2_key_is_read() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let pair = key(KeyKind::Rsa);
    let text = pair.encode(KeyFormat::Ssh2, None).unwrap();
    let base64: String = text.lines().filter(|line| !line.contains('-') && !line.contains(':')).collect();
    let body = STANDARD.decode(base64).unwrap();
    let name = body.windows(4).position(|part| part == b"none").unwrap();
    let blob_at = name + 8;
    let mut blob = body[blob_at..].to_vec();
    blob.resize(blob.len().next_multiple_of(8), 0);

    let Some(first) = run_on("openssl", &["md5", "-binary"], PASSPHRASE.as_bytes()) else { return };
    let first = first.unwrap();
    let second = openssl(&["md5", "-binary"], &[PASSPHRASE.as_bytes(), &first].concat());
    let hex: String = [first, second].concat().iter().take(24).map(|byte| format!("{byte:02x}")).collect();
    let cipher = ["enc", "-des-ede3-cbc", "-nopad", "-K", &hex, "-iv", "0000000000000000"];
    let sealed = openssl(&cipher, &blob);
    let mut out = body[..name - 4].to_vec();
    for field in [&b"3des-cbc"[..], &sealed] {
        out.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        out.extend(field);
    }
    let total = u32::try_from(out.len()).unwrap();
    out[4..8].copy_from_slice(&total.to_be_bytes());
    let base64 = STANDARD.encode(out);
    let text = format!(
        "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nSubject: me\ncomment: plain words\n{base64}\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n"
    );
    opens(text.as_bytes(), pair);
    assert_eq!(opened(text.as_bytes(), Some(PASSPHRASE)).comment, "plain words");
}
