//! What the user can log in with, in the order of trying.

use std::sync::Arc;

use ssh_core::client::{Agent, Credential, Identity, PasswordPrompt, PromptResponder};
use zeroize::Zeroizing;

use super::agent::AgentSigner;
use super::key_files::KeyFiles;
use super::prompts::{Asker, GivenPassword, MAX_PROMPTS};
use super::terminal::Terminal;
use crate::args::ForwardArgs;
use crate::commands::blocking::blocking;
use crate::commands::{password_file, paths};
use crate::error::CliError;
use crate::output::Output;

/// What there is to log in with, as often as it takes.
pub(super) struct Credentials {
    keys: Vec<Identity>,
    password: Option<Arc<Zeroizing<String>>>,
    /// Who is asked if there is no password.
    terminal: Option<Terminal>,
    peer: String,
}

impl Credentials {
    /// There is nothing left to log in with.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
        self.password = None;
    }

    /// For one login, in the order of trying. An answer that was given counts once in each.
    pub(super) fn list(&self) -> Vec<Credential> {
        let mut credentials: Vec<_> = self.keys.iter().cloned().map(Credential::Identity).collect();
        match (&self.password, &self.terminal) {
            (Some(password), _) => {
                credentials.push(Credential::Password(Arc::clone(password)));
                credentials.push(Credential::keyboard_interactive(GivenPassword::new(Arc::clone(password))));
            }
            (None, Some(terminal)) => {
                // Each counts as one attempt, and asks only if the server wants it.
                let asker = Arc::new(Asker::new(terminal.clone(), &self.peer));
                let questions = Arc::clone(&asker) as Arc<dyn PromptResponder>;
                let prompt = asker as Arc<dyn PasswordPrompt>;
                let each =
                    |make: &dyn Fn() -> Credential| (0..MAX_PROMPTS).map(|_| make()).collect::<Vec<_>>();
                credentials.extend(each(&|| Credential::KeyboardInteractive(Arc::clone(&questions))));
                credentials.extend(each(&|| Credential::AskPassword(Arc::clone(&prompt))));
            }
            (None, None) => {}
        }
        credentials
    }
}

/// Keys, then questions and passwords, as ssh does. A password that was given goes first of the two: it needs no guess
/// at what a question means.
///
/// # Errors
/// A file that was named cannot be used.
pub(super) async fn gather(
    args: &ForwardArgs,
    peer: &str,
    terminal: Option<&Terminal>,
    output: &Output,
) -> Result<Credentials, CliError> {
    let password = password(args).await?;
    let mut agent = agent_keys(args, output).await;
    let files = KeyFiles { terminal, output, ask: password.is_none() };
    let mut keys = Vec::new();
    if args.identity.is_empty() {
        // Their certificates lie beside the files, so the files come with what the agent has of them.
        for file in DEFAULT_KEYS.iter().filter_map(|name| paths::in_ssh(name)) {
            keys.extend(files.default(&file, &mut agent).await);
        }
    } else {
        for file in &args.identity {
            keys.extend(files.named(&paths::expand(file), &mut agent).await?);
        }
    }
    // ssh puts them in front of keys that only a file has. What was named, or is cheap to try, is the better guess.
    let at = if args.identity.is_empty() { 0 } else { keys.len() };
    keys.splice(at..at, agent);
    let (password, peer) = (password.map(Arc::new), peer.to_owned());
    Ok(Credentials { keys, password, terminal: terminal.cloned(), peer })
}

/// The keys of the agent, if there is one. One that does not answer is as good as none.
async fn agent_keys(args: &ForwardArgs, output: &Output) -> Vec<Identity> {
    let Some(agent) = Agent::from_env().filter(|_| !args.no_agent) else { return Vec::new() };
    let keys = agent.identities().await.unwrap_or_else(|error| {
        tracing::info!(%error, "going on without an agent");
        Vec::new()
    });
    keys.into_iter().map(|key| AgentSigner::of(key, &agent, output)).collect()
}

/// The environment variable stays where it is: to take it out is not safe while other threads may read it.
async fn password(args: &ForwardArgs) -> Result<Option<Zeroizing<String>>, CliError> {
    if let Some(file) = args.password_file.clone() {
        return blocking(move || password_file::read(&file)).await.map(Some);
    }
    password_file::of_environment(PASSWORD_VARIABLE)
}

const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
const PASSWORD_VARIABLE: &str = "ADIT_PASSWORD";
