//! Keyboard-interactive (RFC 4256).

use super::request::secret;
use crate::error::Error;
use crate::protocol::auth::{Prompts, Secret, ServerMethod};
use crate::protocol::messages::{Rest, UserAuthInfoRequest, UserAuthInfoResponse};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{Reader, Write as _};

/// Questions and answers so far.
pub(super) struct Conversation {
    submethods: String,
    rounds: Vec<Vec<Secret>>,
    /// Questions of the last round.
    asked: usize,
}

/// The words of a round may not be longer together, in bytes.
const MAX_WORDS: usize = 16 * 1024;

impl Conversation {
    pub(super) fn new(submethods: String) -> Self {
        Self { submethods, rounds: Vec::new(), asked: 0 }
    }

    /// Rounds that have been answered.
    pub(super) fn rounds(&self) -> u32 {
        u32::try_from(self.rounds.len()).unwrap_or(u32::MAX)
    }

    /// What the application is asked.
    pub(super) fn method(&self) -> ServerMethod {
        ServerMethod::KeyboardInteractive { submethods: self.submethods.clone(), rounds: self.rounds.clone() }
    }

    /// Asks (RFC 4256 §3.2). `None` if that is more than a client should be asked.
    pub(super) fn ask(
        mut self,
        prompts: &Prompts,
        flags_last: bool,
        out: &mut Outbound,
    ) -> Result<Option<Self>, Error> {
        let words = prompts.prompts.iter().map(|prompt| prompt.text.len());
        let words =
            words.fold(prompts.name.len().saturating_add(prompts.instruction.len()), usize::saturating_add);
        let count = u32::try_from(prompts.prompts.len()).unwrap_or(u32::MAX);
        if prompts.prompts.len() > Prompts::MAX || words > MAX_WORDS {
            return Ok(None);
        }
        let mut fields = Vec::new();
        for prompt in &prompts.prompts {
            fields.put_string(prompt.text.as_bytes());
            if !flags_last {
                fields.put_bool(prompt.echo);
            }
        }
        if flags_last {
            prompts.prompts.iter().for_each(|prompt| fields.put_bool(prompt.echo));
        }
        let message = UserAuthInfoRequest {
            name: prompts.name.as_bytes(),
            instruction: prompts.instruction.as_bytes(),
            language: b"",
            count,
            prompts: Rest(&fields),
        };
        out.send(|buffer| message.encode(buffer))?;
        self.asked = prompts.prompts.len();
        Ok(Some(self))
    }

    /// Takes the answers (RFC 4256 §3.4). `false` if they are not as many as the questions.
    pub(super) fn answer(&mut self, payload: &[u8]) -> Result<bool, Error> {
        let message = UserAuthInfoResponse::decode(payload)?;
        if usize::try_from(message.count) != Ok(self.asked) {
            return Ok(false);
        }
        let mut reader = Reader::new(message.responses.0);
        let mut answers = Vec::with_capacity(self.asked);
        for _ in 0..self.asked {
            answers.push(secret(&mut reader)?);
        }
        reader.finish()?;
        self.rounds.push(answers);
        Ok(true)
    }
}
