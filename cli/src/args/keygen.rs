//! `adit keygen`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use ssh_core::keys::KeyFormat;

use crate::commands::keygen::Validity;
use crate::error::EXIT_CODES;

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    #[command(subcommand)]
    pub(crate) action: Option<KeygenAction>,

    /// The kind of key
    #[arg(short = 't', value_enum, default_value_t = KeyType::Ed25519)]
    pub(crate) kind: KeyType,

    /// The file, which must not exist yet; the public key goes beside it as FILE.pub. ~/.ssh/id_KIND unless given
    #[arg(short = 'f', value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,

    /// The comment of the key
    #[arg(short = 'C', value_name = "COMMENT")]
    pub(crate) comment: Option<String>,

    /// Show the fingerprint of a private or public key file, or what a certificate says, instead
    #[arg(long)]
    pub(crate) fingerprint: bool,

    /// Write FILE in another format instead: openssh, pkcs8, pkcs1, sec1, rfc4716, ssh2, jwk (curves named P-256) or
    /// jwk-nist (nistp256). A public key stays one; rfc4716 holds public keys only. A passphrase is kept where the
    /// format can
    #[arg(long, value_name = "FORMAT", conflicts_with = "fingerprint")]
    pub(crate) convert: Option<KeyFormat>,

    /// Where to write it; stdout unless given
    #[arg(short = 'o', value_name = "OUT", requires = "convert")]
    pub(crate) out: Option<PathBuf>,

    /// Convert the public half of a private key
    #[arg(long, requires = "convert")]
    pub(crate) public: bool,

    /// Change the passphrase of FILE instead, in its own format
    #[arg(short = 'p', requires = "file", conflicts_with_all = ["fingerprint", "convert"])]
    pub(crate) change_passphrase: bool,

    /// A file with the passphrase of FILE on its first line; asked on the terminal unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// A file with the passphrase of what is written on its first line
    #[arg(long, value_name = "FILE")]
    pub(crate) new_passphrase_file: Option<PathBuf>,

    /// Write the private key in the clear
    #[arg(long, conflicts_with = "new_passphrase_file")]
    pub(crate) no_passphrase: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeygenAction {
    /// Certify a public key: write FILE-cert.pub beside FILE.pub
    #[command(after_help = EXIT_CODES)]
    Sign(SignArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The authority's private key
    #[arg(long, value_name = "KEYFILE")]
    pub(crate) ca: PathBuf,

    /// A file with the passphrase of the authority's key on its first line; asked on the terminal unless given
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,

    /// What servers log when the certificate is used
    #[arg(long, value_name = "TEXT")]
    pub(crate) id: String,

    /// Certify a host's key, not a user's
    #[arg(long)]
    pub(crate) host: bool,

    /// The users, or the names of the host, that it is valid for, separated by commas
    #[arg(short = 'n', long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    pub(crate) principals: Vec<String>,

    /// How long it is valid: 1h, 2w, 1h30m; or START:END, each `YYYYMMDD[HHMM[SS]]Z`, +1h, -5m, now, always or forever.
    /// For ever unless given
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) valid: Option<Validity>,

    /// What it permits or demands, as with `ssh-keygen`: clear, no-port-forwarding, permit-pty, force-command=COMMAND,
    /// source-address=ADDRESS/BITS,..., critical:NAME[=VALUE], extension:NAME[=VALUE]
    #[arg(short = 'O', long, value_name = "OPTION")]
    pub(crate) option: Vec<String>,

    /// The authority's number for it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) serial: u64,

    /// Replace FILE-cert.pub if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// The public key to certify
    #[arg(value_name = "FILE.pub")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyType {
    Ed25519,
    #[value(name = "ecdsa-256")]
    Ecdsa256,
    #[value(name = "ecdsa-384")]
    Ecdsa384,
    #[value(name = "ecdsa-521")]
    Ecdsa521,
    Rsa,
}
