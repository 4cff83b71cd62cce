//! `adit keygen`: makes a key, shows the fingerprint of one, converts one, changes its passphrase, or certifies one.

mod certificate;
mod options;
mod sign;
mod times;

mod convert;
mod passphrase;
mod source;

use std::path::{Path, PathBuf};

use ssh_core::keys::{
    CertificateLine, Curve, Half, KeyFileError, KeyFormat, KeyFormatError, KeyKind, KeyPair,
    MAX_KEY_FILE_LEN, Overwrite, PublicLine, openssh,
};
use zeroize::Zeroizing;

use self::source::Source;
use super::paths;
use super::session::PROVIDER;
pub(crate) use times::{Validity, duration};

use self::certificate::Shown;
use crate::args::{KeyType, KeygenAction, KeygenArgs};
use crate::error::{CliError, Code};
use crate::output::{Event, Output, print};

/// Makes or shows a key.
///
/// # Errors
/// The file cannot be used, or the passphrases differ.
pub(crate) fn run(args: &KeygenArgs, output: &Output) -> Result<(), CliError> {
    if let Some(KeygenAction::Sign(args)) = &args.action {
        return sign::run(args, output);
    }
    if args.fingerprint {
        return show(&file_of(args)?, args, output);
    }
    if let Some(format) = args.convert {
        return convert::run(&file_of(args)?, format, args, output);
    }
    if args.change_passphrase {
        return passphrase::change(&file_of(args)?, args, output);
    }
    let file = file_of(args)?;
    if args.file.is_some() {
        refuse_missing_parent(&file)?;
    }
    let public = public_path(&file);
    for path in [&file, &public] {
        if path.symlink_metadata().is_ok() {
            return Err(CliError::new(
                Code::File,
                format!("{} exists; remove it, or choose another file with -f", path.display()),
            ));
        }
    }
    let passphrase = passphrase::for_new_key(args, output)?;
    let key = KeyPair::generate(PROVIDER, args.kind.kind(), RSA_BITS)
        .map_err(|error| CliError::new(Code::Internal, format!("cannot make a key: {error}")))?;
    let key = KeyPair::new(key.private, &args.comment.clone().unwrap_or_else(default_comment));
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_bytes());
    key.write_file(&file, passphrase, Overwrite::Refuse).map_err(|error| CliError::file(&error))?;
    key.write_public_file(&public, Overwrite::Refuse).map_err(|error| CliError::file(&error))?;
    let line = key.public_line();
    output.result(&event(&line, &file))
}

/// As `ssh-keygen -l` prints it, on stdout.
fn show(file: &Path, args: &KeygenArgs, output: &Output) -> Result<(), CliError> {
    if let Some(line) = read(file).and_then(|text| CertificateLine::parse(&text).ok()) {
        if output.is_json() {
            return output.result(&certificate::event(&line.certificate, file));
        }
        return print(Shown { certificate: &line.certificate, file }.to_string());
    }
    let line = public_half(file, args, output)?;
    if output.is_json() {
        return output.result(&event(&line, file));
    }
    let (key, comment) = (&line.key, &line.comment);
    let comment = if comment.is_empty() { "no comment" } else { comment };
    let text = format!("{} {} {comment} ({})\n", key.bits(), key.fingerprint(), short_name(key.kind()));
    print(&text)
}

fn event<'a>(line: &'a PublicLine, file: &Path) -> Event<'a> {
    Event::Key {
        kind: line.key.kind().name(),
        bits: line.key.bits(),
        fingerprint: line.key.fingerprint().to_string(),
        comment: line.comment.to_owned(),
        file: file.display().to_string(),
    }
}

/// The public half of a private or public key file. An encrypted one in another format than OpenSSH's needs its `.pub` file
/// beside it, or its passphrase.
fn public_half(file: &Path, args: &KeygenArgs, output: &Output) -> Result<PublicLine, CliError> {
    let error = match KeyPair::read_file(file, None) {
        Ok(key) => return Ok(key.public_line()),
        // Public files are open to all, and that is as it should be.
        Err(error @ (KeyFileError::OpenToOthers { .. } | KeyFileError::Format { .. })) => error,
        Err(error) => return Err(CliError::file(&error)),
    };
    let needs_public =
        matches!(&error, KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. });
    let candidate = if needs_public { public_path(file) } else { file.to_owned() };
    match read_public(&candidate) {
        Some(line) => Ok(line),
        // Without the comment, which is encrypted.
        None if needs_public
            && let Some(key) = read(file).and_then(|text| openssh::public_key(&text).ok()) =>
        {
            Ok(PublicLine::new(key, ""))
        }
        None if needs_public => match Source::read(file, args, output)? {
            Source::Private(opened) => Ok(opened.pair.public_line()),
            Source::Public(line) => Ok(line),
        },
        None if matches!(error, KeyFileError::OpenToOthers { .. }) && !is_private(file) => {
            let message = format!("{} holds no key; give a private or public key file", file.display());
            Err(CliError::new(Code::File, message))
        }
        None => Err(CliError::file(&error)),
    }
}

fn read_public(file: &Path) -> Option<PublicLine> {
    PublicLine::decode(&read(file)?).ok()
}

/// Whether it looks like a private key, in whatever form.
fn is_private(file: &Path) -> bool {
    let marker = b"PRIVATE KEY-----";
    read(file).is_some_and(|content| {
        content.windows(marker.len()).any(|part| part == marker)
            || matches!(KeyFormat::detect(&content), Some((_, Half::Private)))
    })
}

fn read(file: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || usize::try_from(metadata.len()).ok()? > MAX_KEY_FILE_LEN {
        return None;
    }
    std::fs::read(file).ok().map(Zeroizing::new)
}

/// Only the default directory is made; a name that was mistyped is not.
fn refuse_missing_parent(file: &Path) -> Result<(), CliError> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !parent.is_dir()) {
        Some(parent) => Err(CliError::new(
            Code::File,
            format!(
                "cannot write {}: there is no directory {}; make it first",
                file.display(),
                parent.display()
            ),
        )),
        None => Ok(()),
    }
}

fn file_of(args: &KeygenArgs) -> Result<PathBuf, CliError> {
    let name = match args.kind {
        KeyType::Ed25519 => "id_ed25519",
        KeyType::Ecdsa256 | KeyType::Ecdsa384 | KeyType::Ecdsa521 => "id_ecdsa",
        KeyType::Rsa => "id_rsa",
    };
    args.file.clone().or_else(|| paths::in_ssh(name)).ok_or_else(|| {
        CliError::new(Code::File, "there is no home directory for the key; set HOME or give -f FILE")
    })
}

fn public_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn default_comment() -> String {
    let user = paths::login_name().unwrap_or_default();
    let host = host_name();
    if user.is_empty() || host.is_empty() { user } else { format!("{user}@{host}") }
}

fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    name
}

fn short_name(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::Ed25519 => "ED25519",
        KeyKind::Ecdsa(_) => "ECDSA",
        KeyKind::Rsa => "RSA",
    }
}

impl KeyType {
    fn kind(self) -> KeyKind {
        match self {
            Self::Ed25519 => KeyKind::Ed25519,
            Self::Ecdsa256 => KeyKind::Ecdsa(Curve::P256),
            Self::Ecdsa384 => KeyKind::Ecdsa(Curve::P384),
            Self::Ecdsa521 => KeyKind::Ecdsa(Curve::P521),
            Self::Rsa => KeyKind::Rsa,
        }
    }
}

/// The least that we generate.
const RSA_BITS: u32 = 3072;
