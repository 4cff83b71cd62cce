//! Private keys in files, and what the agent has of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{AsyncSigner, Identity};
use ssh_core::error::SignError;
use ssh_core::keys::{
    KeyFileError, KeyFormatError, KeyPair, MAX_KEY_FILE_LEN, MAX_LINE_LEN, PublicKey, PublicLine, SigningKey,
    openssh,
};
use zeroize::Zeroizing;

use super::certificate::with_certificate;
use super::prompts::MAX_PROMPTS;
use super::terminal::Terminal;
use crate::commands::session::PROVIDER;
use crate::error::{CliError, Code, chain};
use crate::output::Output;

/// Reads keys.
#[derive(Clone, Copy)]
pub(super) struct KeyFiles<'a> {
    pub(super) terminal: Option<&'a Terminal>,
    pub(super) output: &'a Output,
    /// Whether the passphrases of keys that nobody named may be asked for. Who has given a password is not asked for
    /// another secret.
    pub(super) ask: bool,
}

impl KeyFiles<'_> {
    /// The key of a file that was asked for by name, its certificate in front. What the agent has of it is taken out of
    /// `agent`: then nobody is asked for a passphrase. The file of a public key says which of the agent's keys is meant.
    ///
    /// # Errors
    /// The file cannot be used.
    pub(super) async fn named(
        &self,
        file: &Path,
        agent: &mut Vec<Identity>,
    ) -> Result<Vec<Identity>, CliError> {
        if let Some(public) = public_line(file) {
            let held = take(agent, &public).ok_or_else(|| not_held(file))?;
            return Ok(with_certificate(held, &private_beside(file), self.output));
        }
        let public = public_half(file);
        if let Some(held) = public.as_ref().and_then(|public| take(agent, public)) {
            return Ok(with_certificate(held, file, self.output));
        }
        let key = match (public, self.terminal) {
            (Some(public), Some(terminal)) if is_encrypted(file) => {
                let signer = Deferred::new(file, public.clone(), terminal.clone());
                Identity::new(&public.to_blob(), Arc::new(signer))
            }
            _ => Identity::key(Arc::new(read_key(file, self.terminal).await?)),
        };
        let key = key.map_err(|error| CliError::file(&error))?.with_comment(&file.display().to_string());
        Ok(with_certificate(key, file, self.output))
    }

    /// The same for a file that is only looked for: what is wrong with it is a warning, and its absence is nothing.
    pub(super) async fn default(&self, file: &Path, agent: &mut Vec<Identity>) -> Vec<Identity> {
        if matches!(std::fs::metadata(file), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Vec::new();
        }
        let in_agent = |public: PublicKey| agent.iter().any(|key| key.blob() == public.to_blob());
        if !self.ask && is_encrypted(file) && !public_half(file).is_some_and(in_agent) {
            tracing::info!(file = %file.display(), "an encrypted key is left out");
            return Vec::new();
        }
        self.named(file, agent).await.unwrap_or_else(|error| {
            self.output.warning(format!("{error} (going on without this key)"));
            Vec::new()
        })
    }
}

/// The public half of `FILE`, where its format keeps that in the clear, else the key of `FILE.pub`.
fn public_half(file: &Path) -> Option<PublicKey> {
    let inside = read(file, MAX_KEY_FILE_LEN).and_then(|text| openssh::public_key(&text).ok());
    inside.or_else(|| {
        let mut name = file.as_os_str().to_owned();
        name.push(".pub");
        public_line(Path::new(&name))
    })
}

/// The public key that the file holds on a line, if it does.
fn public_line(file: &Path) -> Option<PublicKey> {
    PublicLine::parse(&read(file, MAX_LINE_LEN)?).ok().map(|line| line.key)
}

/// `FILE` for `FILE.pub`.
fn private_beside(public: &Path) -> PathBuf {
    if public.extension().is_some_and(|extension| extension == "pub") {
        return public.with_extension("");
    }
    public.to_owned()
}

