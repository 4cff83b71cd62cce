//! An ssh-agent: keys that sign and are never given away.

mod messages;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{AsyncSigner, Identity, KeySource};
use crate::error::{SignError, escape_text};

/// The keys of an agent (draft-ietf-sshm-ssh-agent), behind a Unix socket, or on Windows a named pipe. Each request is a
/// connection of its own, so that an agent which is restarted is found again.
#[derive(Clone, PartialEq, Eq)]
pub struct Agent {
    path: Arc<Path>,
}

impl Agent {
    /// The agent at this socket or pipe.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into() }
    }

    /// The agent that the environment variable `SSH_AUTH_SOCK` names, if it is set and not empty; on Windows else the
    /// pipe of the system's own agent.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let named = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let usual = cfg!(windows).then(|| WINDOWS_PIPE.into());
        named.or(usual).map(|path| Self::at(PathBuf::from(path)))
    }

    /// Its keys and certificates, at most 64, in its order. Those of types that have no algorithm here are left out.
    ///
    /// # Errors
    /// [`SignError::Refused`] if it is not there, does not answer within 5 s, or answers nonsense.
    ///
    /// # Cancel safety
    /// The answer is dropped.
    pub async fn identities(&self) -> Result<Vec<Identity>, SignError> {
        let reply = self.ask(&messages::request_identities(), LIST_TIMEOUT).await?;
        let keys = messages::identities(&reply).map_err(|refusal| self.refused(&refusal))?;
        let identity = |(blob, comment): messages::Entry<'_>| {
            let signer = Arc::new(AgentKey { agent: self.clone(), blob: blob.into() });
            match Identity::new(blob, signer) {
                Ok(identity) => Some(identity.with_comment(&escape_text(comment))),
                Err(error) => {
                    tracing::debug!(%error, "a key of the agent is left out");
                    None
                }
            }
        };
        Ok(keys.into_iter().filter_map(identity).collect())
    }

    async fn ask(&self, request: &[u8], limit: Duration) -> Result<Vec<u8>, SignError> {
        let exchange = async { exchange(&mut connect(&self.path).await?, request).await };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.refused(&"it did not answer in time")),
        }
    }

    fn refused(&self, why: &dyn fmt::Display) -> SignError {
        SignError::Refused(format!("the agent at {}: {why}", self.path.display()).into())
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Agent({})", self.path.display())
    }
}

impl KeySource for Agent {
    fn identities(&self) -> BoxFuture<'_, Result<Vec<Identity>, SignError>> {
        self.identities().boxed()
    }
}

/// One of an agent's keys.
#[derive(Debug)]
struct AgentKey {
    agent: Agent,
    blob: Box<[u8]>,
}

impl AsyncSigner for AgentKey {
    fn sign<'a>(&'a self, algorithm: &'a str, data: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        async move {
            let request = messages::sign_request(&self.blob, algorithm, data);
            let reply = self.agent.ask(&request, SIGN_TIMEOUT).await?;
            messages::signature(&reply).map_err(|refusal| self.agent.refused(&refusal))
        }
        .boxed()
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let length = stream.read_u32().await?;
    if length == 0 || length > MAX_REPLY {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer is empty or over 256 KiB"));
    }
    let mut reply = Vec::new();
    stream.take(length.into()).read_to_end(&mut reply).await?;
    if u32::try_from(reply.len()) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(reply)
}

#[cfg(unix)]
async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(path).await
}

#[cfg(windows)]
async fn connect(path: &Path) -> io::Result<tokio::net::windows::named_pipe::NamedPipeClient> {
    /// ERROR_PIPE_BUSY: all instances have a client; one comes free soon.
    const BUSY: i32 = 231;
    loop {
        match tokio::net::windows::named_pipe::ClientOptions::new().open(path) {
            Err(error) if error.raw_os_error() == Some(BUSY) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            other => return other,
        }
    }
}

#[cfg(not(any(unix, windows)))]
async fn connect(_: &Path) -> io::Result<tokio::io::DuplexStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where the agent of Windows' own OpenSSH listens.
const WINDOWS_PIPE: &str = r"\\.\pipe\openssh-ssh-agent";
/// A reply may not be longer, in bytes; OpenSSH's limit.
const MAX_REPLY: u32 = 256 * 1024;
/// Listing asks nobody.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);
/// Signing may wait for somebody to confirm it, or to touch a token.
const SIGN_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// An agent that says `reply` to whatever it is asked.
    fn says(directory: &Path, reply: &'static [u8]) -> Agent {
        let path = directory.join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 5];
                let _ = stream.read_exact(&mut request).await;
                let _ = stream.write_all(reply).await;
            }
        });
        Agent::at(path)
    }

    #[tokio::test]
    async fn bad_answers_are_errors_that_name_the_agent() {
        for (reply, why) in [
            (&[0xff, 0xff, 0xff, 0xff, 12][..], "256 KiB"),
            (&[0, 0, 0, 0], "empty"),
            (&[0, 0, 0, 9, 12], "end of file"),
            (&[0, 0, 0, 1, 5], "refused"),
            (&[0, 0, 0, 5, 12, 0, 0, 0, 9], "malformed"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let agent = says(directory.path(), reply);
            let Err(SignError::Refused(text)) = agent.identities().await else { panic!("{reply:?}") };
            assert!(text.contains(why) && text.contains("/agent"), "{text}");
        }
        assert!(Agent::at("/nowhere/at/all").identities().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_says_nothing_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let _deaf = UnixListener::bind(&path).unwrap();
        let Err(SignError::Refused(text)) = Agent::at(path).identities().await else { panic!() };
        assert!(text.contains("in time"), "{text}");
    }

    #[tokio::test]
    async fn keys_of_unknown_types_are_left_out() {
        let reply = b"\0\0\0\x2b\x0c\0\0\0\x02\0\0\0\x0b\0\0\0\x07ssh-dss\0\0\0\0\0\0\0\x0f\0\0\0\x0bssh-ed25519\0\0\0\x01\x1b";
        let mut reply = reply.to_vec();
        let length = u32::try_from(reply.len() - 4).unwrap();
        reply[..4].copy_from_slice(&length.to_be_bytes());
        let directory = tempfile::tempdir().unwrap();
        let agent = says(directory.path(), reply.leak());
        let identities = agent.identities().await.unwrap();
        assert_eq!(identities.len(), 1);
        assert_eq!(identities[0].comment(), "\\u{1b}");
    }
}
