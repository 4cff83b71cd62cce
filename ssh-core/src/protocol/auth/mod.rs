//! User authentication (RFC 4252). Each side is a type of its own, so that neither can take the other's messages.

mod attempt;
mod authenticated;
mod client;
mod info_request;
mod server;

pub use attempt::{
    AuthAnswer, Method, OfferedKey, Prompts, Refusal, RefusedAttempt, Secret, ServerAttempt, ServerMethod,
    Succeeded,
};
pub(crate) use authenticated::Authenticated;
pub use client::{AuthReply, ClientAuthRequest, ToSign};
pub(crate) use client::{ClientAuth, ClientProgress};
pub use info_request::{InfoRequest, Prompt};
pub(crate) use server::{ServerAuth, ServerProgress};

/// RFC 4252 §4.
pub(crate) const USERAUTH_SERVICE: &str = "ssh-userauth";
/// RFC 4254 §1.
pub(crate) const CONNECTION_SERVICE: &str = "ssh-connection";
/// A user name may not be longer, in bytes.
pub(crate) const MAX_USER: usize = 256;
