use std::io;
use std::path::PathBuf;

use super::{CertificateError, Half, KeyError, KeyFormat, KeyKind};
use crate::protocol::wire::WireError;

/// Why the text of a key is refused. No message holds anything of a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFormatError {
    /// Over [`MAX_KEY_FILE_LEN`](super::MAX_KEY_FILE_LEN).
    #[error(
        "the key file is over {} bytes, so it cannot be a key; check that it is the right file",
        super::MAX_KEY_FILE_LEN
    )]
    TooLong,
    /// No `-----BEGIN` line.
    #[error(
        "there is no private key in the text (it has no `-----BEGIN ...-----` line); check that it is the right file"
    )]
    NoPrivateKey,
    /// A public key where a private one was asked for.
    #[error(
        "this is a public key, not a private one; give the private key file (usually the name without `.pub`)"
    )]
    IsPublic,
    /// A private key where a public one was asked for.
    #[error(
        "this is a private key, not a public one; give the public key file (usually the name with `.pub`)"
    )]
    IsPrivate,
    /// The `BEGIN` and `END` lines or what is between them are broken.
    #[error("the `-----BEGIN`/`-----END` armor of the key is damaged; restore the file from a backup")]
    BadArmor,
    /// Something stands behind the key.
    #[error("there is text behind the end of the key; keep one key in a file")]
    Trailing,
    /// Not valid base64.
    #[error("the base64 text of the key is damaged; copy it again, whole")]
    BadBase64,
    /// The label between the dashes names no format that is read.
    #[error("a `{0}` is not a private key format that Adit reads; convert it with `ssh-keygen -p -f FILE`")]
    UnknownFormat(Box<str>),
    /// Encrypted, and no passphrase was given.
    #[error("the key is encrypted; give its passphrase")]
    PassphraseNeeded,
    /// The passphrase is wrong, or the encrypted part is damaged: the format cannot tell which.
    #[error("the passphrase is wrong or the key file is damaged; try the passphrase again")]
    WrongPassphrase,
    /// A key cannot be encrypted with an empty passphrase.
    #[error("the passphrase is empty; give one, or ask for a key without a passphrase")]
    EmptyPassphrase,
    /// The key file's cipher is unknown.
    #[error(
        "the key is encrypted with `{0}`, which is not supported; change it with `ssh-keygen -p -Z aes256-ctr -f FILE`"
    )]
    UnsupportedCipher(Box<str>),
    /// The key file's KDF is unknown or does not fit its cipher.
    #[error(
        "the key's passphrase goes through `{0}`, which is not supported; change it with `ssh-keygen -p -f FILE`"
    )]
    UnsupportedKdf(Box<str>),
    /// Opening the key would take too long.
    #[error(
        "opening the key takes {rounds} KDF rounds and the limit is {limit}; lower them with `ssh-keygen -p -a 24 -f FILE`"
    )]
    TooManyRounds {
        /// What the file asks for.
        rounds: u32,
        /// What the caller allows.
        limit: u32,
    },
    /// As [`TooManyRounds`](Self::TooManyRounds), for the KDFs of PKCS#8.
    #[error(
        "opening the key takes {cost} rounds of {kdf} and the limit is {limit}; lower them with `openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 600000 -in FILE`"
    )]
    KdfTooCostly {
        /// PBKDF2 or scrypt.
        kdf: &'static str,
        /// Iterations of PBKDF2, or N · r · p of scrypt.
        cost: u64,
        /// What the caller allows.
        limit: u32,
    },
    /// The format has no place for such a key.
    #[error("the format {format} cannot hold a {half} key of type {}; use {}", kind.name(), others(*half, *kind))]
    CannotHold {
        /// The format.
        format: KeyFormat,
        /// The half that was to be written.
        half: Half,
        /// The kind of key.
        kind: KeyKind,
    },
    /// The format has no encryption, or none that is worth the name.
    #[error(
        "the format {0} is never written with a passphrase, because it has no safe encryption; use openssh or pkcs8, or write the key without a passphrase"
    )]
    CannotEncrypt(KeyFormat),
    /// A file with no key or with several.
    #[error("the file holds {0} keys; keep exactly one key in a file")]
    NotOneKey(u32),
    /// The type text in front of the base64 is not the type inside it.
    #[error("the key's type text is not the type of the key behind it; copy the line again, whole")]
    TypeMismatch,
    /// A part is missing from a one-line public key.
    #[error(
        "a public key is `type base64 [comment]` on one line; a part is missing or there are several lines"
    )]
    NotALine,
    /// Not text.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The two halves, or the parts of one, do not belong together.
    #[error("the private and the public half do not belong together; restore the file from a backup")]
    Mismatch,
    /// The type of the private key is not supported.
    #[error(
        "a private key of type `{0}` is not supported; use ssh-ed25519, ecdsa-sha2-nistp256/384/521 or ssh-rsa"
    )]
    UnsupportedType(Box<str>),
    /// PKCS#8 or SEC1 without the public half, which takes curve arithmetic to restore. With a crypto backend keys are
    /// completed.
    #[error(
        "the file has no public half; write it again with one, for instance with `ssh-keygen -p -f FILE`"
    )]
    NoPublicHalf,
    /// The ASN.1 of a key is broken.
    #[error("the {0} structure of the key is damaged; restore the file from a backup")]
    Asn1(&'static str),
    /// A JSON Web Key is broken, or a member is missing. Says which member.
    #[error("the JSON Web Key is damaged ({0}); restore the file from a backup")]
    Jwk(&'static str),
    /// The key is malformed or out of limits.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is malformed or out of limits.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The operating system gave no randomness for a salt.
    #[error("the operating system has no randomness to give; try again")]
    NoRandomness,
}

impl From<WireError> for KeyFormatError {
    fn from(error: WireError) -> Self {
        Self::Key(KeyError::Wire(error))
    }
}

/// Why a key, `known_hosts` or `authorized_keys` file cannot be read or written. Each message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("cannot {action} `{}`; check that it exists and that you own it", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A private key that others can get at.
    #[error("others may use the private key `{}` (mode {mode:04o}); run `chmod 600 '{}'`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, device or pipe.
    #[error("`{}` is not a regular file; give the path of a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file to write is there already.
    #[error("`{}` exists and is not overwritten; remove it or choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Over the limit for its kind.
    #[error("`{}` is over {limit} bytes; check that it is the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: usize,
    },
    /// The content is refused.
    #[error("`{}` cannot be used", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFormatError,
    },
    /// A host name that cannot stand in a `known_hosts` line.
    #[error("`{}` cannot take an entry for this host: its name is empty, over 255 bytes or has characters that no host name has", path.display())]
    BadHost {
        /// The file.
        path: PathBuf,
    },
}

/// The formats that can hold it.
fn others(half: Half, kind: KeyKind) -> String {
    let names = KeyFormat::ALL.into_iter().filter(|format| format.holds(half, kind)).map(KeyFormat::name);
    names.collect::<Vec<_>>().join(", ")
}

/// Text from a file, made safe to show: printable ASCII, 64 bytes at most.
pub(super) fn shown(text: &[u8]) -> Box<str> {
    text.iter()
        .take(64)
        .map(|byte| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' })
        .collect()
}
