//! Key files of every format and kind, with and without a passphrase: what is read is written in every format that can
//! hold it, and read again to the same key; and what is written of that is the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::{
    AuthorizedKeys, Certificate, CertificateAuthorities, CertificateLine, CertificateUse, Fingerprint, Half, KdfLimits,
    KeyFormat, KeyFormatError, KeyKind, KeyPair, PublicLine,
};
use ssh_core_fuzz::provider::PROVIDER;

fuzz_target!(|input: &[u8]| {
    // A passphrase is worth few rounds here: finding files that ask for many is no discovery.
    let mut limits = KdfLimits::default();
    (limits.bcrypt_rounds, limits.pbkdf2_iterations, limits.scrypt_cost) = (2, 100, 1 << 10);
    for passphrase in [None, Some(&b"secret"[..])] {
        let Ok(pair) = KeyPair::parse_within(input, passphrase, &limits) else { continue };
        assert!(matches!(KeyFormat::detect(input), Some((_, Half::Private))));
        write_private(&pair);
        write_public(&pair.public_line());
    }
    if let Ok(line) = PublicLine::decode(input) {
        assert!(matches!(KeyFormat::detect(input), Some((_, Half::Public))));
        write_public(&line);
    }
    if let Ok(line) = PublicLine::parse(input) {
        let written = line.to_string();
        let again = PublicLine::parse(written.as_bytes()).expect("what we write we read");
        assert_eq!(again.to_string(), written);
    }
    if let Ok(line) = CertificateLine::parse(input) {
        let written = line.to_string();
        let again = CertificateLine::parse(written.as_bytes()).expect("what we write we read");
        assert_eq!(again, line);
        judge(&line.certificate);
    }
    if let Ok(certificate) = Certificate::from_blob(input) {
        assert_eq!(certificate.as_blob(), input);
        judge(&certificate);
    }
    let keys = AuthorizedKeys::parse(input, "fuzz");
    assert!(keys.entries().len() + keys.warnings().len() <= input.len() + 1);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = text.parse::<Fingerprint>();
    }
});

fn write_private(pair: &KeyPair) {
    let kind = pair.public_key().kind();
    for format in KeyFormat::ALL.into_iter().filter(|format| format.holds(Half::Private, kind)) {
        let written = pair.encode(format, None).expect("a key that was read can be written");
        let again = match KeyPair::parse(written.as_bytes(), None) {
            // That half takes arithmetic which is not built in here.
            Err(KeyFormatError::NoPublicHalf) if (format, kind) == (KeyFormat::Pkcs8, KeyKind::Ed25519) => continue,
            again => again.expect("what we write we read"),
        };
        assert_eq!(again.public_key(), pair.public_key());
        // The check ints of OpenSSH's are fresh each time.
        if format != KeyFormat::OpenSsh {
            assert!(*again.encode(format, None).expect("it was written before") == *written);
        }
    }
}

fn write_public(line: &PublicLine) {
    for format in KeyFormat::ALL.into_iter().filter(|format| format.holds(Half::Public, line.key.kind())) {
        let written = line.encode(format).expect("a key that was read can be written");
        let again = PublicLine::decode(written.as_bytes()).expect("what we write we read");
        assert_eq!(again.key, line.key);
        assert_eq!(again.encode(format).expect("it was written before"), written);
    }
}

/// Whatever a certificate says, it is judged without a panic, and never by another authority.
fn judge(certificate: &Certificate) {
    let usage = CertificateUse {
        kind: certificate.kind(),
        name: certificate.principals().first().map_or("", |name| name),
        now: std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 31),
        source: Some(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    let trusted = CertificateAuthorities::from_iter([certificate.authority().clone()]);
    let _ = trusted.check(certificate, usage, &PROVIDER);
    assert!(CertificateAuthorities::new().check(certificate, usage, &PROVIDER).is_err());
}
