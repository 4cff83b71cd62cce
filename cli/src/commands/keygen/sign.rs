//! `adit keygen sign`: certifies a public key.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ssh_core::keys::{
    Certificate, CertificateBuilder, CertificateKind, CertificateLine, KeyFileError, KeyFormatError, KeyPair,
    Overwrite, PublicLine, SigningKey,
};

use super::certificate::event;
use super::options::CertifiedOptions;
use super::passphrase;
use crate::args::SignArgs;
use crate::commands::session::{self, PROVIDER};
use crate::error::{CliError, Code, chain};
use crate::output::Output;

/// Makes `FILE-cert.pub` of `FILE.pub`.
///
/// # Errors
/// A file cannot be used, or the arguments make no certificate.
pub(super) fn run(args: &SignArgs, output: &Output) -> Result<(), CliError> {
    let target = target(&args.file)?;
    if !args.overwrite && target.symlink_metadata().is_ok() {
        let message = format!("{} exists; remove it, or give --overwrite", target.display());
        return Err(CliError::new(Code::File, message));
    }
    let line = public_line(&args.file)?;
    if args.principals.iter().any(String::is_empty) {
        // A certificate that names nobody, for a name too few.
        return Err(CliError::usage("a name of -n is empty; give NAME[,NAME...] without gaps"));
    }
    let options = CertifiedOptions::new(kind(args), &args.option).map_err(CliError::usage)?;
    let now = session::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (after, before) = args.valid.unwrap_or_default().at(now).ok_or_else(|| {
        CliError::usage("the certificate would never be valid; --valid START:END must end after it begins")
    })?;
    let authority = authority(args, output)?;
    let mut builder = Certificate::builder(kind(args), line.key.clone())
        .serial(args.serial)
        .key_id(&args.id)
        .valid(after, before);
    for principal in &args.principals {
        builder = builder.principal(principal);
    }
    let certificate = sign(&options.apply(builder), &authority)?;
    let written = CertificateLine::new(certificate, &line.comment);
    let overwrite = if args.overwrite { Overwrite::Allow } else { Overwrite::Refuse };
    written.write_file(&target, overwrite).map_err(|error| CliError::file(&error))?;
    output.result(&event(&written.certificate, &target))
}

fn kind(args: &SignArgs) -> CertificateKind {
    if args.host { CertificateKind::Host } else { CertificateKind::User }
}

fn sign(builder: &CertificateBuilder, authority: &SigningKey) -> Result<Certificate, CliError> {
    let certificate = builder.sign(authority, PROVIDER).map_err(|error| CliError::usage(chain(&error)))?;
    certificate.verify_signature(PROVIDER).map_err(|error| {
        CliError::new(Code::Internal, format!("what was signed does not verify: {error}"))
    })?;
    Ok(certificate)
}

/// `FILE-cert.pub` for `FILE.pub`.
fn target(public: &Path) -> Result<PathBuf, CliError> {
    let stem = public.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".pub"));
    let stem = stem.filter(|stem| !stem.is_empty() && !stem.ends_with("-cert")).ok_or_else(|| {
        CliError::usage(format!(
            "{} is not the name of a public key file, which is FILE.pub",
            public.display()
        ))
    })?;
    Ok(public.with_file_name(format!("{stem}-cert.pub")))
}

fn public_line(file: &Path) -> Result<PublicLine, CliError> {
    let refuse = |why: &str| CliError::new(Code::File, format!("{} {why}", file.display()));
    let text = super::read(file).ok_or_else(|| refuse("cannot be read; give a public key file"))?;
    PublicLine::parse(&text).map_err(|error| refuse(&format!("cannot be used: {error}")))
}

/// The authority's key. The passphrase of an encrypted one comes from a file, or from somebody at the terminal.
fn authority(args: &SignArgs, output: &Output) -> Result<SigningKey, CliError> {
    let file = &args.ca;
    let mut pair = KeyPair::read_file(file, None);
    if matches!(&pair, Err(KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. })) {
        let passphrase = passphrase::of_file(file, args.passphrase_file.as_deref(), output)?;
        pair = KeyPair::read_file(file, Some(passphrase.as_bytes()));
    }
    let pair = pair.map_err(|error| CliError::file(&error))?;
    SigningKey::new(&pair.private, PROVIDER).map_err(|error| {
        CliError::new(Code::File, format!("the key {} cannot be used: {}", file.display(), chain(&error)))
    })
}
