//! Files of keys that may log in. The input is an address, a zero byte and the file.
//!
//! No line lets anybody in who does not hold its key, or from elsewhere than it says; a line that is not understood lets
//! nobody in.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::{AuthorizedKeys, LoginFacts, PublicKey, StoredKey};

fuzz_target!(|input: &[u8]| {
    let (address, text) = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(0));
    let source: IpAddr = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(bytes), _) => bytes.into(),
        (_, Ok(bytes)) => bytes.into(),
        _ => Ipv4Addr::LOCALHOST.into(),
    };
    let keys = AuthorizedKeys::parse(text, "fuzz");
    let lines = text.split(|byte| *byte == b'\n').count();
    assert!(keys.entries().len() + keys.warnings().len() <= lines);

    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 31);
    let here = LoginFacts { source: Some(source), now };
    let nowhere = LoginFacts { source: None, now };
    let stranger = PublicKey::Ed25519([0x5a; 32]);
    assert!(keys.find(&stranger, here).is_err() || mentions(&keys, &stranger));
    for entry in keys.entries() {
        let StoredKey::Whole(key) = &entry.key else { continue };
        for facts in [here, nowhere] {
            let Ok(found) = keys.find(key, facts) else { continue };
            assert!(keys.holding(key).any(|other| other == found));
            assert!(!found.options.cert_authority, "an authority logs in");
            assert!(found.options.expires.is_none_or(|expires| expires > facts.now));
            match (&found.options.from, facts.source) {
                (Some(from), Some(source)) => assert!(from.matches(source)),
                (Some(_), None) => panic!("`from=` is met by nobody"),
                (None, _) => {}
            }
        }
        // Comments reach terminals.
        assert!(!entry.comment.chars().any(char::is_control));
    }
});

fn mentions(keys: &AuthorizedKeys, key: &PublicKey) -> bool {
    keys.holding(key).next().is_some()
}
