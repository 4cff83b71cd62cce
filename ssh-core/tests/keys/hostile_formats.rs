//! Files that mean harm, in every format but OpenSSH's own: each ends in an error, soon.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use ssh_core::keys::{
    Curve, Half, KdfLimits, KeyFormat, KeyFormatError, KeyKind, KeyPair, MAX_KEY_FILE_LEN, PrivateKey,
    PublicLine,
};

use crate::tools::{KINDS, key, parts, timed};

/// Beside the work of a KDF nothing takes longer. Fifty times as much in a build without optimisation, on a machine
/// that has other things to do.
const SOON: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(2500) } else { Duration::from_millis(50) };

/// Every plain text that we write, private and public.
fn every_text() -> Vec<(KeyFormat, KeyKind, String)> {
    let mut texts = Vec::new();
    for (format, kind) in KeyFormat::ALL.iter().flat_map(|format| KINDS.map(|kind| (*format, kind))) {
        if format.holds(Half::Private, kind) {
            texts.push((format, kind, key(kind).encode(format, None).unwrap().to_string()));
        }
        if format.holds(Half::Public, kind) {
            texts.push((format, kind, key(kind).public_line().encode(format).unwrap()));
        }
    }
    texts
}

/// Reads it in every way that there is, with a small allowance for KDFs.
fn read(input: &[u8]) -> (Result<KeyPair, KeyFormatError>, Result<PublicLine, KeyFormatError>) {
    let mut limits = KdfLimits::default();
    (limits.bcrypt_rounds, limits.pbkdf2_iterations, limits.scrypt_cost) = (1, 10, 64);
    let (result, took) = timed(|| {
        let _ = KeyFormat::detect(input);
        (KeyPair::parse_within(input, Some(b"pass"), &limits), PublicLine::decode(input))
    });
    assert!(took < SOON, "{took:?} for {:?}", String::from_utf8_lossy(&input[..input.len().min(200)]));
    result
}

fn is_refused(input: &[u8]) {
    let (private, public) = read(input);
    assert!(private.is_err() && public.is_err(), "{}", String::from_utf8_lossy(input));
}

fn armored(label: &str, body: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(body))
}

