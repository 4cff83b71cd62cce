//! Does one thing with a private key, drops everything, says so, and waits to be looked at: `secrets_in_memory` then
//! searches its memory. It does all of it in the first thread, so that what is left on a stack can be told from the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failure has to be loud")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use ssh_core::crypto::{aws_lc, rustcrypto};
use ssh_core::keys::openssh::{self, Encryption, OpenSshCipher};
use ssh_core::keys::{KeyFormatError, KeyPair, Overwrite, SigningKey};
use zeroize::Zeroizing;

/// What `secrets_in_memory` encrypts with.
const PASSPHRASE: &[u8] = b"correct horse battery staple";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [task, path, rest @ ..] = arguments.as_slice() else { panic!("TASK FILE ...") };
    // Its buffer must not take the place of what is looked for.
    let mut stdout = std::io::stdout().lock();
    work(task, Path::new(path), rest);
    stdout.write_all(b"done\n").unwrap();
    // Until nobody looks any more.
    let _ = std::io::stdin().read(&mut [0]);
}

fn work(task: &str, path: &Path, rest: &[String]) {
    match (task, rest) {
        ("leave", []) => drop(std::fs::read(path).unwrap()),
        ("read", []) => drop(pair(path, None)),
        ("read damaged", []) => {
            let text = text(path);
            for end in [text.trim_ascii_end().len() - 1, text.len() / 2] {
                KeyPair::parse(&text[..end], None).unwrap_err();
            }
        }
        ("decrypt", []) => {
            drop(pair(path, Some(PASSPHRASE)));
            let refused = KeyPair::parse(&text(path), Some(b"wrong")).unwrap_err();
            assert_eq!(refused, KeyFormatError::WrongPassphrase);
        }
        ("write", [format]) => drop(pair(path, None).encode(format.parse().unwrap(), None).unwrap()),
        ("encrypt", [format]) => {
            drop(pair(path, None).encode(format.parse().unwrap(), Some(PASSPHRASE)).unwrap());
        }
        ("files", [format, into]) => {
            let (pair, format, into) = (pair(path, None), format.parse().unwrap(), Path::new(into));
            pair.write_file_as(into, format, None, Overwrite::Refuse).unwrap();
            drop(KeyPair::read_file(into, None).unwrap());
            pair.replace_file(into, format, None).unwrap();
        }
        ("gcm", []) => {
            let encryption =
                Encryption { passphrase: PASSPHRASE, cipher: OpenSshCipher::Aes256Gcm, rounds: 1 };
            let sealed = openssh::write_with(&pair(path, None).private, "", Some(encryption)).unwrap();
            drop(KeyPair::parse(sealed.as_bytes(), Some(PASSPHRASE)).unwrap());
        }
        ("sign", [provider]) => {
            let provider = if provider == "aws-lc" { &aws_lc::PROVIDER } else { &rustcrypto::PROVIDER };
            let pair = pair(path, None);
            let key = SigningKey::new(&pair.private, provider).unwrap();
            for algorithm in pair.public_key().kind().algorithms() {
                key.sign(*algorithm, b"hello").unwrap();
            }
        }
        _ => panic!("{task} {rest:?}"),
    }
}

/// The file, in one buffer that is wiped: it is not what is searched for.
fn text(path: &Path) -> Zeroizing<Vec<u8>> {
    let mut file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let mut text = Zeroizing::new(vec![0; usize::try_from(len).unwrap()]);
    file.read_exact(&mut text).unwrap();
    text
}

fn pair(path: &Path, passphrase: Option<&[u8]>) -> KeyPair {
    KeyPair::parse(&text(path), passphrase).unwrap()
}
