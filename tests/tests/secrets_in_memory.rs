//! Private keys are wiped before their memory is given back: after they were read, written, signed with and dropped, nothing
//! of them is in the memory of the process that did so.
//!
//! A process of its own does each of these things and then waits, so that nothing which follows hides what is left. Its
//! stack is not looked at: moves leave copies there that no program can reach.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ssh_core::crypto::aws_lc;
use ssh_core::keys::{Curve, Half, KeyFormat, KeyKind, KeyPair, Overwrite, PrivateKey};
use tempfile::TempDir;
use tests::memory::{Found, Pieces};

const KINDS: [KeyKind; 5] = [
    KeyKind::Ed25519,
    KeyKind::Ecdsa(Curve::P256),
    KeyKind::Ecdsa(Curve::P384),
    KeyKind::Ecdsa(Curve::P521),
    KeyKind::Rsa,
];
/// The worker's.
const PASSPHRASE: &[u8] = b"correct horse battery staple";
/// Bytes of a piece. Eight random bytes are not found by chance.
const PIECE: usize = 8;

/// A key in files, and what must not be found of it.
struct Planted {
    kind: KeyKind,
    pair: KeyPair,
    pieces: Pieces,
    folder: TempDir,
}

impl Planted {
    fn new(kind: KeyKind) -> Self {
        let pair = KeyPair::generate(&aws_lc::PROVIDER, kind, 3072).unwrap();
        let mut pieces = pieces(&pair);
        pieces.push(PASSPHRASE[..PIECE].to_vec());
        let pieces = Pieces::new(&pieces).unwrap();
        Self { kind, pair, pieces, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, format: KeyFormat, passphrase: Option<&[u8]>) -> PathBuf {
        let path = self.path(&format!("{format}-{}", passphrase.is_some()));
        self.pair.write_file_as(&path, format, passphrase, Overwrite::Allow).unwrap();
        path
    }

    /// What a task leaves in memory.
    fn leavings(&self, task: &str, file: &Path, rest: &[&str]) -> Vec<Found> {
        let mut worker = Command::new(env!("CARGO_BIN_EXE_key-worker"));
        worker.arg(task).arg(file).args(rest).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut worker = worker.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(worker.stdout.take().unwrap()).read_line(&mut said).unwrap();
        let what = format!("{task} {} {rest:?}", file.display());
        assert_eq!(said, "done\n", "{what}");
        let found = self.pieces.find_in(worker.id()).unwrap();
        // The end of its input is the end.
        drop(worker.stdin.take());
        assert!(worker.wait().unwrap().success(), "{what}");
        found.into_iter().filter(|found| found.mapping != "[stack]").collect()
    }

    /// Fails if a task leaves a secret in memory.
    #[track_caller]
    fn watch(&self, task: &str, file: &Path, rest: &[&str]) {
        let found = self.leavings(task, file, rest);
        let name = file.file_name().unwrap_or_default().display();
        assert!(found.is_empty(), "{} {task} {name} {rest:?}: {found:?}", self.kind.name());
    }
}

#[test]
fn what_is_left_is_found() {
    for kind in KINDS {
        let planted = Planted::new(kind);
        for format in formats(kind) {
            let file = planted.file(format, None);
            let found = planted.leavings("leave", &file, &[]);
            assert!(!found.is_empty(), "{} {format}", kind.name());
        }
    }
}

#[test]
fn secrets_are_wiped() {
    for kind in KINDS {
        let planted = Planted::new(kind);
        let plain = planted.file(KeyFormat::OpenSsh, None);
        for format in formats(kind) {
            let (file, name) = (planted.file(format, None), format.to_string());
            planted.watch("read", &file, &[]);
            planted.watch("read damaged", &file, &[]);
            planted.watch("write", &plain, &[&name]);
            let into = planted.path(&format!("{format}-written"));
            planted.watch("files", &plain, &[&name, &into.display().to_string()]);
            if format.encrypts() {
                planted.watch("encrypt", &plain, &[&name]);
                planted.watch("decrypt", &planted.file(format, Some(PASSPHRASE)), &[]);
            }
        }
        planted.watch("gcm", &plain, &[]);
        planted.watch("sign", &plain, &["aws-lc"]);
        if kind == KeyKind::Rsa {
            // The `rsa` crate multiplies and resizes primes without wiping what is in between.
            let found = planted.leavings("sign", &plain, &["rustcrypto"]);
            println!("signing with RSA and rustcrypto leaves {} pieces, as is known", found.len());
        } else {
            planted.watch("sign", &plain, &["rustcrypto"]);
        }
    }
}

fn formats(kind: KeyKind) -> impl Iterator<Item = KeyFormat> {
    KeyFormat::ALL.into_iter().filter(move |format| format.holds(Half::Private, kind))
}

/// Pieces of every number, in both orders of bytes, and as text in every alignment.
fn pieces(pair: &KeyPair) -> Vec<Vec<u8>> {
    let numbers: Vec<&[u8]> = match &pair.private {
        PrivateKey::Ed25519 { seed, .. } => vec![&**seed],
        PrivateKey::Ecdsa { d, .. } => vec![d],
        PrivateKey::Rsa { d, p, q, iqmp, .. } => vec![d, p, q, iqmp],
        _ => unreachable!(),
    };
    let mut pieces = Vec::new();
    for number in numbers {
        let middle = number.len() / 2;
        for at in [4, middle] {
            let piece = &number[at..at + PIECE];
            pieces.push(piece.to_vec());
            pieces.push(piece.iter().rev().copied().collect());
        }
        // Nine bytes are twelve characters, in every alignment and in both alphabets; a line may end in some of them.
        for at in 4..number.len() - 9 {
            for engine in [&STANDARD, &URL_SAFE_NO_PAD] {
                pieces.push(engine.encode(&number[at..at + 9]).into_bytes());
            }
        }
    }
    pieces
}
