use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use ssh_core::crypto::default_provider;
use ssh_core::keys::{Curve, KeyKind, KeyPair, PrivateKey};

/// Every kind of key.
pub(crate) const KINDS: [KeyKind; 5] = [
    KeyKind::Ed25519,
    KeyKind::Ecdsa(Curve::P256),
    KeyKind::Ecdsa(Curve::P384),
    KeyKind::Ecdsa(Curve::P521),
    KeyKind::Rsa,
];

/// A key of this kind, the same one each time, with a comment.
pub(crate) fn key(kind: KeyKind) -> &'static KeyPair {
    static KEYS: OnceLock<[KeyPair; 5]> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        KINDS.map(|kind| {
            let key = KeyPair::generate(default_provider(), kind, 3072).unwrap();
            KeyPair::new(key.private, "me@here \"q\" é")
        })
    });
    &keys[KINDS.iter().position(|other| *other == kind).unwrap()]
}

/// Runs a tool; `None`, and says so, if it is not installed. Where peers may not be missing, that is
/// a failure.
pub(crate) fn run(program: &str, args: &[&str]) -> Option<Result<String, String>> {
    let output = run_on(program, args, b"")?;
    Some(output.map(|stdout| String::from_utf8(stdout).unwrap()))
}

/// [`run`] with something to read on standard input; what it writes may be any bytes.
pub(crate) fn run_on(program: &str, args: &[&str], input: &[u8]) -> Option<Result<Vec<u8>, String>> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if is_required() => panic!("`{program}` is required here: {error}"),
        Err(error) => {
            eprintln!("SKIPPED: `{program}` cannot be started: {error}");
            return None;
        }
    };
    // One that has no use for it may be gone before it is written. All of it fits into the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Some(Ok(output.stdout))
    } else {
        Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// As for the peers of the end-to-end tests.
fn is_required() -> bool {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    set("CI", "true") || set("ADIT_REQUIRE_PEERS", "1")
}

/// Makes a key with `ssh-keygen`; false if it is not installed.
pub(crate) fn generate(path: &Path, passphrase: &str, args: &[&str]) -> bool {
    let mut all = vec!["-q", "-N", passphrase, "-C", "me@here", "-f", path.to_str().unwrap()];
    all.extend(args);
    run("ssh-keygen", &all).map(|result| result.unwrap()).is_some()
}

/// Writes a file that only its owner may read, and gives its name.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) -> String {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    path.to_str().unwrap().to_owned()
}

/// What it gives, and how long it took.
#[expect(clippy::disallowed_methods, reason = "the time that it takes is what is asked for")]
pub(crate) fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    (run(), start.elapsed())
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
