//! known_hosts files and questions about them. The input is a host, a port, a zero byte and the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_core::keys::{HostKeyStatus, KnownHosts, PublicKey};

fuzz_target!(|input: &[u8]| {
    let (question, text) = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(0));
    let hosts = KnownHosts::parse(text, "fuzz");
    let port = question.first().map_or(22, |byte| if *byte < 128 { 22 } else { u16::from(*byte) * 17 });
    let host = String::from_utf8_lossy(question.get(1..).unwrap_or_default());
    let key = PublicKey::Ed25519([1; 32]);
    match hosts.check(&host, port, &key) {
        HostKeyStatus::Changed { expected } => {
            assert!(!expected.is_empty());
            for known in expected {
                assert_ne!(known.key, key);
                // A key that is known for the host is either the host's or revoked.
                assert!(matches!(
                    hosts.check(&host, port, &known.key),
                    HostKeyStatus::Match(_) | HostKeyStatus::Revoked(_)
                ));
            }
        }
        // Elsewhere than on the usual port, what that one has is worth preferring, and says nothing else.
        HostKeyStatus::Unknown { .. } => assert!(port != 22 || hosts.key_kinds_for(&host, port).is_empty()),
        _ => {}
    }
    let _ = hosts.cert_authorities_for(&host, port);
    assert!(hosts.warnings().len() <= text.len() + 1);
});
