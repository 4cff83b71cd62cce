//! Key files of every kind, with and without a passphrase: what is read is written and read again to the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::{
    AuthorizedKeys, Certificate, CertificateAuthorities, CertificateLine, CertificateUse, Fingerprint,
    KeyPair, PublicLine, openssh,
};
use ssh_core_fuzz::provider::PROVIDER;

fuzz_target!(|input: &[u8]| {
    // A passphrase is worth few rounds here: finding files that ask for many is no discovery.
    for read in [KeyPair::parse(input, None), openssh::parse(input, Some(b"secret"), 2)] {
        let Ok(pair) = read else { continue };
        let written = pair.to_openssh(None).expect("a key that was read can be written");
        let again = KeyPair::parse(written.as_bytes(), None).expect("what we write we read");
        assert_eq!(again.public_key(), pair.public_key());
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
    assert!(keys.entries().len() + keys.restricted().len() + keys.warnings().len() <= input.len() + 1);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = text.parse::<Fingerprint>();
    }
});

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
