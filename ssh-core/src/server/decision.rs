use std::fmt;
use std::time::Duration;

use super::principal::Principal;
use crate::connection_info::ConnectionInfo;
use crate::protocol::{AuthAnswer, Method, Prompts, Refusal};

/// The decision on an attempt.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AuthDecision {
    /// Yes: the session is this principal's. As the answer to a query, that the key would do.
    Accept(Principal),
    /// Right, but not enough (RFC 4252 §5.1, "partial success"): one of these methods is needed too. As the answer to a
    /// query, that the key would do.
    Partial {
        /// What is left to do, in the order in which the client is told it.
        next: Vec<Method>,
    },
    /// No.
    Reject(RejectReason),
    /// No, and the session ends.
    Stop(RejectReason),
    /// Asks, if the method is keyboard-interactive. The answers come with the next attempt.
    Prompt(Prompts),
    /// The password has to be changed first, if the method is password. The client may then send both
    /// ([`AuthMethod::PasswordChange`](super::AuthMethod::PasswordChange)).
    ChangePassword {
        /// Words for the user.
        prompt: String,
    },
    /// Words for the user before the decision is told (RFC 4252 §5.4).
    Banner {
        /// The words.
        text: String,
        /// The decision.
        then: Box<AuthDecision>,
    },
    /// A decision that is taken, and on record, now and that the client hears later. To wait before deciding would let
    /// clients go unrecorded that hang up meanwhile.
    Later {
        /// How much later; at [`AuthAttempt::deadline`](super::AuthAttempt::deadline) it is told at the latest. Several
        /// add up.
        after: Duration,
        /// The decision.
        then: Box<AuthDecision>,
    },
}

impl AuthDecision {
    /// Adds words for the user before this decision is told.
    #[must_use]
    pub fn with_banner(self, text: impl Into<String>) -> Self {
        Self::Banner { text: text.into(), then: Box::new(self) }
    }

    /// Has this decision told so much later.
    #[must_use]
    pub fn delayed_by(self, after: Duration) -> Self {
        Self::Later { after, then: Box::new(self) }
    }

    /// What the peer is told, the principal of an acceptance, and why not otherwise.
    pub(super) fn into_parts(self) -> Parts {
        let (mut banners, mut delay) = (Vec::new(), Duration::ZERO);
        let mut decision = self;
        loop {
            decision = match decision {
                Self::Banner { text, then } => {
                    banners.push(text);
                    *then
                }
                Self::Later { after, then } => {
                    delay = delay.saturating_add(after);
                    *then
                }
                _ => break,
            };
        }
        let (answer, principal, outcome) = match decision {
            Self::Accept(principal) => (AuthAnswer::Accept, Some(principal), AuthOutcome::Accepted),
            Self::Partial { next } => (AuthAnswer::Partial(next), None, AuthOutcome::Partial),
            Self::Reject(reason) => (AuthAnswer::Reject, None, AuthOutcome::Rejected(reason)),
            Self::Stop(reason) => (AuthAnswer::Stop, None, AuthOutcome::Stopped(reason)),
            Self::Prompt(prompts) => (AuthAnswer::Prompt(prompts), None, AuthOutcome::Asked),
            Self::ChangePassword { prompt } => (AuthAnswer::ChangePassword(prompt), None, AuthOutcome::Asked),
            // The loop above has taken all of them.
            Self::Banner { .. } | Self::Later { .. } => {
                (AuthAnswer::Reject, None, AuthOutcome::Rejected(RejectReason::CannotCheck))
            }
        };
        Parts { banners, answer, principal, outcome, delay }
    }
}

/// A decision taken apart.
pub(super) struct Parts {
    pub(super) banners: Vec<String>,
    pub(super) answer: AuthAnswer,
    pub(super) principal: Option<Principal>,
    pub(super) outcome: AuthOutcome,
    pub(super) delay: Duration,
}

/// Why an attempt was refused. It is logged; the client sees no difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// There is no such user.
    #[error("unknown user")]
    InvalidUser,
    /// The password is wrong.
    #[error("wrong password")]
    InvalidPassword,
    /// The key or certificate is not this user's.
    #[error("the key is not this user's")]
    InvalidKey,
    /// The answers are wrong.
    #[error("wrong answers")]
    InvalidAnswers,
    /// The method is not for this user, or not now.
    #[error("the method is not for this user")]
    InvalidMethod,
    /// The credential was right once.
    #[error("the credential has expired")]
    Expired,
    /// The user may not come in from there, or not now.
    #[error("not permitted")]
    NotPermitted,
    /// It could not be found out: the place where users are kept did not answer, or too late.
    #[error("it could not be checked")]
    CannotCheck,
    /// The connection ended before the authenticator had decided. Nobody was told anything.
    #[error("the client left before it was decided")]
    Abandoned,
    /// The library refused it without asking.
    #[error("{0}")]
    Protocol(Refusal),
    /// Something else. The text may not hold a secret.
    #[error("{0}")]
    Other(String),
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthOutcome {
    /// It was right, or a key that was asked about would do.
    Accepted,
    /// It was right and not enough.
    Partial,
    /// The client was asked something.
    Asked,
    /// It was refused.
    Rejected(RejectReason),
    /// It was refused and the session ends.
    Stopped(RejectReason),
}

impl fmt::Display for AuthOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Partial => f.write_str("right, more is needed"),
            Self::Asked => f.write_str("asked"),
            Self::Rejected(reason) => write!(f, "refused: {reason}"),
            Self::Stopped(reason) => write!(f, "refused for good: {reason}"),
        }
    }
}

/// A decision, for a log.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthRecord<'a> {
    /// The connection.
    pub connection: &'a ConnectionInfo,
    /// Who the client said it was: any text of at most 256 bytes. Escape it
    /// ([`escape_text`](crate::error::escape_text)) before showing it.
    pub user: &'a str,
    /// The method's name as the client wrote it, at most 256 bytes; to be escaped as well.
    pub method: &'a str,
    /// Whether the decision is on nothing but whether a key would do: for a query, or before a signature is verified.
    pub is_query: bool,
    /// What came of it.
    pub outcome: &'a AuthOutcome,
}
