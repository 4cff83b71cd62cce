//! What the user can log in with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{Credential, PasswordPrompt};
use ssh_core::keys::{KeyFileError, KeyFormatError, KeyPair, SigningKey};
use zeroize::Zeroizing;

use super::certificate;
use super::terminal::Terminal;
use crate::args::ForwardArgs;
use crate::commands::session::PROVIDER;
use crate::commands::{password_file, paths};
use crate::error::{CliError, Code, chain};
use crate::output::Output;

/// Keys first, then the password, as ssh does.
///
/// # Errors
/// A file that was named cannot be used.
pub(super) async fn gather(
    args: &ForwardArgs,
    peer: &str,
    terminal: Option<&Terminal>,
    output: &Output,
) -> Result<Vec<Credential>, CliError> {
    let password = password(args)?;
    let mut credentials = Vec::new();
    for file in &args.identity {
        let key = read_key(file, terminal).await?;
        credentials.push(Credential::key(certificate::attach(key, file, output)));
    }
    if args.identity.is_empty() {
        for file in DEFAULT_KEYS.iter().filter_map(|name| paths::in_ssh(name)) {
            // Who has given a password is not asked for another secret.
            if password.is_some() && is_encrypted(&file) {
                tracing::info!(file = %file.display(), "an encrypted key is left out");
                continue;
            }
            credentials.extend(read_default_key(&file, terminal, output).await.map(Credential::key));
        }
    }
    match password {
        Some(password) => credentials.push(Credential::Password(Arc::new(password))),
        None => {
            // It counts as one, and is asked for only if the server wants it.
            if let Some(terminal) = terminal {
                let prompt: Arc<dyn PasswordPrompt> = Arc::new(Asker::new(terminal.clone(), peer));
                credentials.extend((0..MAX_PROMPTS).map(|_| Credential::AskPassword(Arc::clone(&prompt))));
            }
        }
    }
    Ok(credentials)
}

/// The environment variable stays where it is: to take it out is not safe while other threads may read it.
fn password(args: &ForwardArgs) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(file) = &args.password_file {
        return password_file::read(file).map(Some);
    }
    match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) if password.is_empty() => Ok(None),
        Ok(password) => Ok(Some(Zeroizing::new(password))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(CliError::usage(format!("the environment variable {PASSWORD_VARIABLE} is not UTF-8")))
        }
    }
}

/// A key that was not asked for by name: what is wrong with it is a warning, and its absence is nothing.
async fn read_default_key(file: &Path, terminal: Option<&Terminal>, output: &Output) -> Option<SigningKey> {
    if matches!(std::fs::metadata(file), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
        return None;
    }
    match read_key(file, terminal).await {
        Ok(key) => Some(certificate::attach(key, file, output)),
        Err(error) => {
            output.warning(format!("{error} (going on without this key)"));
            None
        }
    }
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
                    "the key {} is encrypted and there is no terminal to ask for its passphrase; give another key with -i, or take the passphrase off with `ssh-keygen -p`",
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

/// Asks for the password, when the server wants one.
#[derive(Debug)]
struct Asker {
    terminal: Terminal,
    peer: String,
    asked: AtomicBool,
    /// An empty answer is a no to all further questions.
    gave_up: AtomicBool,
}

impl Asker {
    fn new(terminal: Terminal, peer: &str) -> Self {
        Self {
            terminal,
            peer: peer.to_owned(),
            asked: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
        }
    }
}

impl PasswordPrompt for Asker {
    fn password(&self) -> BoxFuture<'_, Option<Zeroizing<String>>> {
        let again =
            if self.asked.swap(true, Ordering::Relaxed) { "That was refused, try again. " } else { "" };
        let prompt = format!("{again}Password for {}: ", self.peer);
        async move {
            if self.gave_up.load(Ordering::Relaxed) {
                return None;
            }
            let answer = self.terminal.secret(prompt).await.ok().filter(|password| !password.is_empty());
            self.gave_up.store(answer.is_none(), Ordering::Relaxed);
            answer
        }
        .boxed()
    }
}

const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
const PASSWORD_VARIABLE: &str = "ADIT_PASSWORD";
/// As often as ssh asks.
const MAX_PROMPTS: usize = 3;
