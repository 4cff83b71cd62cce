//! Private keys in files, and what the agent has of them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{AsyncSigner, Identity};
use ssh_core::error::SignError;
use ssh_core::keys::{
    Certificate, KeyFileError, KeyFormatError, KeyPair, MAX_KEY_FILE_LEN, PublicKey, PublicLine, SigningKey,
    openssh,
};
use zeroize::Zeroizing;

use super::certificate::{certified, with_certificate};
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
            return self.public(file, &public, agent);
        }
        let blob = public_half(file);
        if let Some(held) = blob.as_ref().and_then(|blob| take(agent, blob)) {
            return Ok(with_certificate(held, file, self.output));
        }
        if blob.as_ref().is_some_and(|blob| is_of_security_key(blob)) {
            return Err(needs_agent(file));
        }
        let public = blob.and_then(|blob| PublicKey::from_blob(&blob).ok());
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

    /// What the agent has of a public key or certificate.
    fn public(&self, file: &Path, blob: &[u8], agent: &mut Vec<Identity>) -> Result<Vec<Identity>, CliError> {
        if let Some(held) = take(agent, blob) {
            return Ok(with_certificate(held, &private_beside(file), self.output));
        }
        let certificate = Certificate::from_blob(blob).map_err(|_| not_held(file))?;
        let key = take(agent, &certificate.key().to_blob()).ok_or_else(|| not_held(file))?;
        let place = format!("the certificate {}", file.display());
        Ok(certified(key, &certificate, &place, self.output))
    }

    /// The same for a file that is only looked for: what is wrong with it is a warning, and its absence is nothing.
    pub(super) async fn default(&self, file: &Path, agent: &mut Vec<Identity>) -> Vec<Identity> {
        if matches!(std::fs::metadata(file), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            return Vec::new();
        }
        let in_agent = |blob: Vec<u8>| agent.iter().any(|key| key.blob() == blob);
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

/// The blob of the public half of `FILE`, where its format keeps that in the clear, else of the key of `FILE.pub`. It may be
/// of a type that only an agent signs for.
fn public_half(file: &Path) -> Option<Vec<u8>> {
    let inside = read(file, MAX_KEY_FILE_LEN).and_then(|text| openssh::public_blob(&text).ok());
    inside.or_else(|| {
        let mut name = file.as_os_str().to_owned();
        name.push(".pub");
        public_line(Path::new(&name))
    })
}

/// The blob of the public key or certificate that the file holds on a line, if it does.
fn public_line(file: &Path) -> Option<Vec<u8>> {
    PublicLine::blob(&read(file, MAX_KEY_FILE_LEN)?).ok()
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
fn take(agent: &mut Vec<Identity>, blob: &[u8]) -> Option<Identity> {
    // RSA has several names.
    let blob = PublicKey::from_blob(blob).map_or_else(|_| blob.to_vec(), |key| key.to_blob());
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

/// Whether it is the blob of a key in hardware: `sk-ssh-ed25519@openssh.com` or its like (OpenSSH PROTOCOL.u2f).
fn is_of_security_key(blob: &[u8]) -> bool {
    blob.get(4..).is_some_and(|kind| kind.starts_with(b"sk-"))
}

fn needs_agent(file: &Path) -> CliError {
    let file = file.display();
    CliError::new(
        Code::File,
        format!("{file} is for a security key, and no agent has it; `ssh-add` it: only an agent can use it"),
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use ssh_core::keys::Overwrite;

    use super::*;

    /// Stands for an agent.
    #[derive(Debug)]
    struct Token;

    impl AsyncSigner for Token {
        fn sign<'a>(&'a self, _: &'a str, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
            std::future::ready(Err(SignError::Refused("nobody touched it".into()))).boxed()
        }
    }

    fn string(out: &mut Vec<u8>, value: &[u8]) {
        out.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        out.extend(value);
    }

    const KIND: &str = "sk-ssh-ed25519@openssh.com";

    /// OpenSSH PROTOCOL.u2f.
    fn public_blob() -> Vec<u8> {
        let mut blob = Vec::new();
        for field in [KIND.as_bytes(), &[7; 32], b"ssh:"] {
            string(&mut blob, field);
        }
        blob
    }

    fn private_file() -> String {
        let mut body = b"openssh-key-v1\0".to_vec();
        for field in [&b"none"[..], b"none", b""] {
            string(&mut body, field);
        }
        body.extend(1_u32.to_be_bytes());
        string(&mut body, &public_blob());
        string(&mut body, &[1; 64]);
        let text = STANDARD.encode(body);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{text}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    #[tokio::test]
    async fn a_security_key_is_used_by_its_agent() {
        let folder = tempfile::tempdir().unwrap();
        let [private, public] = ["id_ed25519_sk", "id_ed25519_sk.pub"].map(|name| folder.path().join(name));
        ssh_core::keys::write_private(&private, private_file().as_bytes(), Overwrite::Refuse).unwrap();
        std::fs::write(&public, format!("{KIND} {} token\n", STANDARD.encode(public_blob()))).unwrap();
        let output = Output::new(false, false);
        let files = KeyFiles { terminal: None, output: &output, ask: true };
        for (file, missing) in [(&private, "`ssh-add` it"), (&public, "is a public key and no agent")] {
            let mut agent = vec![Identity::new(&public_blob(), Arc::new(Token)).unwrap()];
            let found = files.named(file, &mut agent).await.unwrap();
            assert!(agent.is_empty() && found.len() == 1 && found[0].blob() == public_blob());
            let error = files.named(file, &mut agent).await.unwrap_err();
            assert!(error.message.contains(missing) && !error.message.contains("chmod"), "{}", error.message);
        }
    }
}