/// A file of at most so many bytes.
fn read(path: &Path, limit: usize) -> Option<Zeroizing<Vec<u8>>> {
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    (usize::try_from(length).ok()? <= limit).then(|| std::fs::read(path).ok().map(Zeroizing::new))?
}

/// Takes a key out of those of the agent, if it is there.
fn take(agent: &mut Vec<Identity>, public: &PublicKey) -> Option<Identity> {
    let blob = public.to_blob();
    let at = agent.iter().position(|key| key.blob() == blob)?;
    Some(agent.remove(at))
}

fn not_held(file: &Path) -> CliError {
    let file = file.display();
    CliError::new(
        Code::File,
        format!(
            "{file} is a public key and no agent has its private half; give the private key, or `ssh-add` it"
        ),
    )
}

fn is_encrypted(file: &Path) -> bool {
    let read = KeyPair::read_file(file, None);
    matches!(read, Err(KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. }))
}

async fn read_key(file: &Path, terminal: Option<&Terminal>) -> Result<SigningKey, CliError> {
    let mut pair = KeyPair::read_file(file, None);
    for _ in 0..MAX_PROMPTS {
        let retry = matches!(
            &pair,
            Err(KeyFileError::Format {
                source: KeyFormatError::PassphraseNeeded | KeyFormatError::WrongPassphrase,
                ..
            })
        );
        let Some(terminal) = terminal.filter(|_| retry) else { break };
        let asked = terminal.secret(format!("Passphrase for {}: ", file.display())).await;
        let passphrase = asked.map_err(|error| {
            CliError::new(Code::File, format!("cannot ask for the passphrase of {}: {error}", file.display()))
        })?;
        if passphrase.is_empty() {
            break;
        }
        pair = read_encrypted(file.to_owned(), passphrase).await;
    }
    let pair = pair.map_err(|error| match &error {
        KeyFileError::Format { source: KeyFormatError::PassphraseNeeded, .. } if terminal.is_none() => {
            CliError::new(
                Code::File,
                format!(
                    "the key {} is encrypted and there is no terminal to ask for its passphrase; give another key with -i, or take the passphrase off with `adit keygen -p`",
                    file.display()
                ),
            )
        }
        error => CliError::file(error),
    })?;
    SigningKey::new(&pair.private, PROVIDER).map_err(|error| {
        CliError::new(Code::File, format!("the key {} cannot be used: {}", file.display(), chain(&error)))
    })
}

/// Opening an encrypted key takes long on purpose.
async fn read_encrypted(file: PathBuf, passphrase: Zeroizing<String>) -> Result<KeyPair, KeyFileError> {
    let path = file.clone();
    let read = tokio::task::spawn_blocking(move || KeyPair::read_file(path, Some(passphrase.as_bytes())));
    read.await.unwrap_or_else(|error| {
        Err(KeyFileError::Io { action: "read", path: file, source: std::io::Error::other(error) })
    })
}

/// A key whose passphrase is asked for when the server has taken the key.
struct Deferred {
    file: PathBuf,
    public: PublicKey,
    terminal: Terminal,
    key: tokio::sync::Mutex<Option<SigningKey>>,
}

impl Deferred {
    fn new(file: &Path, public: PublicKey, terminal: Terminal) -> Self {
        Self { file: file.to_owned(), public, terminal, key: tokio::sync::Mutex::new(None) }
    }
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deferred({})", self.file.display())
    }
}

impl AsyncSigner for Deferred {
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        let refused = |why: String| SignError::Refused(why.into());
        async move {
            let mut slot = self.key.lock().await;
            let key = match slot.take() {
                Some(key) => key,
                None => read_key(&self.file, Some(&self.terminal))
                    .await
                    .map_err(|error| refused(error.message))?,
            };
            let key = slot.insert(key);
            if *key.public_key() != self.public {
                let why = "is not the private half of the .pub file beside it";
                return Err(refused(format!("{} {why}", self.file.display())));
            }
            AsyncSigner::sign(key, algorithm, data).await
        }
        .boxed()
    }
}
