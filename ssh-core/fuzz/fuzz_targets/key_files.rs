//! Key files of every kind, with and without a passphrase: what is read is written and read again to the same key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::{AuthorizedKeys, Fingerprint, KeyPair, PublicLine, openssh};

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
    let keys = AuthorizedKeys::parse(input, "fuzz");
    assert!(keys.entries().len() + keys.warnings().len() <= input.len() + 1);
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = text.parse::<Fingerprint>();
    }
});