fn body_of(text: &str) -> Vec<u8> {
    STANDARD.decode(text.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

/// A DER value with its shortest length.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=127 => out.push(u8::try_from(len).unwrap()),
        len => {
            let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

fn integer(value: u64) -> Vec<u8> {
    let bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let sign: &[u8] = if bytes.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    tlv(2, &[sign, &bytes].concat())
}

#[test]
fn a_text_cut_anywhere_is_refused() {
    for (format, kind, text) in every_text() {
        // One line has no end that could be missing but its base64, and a comment is no part of the key.
        let end = match (format, text.starts_with("ssh-") || text.starts_with("ecdsa-")) {
            (KeyFormat::OpenSsh, true) => text.len() - key(kind).comment.len() - 2,
            _ => text.trim_end().len(),
        };
        for len in 0..end {
            is_refused(&text.as_bytes()[..len]);
        }
    }
}

#[test]
fn asn1_cut_anywhere_is_refused() {
    for (format, _, text) in every_text() {
        if !matches!(format, KeyFormat::Pkcs8 | KeyFormat::Pkcs1 | KeyFormat::Sec1) {
            continue;
        }
        let label = text.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap();
        let body = body_of(&text);
        for len in 0..body.len() {
            is_refused(armored(label, &body[..len]).as_bytes());
            is_refused(&body[..len]);
        }
        let longer = [&body[..], &[0]].concat();
        is_refused(armored(label, &longer).as_bytes());
        is_refused(&longer);
    }
}

#[test]
fn huge_lengths_anywhere_are_refused_or_do_no_harm() {
    for (format, kind, text) in every_text() {
        if kind == KeyKind::Rsa && cfg!(debug_assertions) && format != KeyFormat::Ssh2 {
            continue;
        }
        let Some(label) = text.lines().next().and_then(|line| line.trim_matches('-').strip_prefix("BEGIN "))
        else {
            continue;
        };
        let body = body_of(&text);
        for at in 0..body.len().saturating_sub(5).min(200) {
            for length in
                [&[0x80][..], &[0x84, 0xff, 0xff, 0xff, 0xff], &[0x84, 0x7f, 0xff, 0xff, 0xff], &[0xff; 4]]
            {
                let mut body = body.clone();
                body[at..at + length.len()].copy_from_slice(length);
                let _ = read(armored(label, &body).as_bytes());
                let _ = read(&body);
            }
        }
    }
    let text = key(KeyKind::Rsa).encode(KeyFormat::Ssh2, None).unwrap();
    let base64: String = text.lines().filter(|line| !line.contains('-') && !line.contains(':')).collect();
    let body = STANDARD.decode(base64).unwrap();
    let ssh2 = |body: &[u8]| {
        let label = "SSH2 ENCRYPTED PRIVATE KEY";
        format!("---- BEGIN {label} ----\n{}\n---- END {label} ----\n", STANDARD.encode(body))
    };
    assert!(read(ssh2(&body).as_bytes()).0.is_ok());
    for at in 0..200 {
        for length in [u32::MAX, 1 << 31, 0x7fff_ffff, 0x10_0000] {
            let mut body = body.clone();
            body[at..at + 4].copy_from_slice(&length.to_be_bytes());
            let _ = read(ssh2(&body).as_bytes());
        }
    }
    for len in 0..body.len() {
        is_refused(ssh2(&body[..len]).as_bytes());
    }
}

#[test]
fn what_is_deep_or_long_is_refused_soon() {
    let mut deep = Vec::new();
    while deep.len() < 60_000 {
        deep = tlv(0x30, &deep);
    }
    let labels = [
        "PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "PUBLIC KEY",
        "RSA PUBLIC KEY",
    ];
    for label in labels {
        is_refused(armored(label, &deep).as_bytes());
        is_refused(armored(label, &vec![0x30; 150_000]).as_bytes());
        is_refused(armored(label, &tlv(0x30, &tlv(2, &vec![0x7f; 150_000]))).as_bytes());
    }
    is_refused(&deep);
    let most = MAX_KEY_FILE_LEN;
    for text in [
        "[".repeat(most),
        format!("{{\"a\":{}", "{\"a\":".repeat(50_000)),
        format!("{{\"a\":{}", "[".repeat(200_000)),
        format!("{{\"kty\":\"RSA\",\"n\":\"{}\"}}", "A".repeat(200_000)),
        format!("{{\"kty\":\"{}\"}}", "\\u0041".repeat(40_000)),
        "{".repeat(most),
        "\n".repeat(most),
        "-----BEGIN A-----\n".repeat(14_000),
        "---- BEGIN SSH2 PUBLIC KEY ----\n".repeat(8_000),
        format!("---- BEGIN SSH2 PUBLIC KEY ----\n{}", "a:\\\n".repeat(60_000)),
        "-----BEGIN EC PARAMETERS-----\nAQID\n-----END EC PARAMETERS-----\n".repeat(3_000),
    ] {
        is_refused(text.as_bytes());
    }
    let (private, public) = read(&vec![b'{'; most + 1]);
    assert_eq!(
        (private.unwrap_err(), public.unwrap_err()),
        (KeyFormatError::TooLong, KeyFormatError::TooLong)
    );
}

/// The largest RSA key that is let in, with numbers that pass every check but the last ones.
#[test]
fn the_largest_rsa_arithmetic_is_soon_done() {
    let half = vec![0xff; 1024];
    // (2^8192 - 1)^2 = 2^16384 - 2^8193 + 1
    let mut product = vec![0xff; 1024];
    product[1023] = 0xfe;
    product.extend([0; 1023]);
    product.push(1);
    let number = |bytes: &[u8]| {
        let sign: &[u8] = if bytes[0] >= 0x80 { &[0] } else { &[] };
        tlv(2, &[sign, bytes].concat())
    };
    let e = [0xff; 8];
    let fields = [&[0][..], &product, &e, &product, &half, &half, &half, &half, &half];
    let der = tlv(0x30, &fields.map(number).concat());
    let (private, _) = read(armored("RSA PRIVATE KEY", &der).as_bytes());
    assert_eq!(private.unwrap_err(), KeyFormatError::Mismatch);
}

fn pbes2(kdf: &[u8], scheme: &[u8], sealed: &[u8]) -> String {
    const PBES2: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
    let parameters = tlv(0x30, &[kdf, scheme].concat());
    let algorithm = tlv(0x30, &[tlv(6, &PBES2), parameters].concat());
    armored("ENCRYPTED PRIVATE KEY", &tlv(0x30, &[algorithm, tlv(4, sealed)].concat()))
}

fn pbkdf2(salt: &[u8], rest: &[u8]) -> Vec<u8> {
    const PBKDF2: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
    let parameters = tlv(0x30, &[&tlv(4, salt)[..], rest].concat());
    tlv(0x30, &[tlv(6, &PBKDF2), parameters].concat())
}

fn scrypt(n: u64, r: u64, p: u64) -> Vec<u8> {
    const SCRYPT: [u8; 9] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x04, 0x0b];
    let parameters = [tlv(4, &[1; 8]), integer(n), integer(r), integer(p)].concat();
    tlv(0x30, &[tlv(6, &SCRYPT), tlv(0x30, &parameters)].concat())
}

fn aes256(iv: &[u8]) -> Vec<u8> {
    const AES256: [u8; 9] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
    tlv(0x30, &[tlv(6, &AES256), tlv(4, iv)].concat())
}

fn open(text: &str) -> KeyFormatError {
    let (error, took) = timed(|| KeyPair::parse(text.as_bytes(), Some(b"pass")).unwrap_err());
    assert!(took < SOON, "{took:?}");
    error
}

#[test]
fn kdfs_of_pkcs8_are_bounded_before_they_run() {
    let aes = aes256(&[0; 16]);
    let sealed = [0; 64];
    let rounds = |count: u64| open(&pbes2(&pbkdf2(&[1; 8], &integer(count)), &aes, &sealed));
    for count in [(1 << 20) + 1, (1 << 31) - 1, 1 << 31, u64::from(u32::MAX)] {
        let error = rounds(count);
        // What is over the crate's own limit does not even parse.
        assert!(
            matches!(error, KeyFormatError::KdfTooCostly { kdf: "PBKDF2", cost, limit: 1_048_576 } if cost == count)
                || matches!(error, KeyFormatError::Asn1(_)),
            "{error}"
        );
    }
    assert!(matches!(rounds(0), KeyFormatError::Asn1(_)));
    assert!(matches!(rounds(u64::MAX), KeyFormatError::Asn1(_)));
    assert_eq!(rounds(1), KeyFormatError::WrongPassphrase);

    let cost = |n, r, p| open(&pbes2(&scrypt(n, r, p), &aes, &sealed));
    for (n, r, p) in [
        (1 << 18, 8, 1),
        (1 << 40, 1, 1),
        (2, 65_535, 65_535),
        (1 << 63, 8, 1),
        (1 << 17, 8, 2),
        (1 << 10, 1024, 2),
    ] {
        assert!(matches!(cost(n, r, p), KeyFormatError::KdfTooCostly { kdf: "scrypt", .. }), "{n} {r} {p}");
    }
    for (n, r, p) in [(0, 8, 1), (1, 8, 1), (3, 8, 1), (1 << 10, 0, 1), (1 << 10, 8, 0)] {
        assert!(matches!(cost(n, r, p), KeyFormatError::Asn1(_)), "{n} {r} {p}");
    }
    assert_eq!(cost(16, 1, 1), KeyFormatError::WrongPassphrase);
}

#[test]
fn broken_encryption_is_named() {
    let aes = aes256(&[0; 16]);
    let one = integer(1);
    for (text, what) in [
        (pbes2(&pbkdf2(&[1; 33], &one), &aes, &[0; 64]), "a long salt"),
        (pbes2(&pbkdf2(&[1; 8], &[&one[..], &integer(16)].concat()), &aes, &[0; 64]), "another key length"),
        (pbes2(&pbkdf2(&[1; 8], &one), &aes256(&[0; 15]), &[0; 64]), "a short IV"),
        (pbes2(&pbkdf2(&[1; 8], &one), &aes, &[0; 63]), "half a block"),
    ] {
        assert!(matches!(open(&text), KeyFormatError::Asn1(_)), "{what}");
    }
    assert_eq!(open(&pbes2(&pbkdf2(&[1; 8], &one), &aes, &[])), KeyFormatError::WrongPassphrase);

    let headers = |headers: &str, label: &str| {
        let body = STANDARD.encode([7; 64]);
        open(&format!("-----BEGIN {label}-----\n{headers}\n\n{body}\n-----END {label}-----\n"))
    };
    let aes = "DEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F";
    let encrypted = "Proc-Type: 4,ENCRYPTED";
    for label in ["RSA PRIVATE KEY", "EC PRIVATE KEY"] {
        assert_eq!(headers(&format!("{encrypted}\n{aes}"), label), KeyFormatError::WrongPassphrase);
        for dek_info in [
            "",
            "DEK-Info:",
            "DEK-Info: AES-128-CBC",
            "DEK-Info: AES-128-CBC,0001",
            "DEK-Info: AES-128-CBC,zz0102030405060708090A0B0C0D0E0F",
            "DEK-Info: AES-128-CBC,+10102030405060708090A0B0C0D0E0F",
            "DEK-Info: DES-CBC,0001020304050607",
            "DEK-Info: DES-EDE3-CBC,000102030405060708090A0B0C0D0E0F",
        ] {
            let error = headers(&format!("{encrypted}\n{dek_info}"), label);
            assert!(matches!(error, KeyFormatError::UnsupportedCipher(_)), "{dek_info} {error}");
        }
    }
    let error = headers(&format!("{encrypted}\n{aes}"), "PRIVATE KEY");
    assert!(matches!(error, KeyFormatError::UnknownFormat(_)), "{error}");
}

#[test]
fn json_that_is_no_key_is_named() {
    let error = |text: &str| KeyPair::parse(text.as_bytes(), None).unwrap_err();
    let ec = key(KINDS[1]).encode(KeyFormat::Jwk, None).unwrap();
    let rsa = key(KeyKind::Rsa).encode(KeyFormat::Jwk, None).unwrap();
    let without = |text: &str, name: &str| {
        let member = format!("\t\"{name}\":");
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with(&member)).collect();
        error(&kept.join("\n"))
    };
    for name in ["x", "y", "crv"] {
        assert_eq!(
            without(&ec, name),
            KeyFormatError::Jwk(match name {
                "x" => "x",
                "y" => "y",
                _ => "crv",
            })
        );
    }
    for name in ["p", "q", "qi"] {
        assert!(matches!(without(&rsa, name), KeyFormatError::Jwk(_)));
    }
    assert_eq!(without(&rsa, "d"), KeyFormatError::IsPublic);
    assert_eq!(error(&ec.replace("\"EC\"", "\"oct\"")), KeyFormatError::UnsupportedType("oct P-256".into()));
    assert_eq!(
        error(&ec.replace("P-256", "secp256k1")),
        KeyFormatError::UnsupportedType("EC secp256k1".into())
    );
    assert!(matches!(error(&ec.replace("\"d\": \"", "\"d\": \"+/")), KeyFormatError::Jwk("d")));
    assert!(matches!(error(&ec.replace("\"d\": \"", "\"d\": \"\\u0041")), KeyFormatError::Jwk(_)));
    assert!(matches!(error(&ec.replace("\"d\":", "\"d\": 1, \"d\":")), KeyFormatError::Jwk(_)));
    assert!(matches!(
        error(&rsa.replace("\"d\":", "\"oth\": [{}], \"d\":")),
        KeyFormatError::UnsupportedType(_)
    ));
    for text in [
        "{}",
        "{",
        "{\"kty\":1}",
        "{\"kty\":null}",
        "{\"kty\":\"EC\",\"d\":\"AA\"}",
        "{} {}",
        "{\"\u{0}\":1}",
    ] {
        assert!(matches!(error(text), KeyFormatError::Jwk(_)), "{text}");
    }
    // Members that say nothing about the key, in any order.
    let more =
        ec.replacen("{\n", "{\"kid\": \"a\", \"key_ops\": [\"sign\"], \"ext\": true, \"use\": \"sig\",\n", 1);
    assert_eq!(parts(&KeyPair::parse(more.as_bytes(), None).unwrap()), parts(key(KINDS[1])));
}

#[test]
fn short_ec_numbers_are_brought_to_length() {
    for curve in [Curve::P256, Curve::P384, Curve::P521] {
        let len = curve.field_len();
        let mut point = vec![0; len * 2 + 1];
        (point[0], point[len], point[len * 2]) = (4, 9, 8);
        let mut d = vec![0; len];
        d[len - 1] = 7;
        let private = PrivateKey::Ecdsa { curve, d: d.into_boxed_slice().into(), point: point.into() };
        let pair = KeyPair::new(private, "");
        let text = pair.encode(KeyFormat::JwkNist, None).unwrap();
        // As Dev Tunnels' TypeScript library writes them, without leading zeros.
        let short = |from: u8| STANDARD.encode([from]).trim_end_matches('=').to_owned();
        let long = |from: u8| {
            let mut bytes = vec![0; len];
            bytes[len - 1] = from;
            STANDARD.encode(bytes).trim_end_matches('=').replace('/', "_").replace('+', "-")
        };
        let mut cut = text.to_string();
        for number in [7, 8, 9] {
            assert!(cut.contains(&long(number)));
            cut = cut.replace(&long(number), &short(number));
        }
        assert_eq!(parts(&KeyPair::parse(cut.as_bytes(), None).unwrap()), parts(&pair));
        // And in ASN.1, where a scalar may also be one byte.
        let oid = match curve {
            Curve::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07][..],
            Curve::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
            Curve::P521 => &[0x2b, 0x81, 0x04, 0x00, 0x23],
        };
        let PrivateKey::Ecdsa { point, .. } = &pair.private else { unreachable!() };
        let bits = tlv(3, &[&[0][..], point].concat());
        let fields = [integer(1), tlv(4, &[7]), tlv(0xa0, &tlv(6, oid)), tlv(0xa1, &bits)].concat();
        let sec1 = armored("EC PRIVATE KEY", &tlv(0x30, &fields));
        assert_eq!(parts(&KeyPair::parse(sec1.as_bytes(), None).unwrap()), parts(&pair));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn flipped_bytes_do_no_harm(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let texts = every_text();
        let (_, _, text) = &texts[which.index(texts.len())];
        let mut bytes = text.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let _ = read(&bytes);
        if text.starts_with("-----BEGIN") {
            let mut body = body_of(text);
            let at = at % body.len();
            body[at] ^= flip;
            let label = text.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap().to_owned();
            let (private, public) = read(armored(&label, &body).as_bytes());
            // What is still a key is written and read again as the same one.
            if let Ok(pair) = private {
                for format in KeyFormat::ALL {
                    let Ok(text) = pair.encode(format, None) else { continue };
                    match KeyPair::parse(text.as_bytes(), None) {
                        Ok(again) => prop_assert_eq!(parts(&again).1, parts(&pair).1),
                        Err(error) => prop_assert!(false, "{} {}", format, error),
                    }
                }
            }
            if let Ok(line) = public {
                for format in KeyFormat::ALL {
                    let Ok(text) = line.encode(format) else { continue };
                    prop_assert_eq!(PublicLine::decode(text.as_bytes()).unwrap().key, line.key.clone());
                }
            }
        }
    }

    #[test]
    fn comments_are_read_back(comment in prop_oneof!["\\PC{0,300}", "[ -~]{0,300}", "( |\"|\\\\|:|é|a){0,300}"]) {
        let line = PublicLine::new(key(KINDS[0]).public_key(), &comment);
        for format in [KeyFormat::OpenSsh, KeyFormat::Rfc4716, KeyFormat::Jwk] {
            let again = PublicLine::decode(line.encode(format).unwrap().as_bytes()).unwrap();
            prop_assert_eq!(&again, &line, "{}", format);
        }
    }

    #[test]
    fn noise_in_any_armor_does_no_harm(noise in proptest::collection::vec(any::<u8>(), 0..600), der in any::<bool>()) {
        let noise = if der { tlv(0x30, &noise) } else { noise };
        let _ = read(&noise);
        for label in ["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"] {
            let _ = read(armored(label, &noise).as_bytes());
        }
        for label in ["SSH2 PUBLIC KEY", "SSH2 ENCRYPTED PRIVATE KEY"] {
            let text = format!("---- BEGIN {label} ----\n{}\n---- END {label} ----\n", STANDARD.encode(&noise));
            let _ = read(text.as_bytes());
        }
    }
}
