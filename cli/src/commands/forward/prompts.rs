//! Who answers what the server asks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{InfoRequest, PasswordPrompt, PromptResponder};
use zeroize::Zeroizing;

use super::terminal::Terminal;
use crate::output::quoted;

/// Asks the person at the terminal, when the server wants to know something.
#[derive(Debug)]
pub(super) struct Asker {
    terminal: Terminal,
    peer: String,
    asked: AtomicBool,
    /// An empty answer is a no to all further questions.
    gave_up: AtomicBool,
}

impl Asker {
    pub(super) fn new(terminal: Terminal, peer: &str) -> Self {
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

    fn new_password<'a>(&'a self, prompt: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        async move {
            self.terminal.say(&format!("{} wants a new password:\n{}", self.peer, quoted(prompt)));
            let first = self.terminal.secret("New password: ".into()).await.ok()?;
            let again = self.terminal.secret("Once more: ".into()).await.ok()?;
            if *first != *again {
                self.terminal.say("These are not the same.");
                return None;
            }
            Some(first)
        }
        .boxed()
    }
}

impl PromptResponder for Asker {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        async move {
            if self.gave_up.load(Ordering::Relaxed) {
                return None;
            }
            for text in [&request.name, &request.instruction] {
                if !text.trim().is_empty() {
                    self.terminal.say(&quoted(text));
                }
            }
            let mut answers = Vec::new();
            for prompt in &request.prompts {
                // Whose question it is has to be seen: a server could ask for anything.
                let (before, last) = prompt.text.rsplit_once('\n').unwrap_or(("", &prompt.text));
                if !before.trim().is_empty() {
                    self.terminal.say(&quoted(before));
                }
                let text = format!("({}) {last}", self.peer);
                let answer = if prompt.echo {
                    self.terminal.line(text).await.ok().filter(|line| !line.is_empty()).map(Zeroizing::new)
                } else {
                    self.terminal.secret(text).await.ok()
                };
                let Some(answer) = answer else {
                    // The end of the input is a no to all further questions.
                    self.gave_up.store(true, Ordering::Relaxed);
                    return None;
                };
                answers.push(Zeroizing::new(answer.trim_end_matches(['\r', '\n']).to_owned()));
            }
            Some(answers)
        }
        .boxed()
    }
}

/// Answers the one question that a password which was given without being asked for is an answer to, once.
pub(super) struct GivenPassword {
    password: Arc<Zeroizing<String>>,
    given: AtomicBool,
}

impl GivenPassword {
    pub(super) fn new(password: Arc<Zeroizing<String>>) -> Self {
        Self { password, given: AtomicBool::new(false) }
    }
}

impl fmt::Debug for GivenPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenPassword[..]")
    }
}

impl PromptResponder for GivenPassword {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answers = match request.prompts.as_slice() {
            [] => Some(Vec::new()),
            [prompt] if !prompt.echo && prompt.text.to_lowercase().contains("password") => {
                let again = self.given.swap(true, Ordering::Relaxed);
                (!again).then(|| vec![Zeroizing::clone(&self.password)])
            }
            _ => None,
        };
        std::future::ready(answers).boxed()
    }
}

/// As often as ssh asks.
pub(super) const MAX_PROMPTS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use ssh_core::client::Prompt;

    fn asked(prompts: &[(&str, bool)]) -> InfoRequest {
        let prompts = prompts.iter().map(|&(text, echo)| Prompt { text: text.into(), echo }).collect();
        InfoRequest { name: String::new(), instruction: String::new(), prompts }
    }

    #[tokio::test]
    async fn a_given_password_answers_a_question_for_a_password_and_no_other() {
        for (prompts, answers) in [
            (&[][..], Some(0)),
            (&[("Password: ", false)], Some(1)),
            (&[("ada@host's password:", false)], Some(1)),
            (&[("Password: ", true)], None),
            (&[("Verification code: ", false)], None),
            (&[("Password: ", false), ("Password again: ", false)], None),
        ] {
            let given = GivenPassword::new(Arc::new(Zeroizing::new("secret".into())));
            let request = asked(prompts);
            assert_eq!(given.respond(&request).await.map(|answers| answers.len()), answers, "{prompts:?}");
            if answers == Some(1) {
                assert!(given.respond(&request).await.is_none(), "it was wrong the first time");
            }
            assert!(!format!("{given:?}").contains("secret"));
        }
    }
}
