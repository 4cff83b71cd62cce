//! asyncssh, by the scripts in `tests/peers/python`.

use std::path::PathBuf;

use super::script::{Program, Scripts};
use super::{ClientSettings, Peer, RunningClient, RunningServer, ServerSettings, built_peers, workspace};
use crate::algorithms::Algorithms;
use crate::keys::KeyFile;
use crate::outcome::Outcome;

/// asyncssh in its virtual environment.
pub struct AsyncSsh {
    python: PathBuf,
    folder: PathBuf,
    algorithms: Algorithms,
}

impl AsyncSsh {
    /// Finds it and asks it what it has: some of its algorithms hang on libraries it may not find.
    ///
    /// # Errors
    /// When it is missing where it must not be, or does not answer.
    pub async fn find() -> Outcome<Option<Self>> {
        let Some(python) = python_tool("python") else {
            return super::skip("asyncssh", "its Python environment is missing (tests/peers/setup makes it)");
        };
        let folder = workspace().join("tests/peers/python");
        let mut found = Self { python, folder, algorithms: Algorithms::default() };
        // Every version that `requirements.txt` may pin has had strict key exchange since 2.14.2.
        found.algorithms = Algorithms { strict_kex: true, ..found.scripts().algorithms().await? };
        Ok(Some(found))
    }

    /// A server with every way to log in that is not a plain key or password; `client_host_key` is the key of the host
    /// whose word it takes. With `first_key`, that key is the first of two steps and questions are the second.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn serve_logins(
        &self,
        host_key: &KeyFile,
        client_host_key: &KeyFile,
        first_key: Option<&KeyFile>,
    ) -> Outcome<RunningServer> {
        self.scripts().serve_logins(host_key, client_host_key, first_key).await
    }

    /// A server that wants the steps that the user's name lists, split by `+`, in that order: `password`, `prompts`, and
    /// those of `keys`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn serve_steps(&self, host_key: &KeyFile, keys: &[(&str, &KeyFile)]) -> Outcome<RunningServer> {
        self.scripts().serve_steps(host_key, keys).await
    }

    fn scripts(&self) -> Scripts<'_> {
        let program = Program::Scripts { interpreter: &self.python, folder: &self.folder, extension: "py" };
        Scripts { name: "asyncssh", program }
    }
}

impl Peer for AsyncSsh {
    fn name(&self) -> &'static str {
        "asyncssh"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.scripts().serve(settings).await
    }

    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.scripts().connect(settings).await
    }
}

/// A program of the Python environment that `tests/peers/setup` makes.
#[must_use]
pub fn python_tool(name: &str) -> Option<PathBuf> {
    let path = built_peers().join("venv/bin").join(name);
    path.is_file().then_some(path)
}
