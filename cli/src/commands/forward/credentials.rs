//! What the user can log in with, in the order of trying.

use std::sync::Arc;

use ssh_core::client::{Agent, Credential, Identity, PasswordPrompt, PromptResponder};
use zeroize::Zeroizing;

use super::key_files::KeyFiles;
use super::prompts::{Asker, GivenPassword, MAX_PROMPTS};
use super::terminal::Terminal;
use crate::args::ForwardArgs;
use crate::commands::{password_file, paths};
use crate::error::CliError;
use crate::output::Output;

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
) -> Result<Vec<Credential>, CliError> {
    let password = password(args)?;
    let mut agent = agent_keys(args).await;
    let files = KeyFiles { terminal, output, ask: password.is_none() };
    let mut keys = Vec::new();
    if args.identity.is_empty() {
        // Their certificates lie beside the files, so the files come with what the agent has of them.
        for file in DEFAULT_KEYS.iter().filter_map(|name| paths::in_ssh(name)) {
            keys.extend(files.default(&file, &mut agent).await);
        }
    } else {
        for file in &args.identity {
            keys.extend(files.named(file, &mut agent).await?);
        }
    }
    // ssh puts them in front of keys that only a file has. What was named, or is cheap to try, is the better guess.
    let at = if args.identity.is_empty() { 0 } else { keys.len() };
    keys.splice(at..at, agent);
    let mut credentials: Vec<_> = keys.into_iter().map(Credential::Identity).collect();
    match (password, terminal) {
        (Some(password), _) => {
            let password = Arc::new(password);
            credentials.push(Credential::Password(Arc::clone(&password)));
            credentials.push(Credential::keyboard_interactive(GivenPassword::new(password)));
        }
        (None, Some(terminal)) => {
            // Each counts as one attempt, and asks only if the server wants it.
            let asker = Arc::new(Asker::new(terminal.clone(), peer));
            let questions = Arc::clone(&asker) as Arc<dyn PromptResponder>;
            let prompt = asker as Arc<dyn PasswordPrompt>;
            let each = |make: &dyn Fn() -> Credential| (0..MAX_PROMPTS).map(|_| make()).collect::<Vec<_>>();
            credentials.extend(each(&|| Credential::KeyboardInteractive(Arc::clone(&questions))));
            credentials.extend(each(&|| Credential::AskPassword(Arc::clone(&prompt))));
        }
        (None, None) => {}
    }
    Ok(credentials)
}

/// The keys of the agent, if there is one. One that does not answer is as good as none.
async fn agent_keys(args: &ForwardArgs) -> Vec<Identity> {
    let Some(agent) = Agent::from_env().filter(|_| !args.no_agent) else { return Vec::new() };
    agent.identities().await.unwrap_or_else(|error| {
        tracing::info!(%error, "going on without an agent");
        Vec::new()
    })
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

const DEFAULT_KEYS: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];
const PASSWORD_VARIABLE: &str = "ADIT_PASSWORD";
