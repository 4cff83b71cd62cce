use std::path::Path;
use std::process::Command;

use ssh_core::keys::{KeyPair, PrivateKey};

/// Runs a tool; `None`, and says so, if it is not installed.
pub(crate) fn run(program: &str, args: &[&str]) -> Option<Result<String, String>> {
    match Command::new(program).args(args).output() {
        Ok(output) if output.status.success() => Some(Ok(String::from_utf8(output.stdout).unwrap())),
        Ok(output) => Some(Err(String::from_utf8_lossy(&output.stderr).into_owned())),
        Err(error) => {
            eprintln!("SKIPPED: `{program}` cannot be started: {error}");
            None
        }
    }
}

/// Makes a key with `ssh-keygen`; false if it is not installed.
pub(crate) fn generate(path: &Path, passphrase: &str, args: &[&str]) -> bool {
    let mut all = vec!["-q", "-N", passphrase, "-C", "me@here", "-f", path.to_str().unwrap()];
    all.extend(args);
    run("ssh-keygen", &all).map(|result| result.unwrap()).is_some()
}

/// Everything that a key is, to compare. Only tests may look at a private key in this way.
pub(crate) fn parts(pair: &KeyPair) -> (Vec<u8>, Vec<Vec<u8>>) {
    let secrets = match &pair.private {
        PrivateKey::Ed25519 { seed, .. } => vec![seed.to_vec()],
        PrivateKey::Ecdsa { d, .. } => vec![d.to_vec()],
        PrivateKey::Rsa { d, p, q, iqmp, .. } => [d, p, q, iqmp].map(|number| number.to_vec()).to_vec(),
        _ => unreachable!(),
    };
    (pair.public_key().to_blob(), secrets)
}
