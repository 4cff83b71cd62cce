//! Who is let in, and how the client says who it is.

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{Credential, InfoRequest, PromptResponder};
use ssh_core::protocol::{Method, Prompts};
use ssh_core::server::{
    AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthStart, Authenticator, Principal, RejectReason,
};
use zeroize::Zeroizing;

use crate::Outcome;
use crate::arguments::{Arguments, Mode};
use crate::mark;

const PROMPT: &str = "Enter code: ";
const CODE: &str = "secret42";

/// Takes the one method that the mode is about, or everybody.
#[derive(Debug)]
pub(crate) struct Door(pub(crate) Mode);

impl Authenticator for Door {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        match self.0 {
            Mode::PublicKey => AuthOffer::ready([Method::PublicKey]),
            Mode::KeyboardInteractive => AuthOffer::ready([Method::KeyboardInteractive]),
            _ => AuthOffer::ready([
                Method::None,
                Method::PublicKey,
                Method::Password,
                Method::KeyboardInteractive,
            ]),
        }
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        std::future::ready(self.decide(&attempt)).boxed()
    }
}

impl Door {
    fn decide(&self, attempt: &AuthAttempt<'_>) -> AuthDecision {
        let accept = || AuthDecision::Accept(Principal::new(attempt.user));
        match (self.0, attempt.method) {
            (Mode::PublicKey, AuthMethod::PublicKeyQuery(_)) => accept(),
            (Mode::PublicKey, AuthMethod::PublicKey(_)) => {
                mark("PK_AUTH_VERIFIED");
                accept()
            }
            (Mode::KeyboardInteractive, AuthMethod::KeyboardInteractive { answers, .. }) => match answers {
                None => AuthDecision::Prompt(
                    Prompts::new().instruction("Please answer the security question").visible(PROMPT),
                ),
                Some([code]) if code.expose() == CODE => {
                    mark("KBD_AUTH_VERIFIED");
                    accept()
                }
                Some(_) => {
                    mark("KBD_AUTH_REJECTED");
                    AuthDecision::Reject(RejectReason::InvalidAnswers)
                }
            },
            (Mode::PublicKey | Mode::KeyboardInteractive, _) => {
                AuthDecision::Reject(RejectReason::InvalidMethod)
            }
            _ => accept(),
        }
    }
}

/// What the client has for this mode.
pub(crate) fn credentials(arguments: &Arguments) -> Outcome<Vec<Credential>> {
    Ok(match arguments.mode {
        Mode::PublicKey => vec![Credential::key(arguments.generate_key()?)],
        Mode::KeyboardInteractive => vec![Credential::keyboard_interactive(Answers)],
        _ => Vec::new(),
    })
}

#[derive(Debug)]
struct Answers;

impl PromptResponder for Answers {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answers = request.prompts.iter().map(|_| Zeroizing::new(CODE.to_owned())).collect();
        std::future::ready(Some(answers)).boxed()
    }
}
