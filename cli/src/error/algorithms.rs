//! What to do when two sides have no algorithm in common.

use ssh_core::config::{Algorithms, KNOWN_CIPHERS, KNOWN_KEX, KNOWN_MACS};
use ssh_core::crypto::SignatureAlgorithm;
use ssh_core::error::NoCommonAlgorithm;

/// The option that would help a client, or what would help its server.
pub(super) fn remedy(none: &NoCommonAlgorithm) -> String {
    let theirs: Vec<&str> = none.server.split(',').collect();
    let (option, known) = match none.slot.split(' ').next() {
        Some("host") => return host_key_remedy(&theirs),
        Some("key") => ("--kex", KNOWN_KEX),
        Some("cipher") => ("--cipher", KNOWN_CIPHERS),
        Some("MAC") => ("--mac", KNOWN_MACS),
        _ => return "the server has to offer one of the client's".into(),
    };
    // CBC is on nobody's list by chance: most MACs do not go with it.
    let safe = |name: &str| !name.ends_with("-cbc");
    match known.iter().find(|name| safe(name) && theirs.contains(name)) {
        Some(name) => format!("{option} {name} offers what the server takes"),
        None => {
            let known: Vec<&str> = known.iter().copied().filter(|name| safe(name)).collect();
            format!("Adit takes none of the server's; what {option} may name is {}", known.join(", "))
        }
    }
}

fn host_key_remedy(theirs: &[&str]) -> String {
    let takes = |algorithm: &SignatureAlgorithm| {
        theirs.contains(&algorithm.name()) || theirs.contains(&algorithm.certificate_name())
    };
    if Algorithms::default().host_keys().iter().any(takes) {
        "--policy default takes the server's".into()
    } else if takes(&SignatureAlgorithm::EcdsaP521) {
        "keys over nistp521 are taken from servers that are known to have one: give its fingerprint with \
         --host-key SHA256:..., or add the key to the known hosts, without --policy hardened"
            .into()
    } else {
        "Adit takes none of the server's keys; have it make one with `ssh-keygen -t ed25519`".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_an_option_if_there_is_one() {
        for (slot, server, expected) in [
            (
                "key exchange method",
                "x,diffie-hellman-group14-sha256",
                "--kex diffie-hellman-group14-sha256 ",
            ),
            ("key exchange method", "diffie-hellman-group1-sha1", "what --kex may name is mlkem768x25519"),
            ("cipher from client to server", "3des-cbc,aes256-cbc,aes128-ctr", "--cipher aes128-ctr "),
            ("cipher from client to server", "aes128-cbc,aes256-cbc", "what --cipher may name is aes256-gcm"),
            ("MAC from server to client", "hmac-sha1,hmac-sha2-256", "--mac hmac-sha2-256 "),
            ("compression from client to server", "zlib", "the server has to offer"),
            ("host key algorithm", "ecdsa-sha2-nistp521", "--host-key SHA256:"),
            ("host key algorithm", "ecdsa-sha2-nistp256,ssh-rsa", "--policy default"),
            ("host key algorithm", "ssh-rsa,ssh-dss", "ssh-keygen -t ed25519"),
        ] {
            let none = NoCommonAlgorithm { slot, client: "ours".into(), server: server.into() };
            let said = remedy(&none);
            assert!(said.contains(expected), "{slot}: {said}");
        }
    }
}
