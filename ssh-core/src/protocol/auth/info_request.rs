use crate::error::{Error, clean_text};
use crate::protocol::messages::UserAuthInfoRequest;
use crate::protocol::wire::{Reader, WireError};

/// What a server asks in keyboard-interactive authentication (RFC 4256 §3.2). Its texts have their control characters
/// escaped and are cut, so that they can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoRequest {
    /// A title, often empty. One line.
    pub name: String,
    /// What to tell the user first, often empty. It may have several lines.
    pub instruction: String,
    /// The questions, at most 64, in their order. There may be none: the server then only wants to say something.
    pub prompts: Vec<Prompt>,
}

/// A question of an [`InfoRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The question.
    pub text: String,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
}

impl InfoRequest {
    /// Parses a payload. Dev Tunnels peers write all prompts and then all echo flags, where RFC 4256 has pairs.
    pub(super) fn decode(payload: &[u8], flags_last: bool) -> Result<Self, Error> {
        let message = UserAuthInfoRequest::decode(payload)?;
        if message.count > MAX_PROMPTS {
            return Err(WireError::TooLong.into());
        }
        let mut reader = Reader::new(message.prompts.0);
        let mut prompts = Vec::new();
        for _ in 0..message.count {
            let text = clean_text(reader.string()?, MAX_PROMPT, 1);
            let echo = !flags_last && reader.boolean()?;
            prompts.push(Prompt { text, echo });
        }
        if flags_last {
            for prompt in &mut prompts {
                prompt.echo = reader.boolean()?;
            }
        }
        reader.finish()?;
        Ok(Self {
            name: clean_text(message.name, MAX_PROMPT, 1),
            instruction: clean_text(message.instruction, MAX_INSTRUCTION, MAX_INSTRUCTION_LINES),
            prompts,
        })
    }
}

/// More questions at once than anybody asks. A count is believed only as far as there are bytes behind it.
const MAX_PROMPTS: u32 = 64;
/// A title or a question is cut at about this many bytes.
const MAX_PROMPT: usize = 1024;
/// An instruction is cut at about this many bytes, and after this many lines.
const MAX_INSTRUCTION: usize = 4096;
const MAX_INSTRUCTION_LINES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::PeerMisbehaved;
    use crate::protocol::wire::Write as _;

    fn payload(count: u32, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = vec![60];
        out.put_string(b"One-time\npassword");
        out.put_string(b"Look at\r\nyour \x1b[2Jtoken");
        out.put_string(b"");
        out.put_u32(count);
        rest(&mut out);
        out
    }

    #[test]
    fn rfc4256_3_2_prompts_and_flags_are_read_in_both_orders() {
        let pairs = payload(2, |out| {
            out.put_string(b"User: ");
            out.put_bool(true);
            out.put_string(b"PIN: ");
            out.put_bool(false);
        });
        let flags_last = payload(2, |out| {
            out.put_string(b"User: ");
            out.put_string(b"PIN: ");
            out.put_bool(true);
            out.put_bool(false);
        });
        let expected = InfoRequest {
            name: "One-time\\npassword".into(),
            instruction: "Look at\nyour \\u{1b}[2Jtoken".into(),
            prompts: vec![
                Prompt { text: "User: ".into(), echo: true },
                Prompt { text: "PIN: ".into(), echo: false },
            ],
        };
        assert_eq!(InfoRequest::decode(&pairs, false).unwrap(), expected);
        assert_eq!(InfoRequest::decode(&flags_last, true).unwrap(), expected);
        // Neither is mistaken for the other.
        assert!(InfoRequest::decode(&pairs, true).is_err());
        assert!(InfoRequest::decode(&flags_last, false).is_err());
    }

    #[test]
    fn counts_are_not_believed() {
        for (count, rule) in [
            (u32::MAX, WireError::TooLong),
            (65, WireError::TooLong),
            (64, WireError::Truncated),
            (1, WireError::Truncated),
        ] {
            for flags_last in [false, true] {
                let error = InfoRequest::decode(&payload(count, |_| {}), flags_last).unwrap_err();
                assert!(
                    matches!(error, Error::PeerMisbehaved(PeerMisbehaved::Malformed(found)) if found == rule)
                );
            }
        }
        let none = InfoRequest::decode(&payload(0, |_| {}), false).unwrap();
        assert!(none.prompts.is_empty());
    }

    #[test]
    fn long_texts_are_cut() {
        let long = payload(1, |out| {
            out.put_string(&vec![b'x'; 30_000]);
            out.put_bool(false);
        });
        let request = InfoRequest::decode(&long, false).unwrap();
        assert!(request.prompts[0].text.chars().count() <= MAX_PROMPT + 1);
    }
}
