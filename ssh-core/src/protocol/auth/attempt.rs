use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Prompt;
use crate::crypto::SignatureAlgorithm;
use crate::keys::{Certificate, PublicKey};

/// A method of authentication that a server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// `none` (RFC 4252 §5.2). It is never listed on the wire; in a server's list it says that the application wants
    /// to be asked about such attempts.
    None,
    /// `publickey` (RFC 4252 §7).
    PublicKey,
    /// `password` (RFC 4252 §8).
    Password,
    /// `keyboard-interactive` (RFC 4256).
    KeyboardInteractive,
    /// `hostbased` (RFC 4252 §9).
    HostBased,
}

impl Method {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PublicKey => "publickey",
            Self::Password => "password",
            Self::KeyboardInteractive => "keyboard-interactive",
            Self::HostBased => "hostbased",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::PublicKey, Self::Password, Self::KeyboardInteractive, Self::HostBased]
            .into_iter()
            .find(|method| method.name() == name)
    }
}

/// Text that is zeroised when dropped and never printed.
#[derive(Clone)]
pub struct Secret(pub(crate) Zeroizing<String>);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[..]")
    }
}

/// Questions of a keyboard-interactive round (RFC 4256 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Prompts {
    /// What the client may show as a heading.
    pub name: String,
    /// What it shows before the questions.
    pub instruction: String,
    /// The questions, at most [`Prompts::MAX`]. None at all is a message that wants no answer but to be shown.
    pub prompts: Vec<Prompt>,
}

impl Prompts {
    /// Questions of a round at most.
    pub const MAX: usize = 32;

    /// Nothing to ask yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a question whose answer is a secret.
    #[must_use]
    pub fn secret(mut self, text: impl Into<String>) -> Self {
        self.prompts.push(Prompt { text: text.into(), echo: false });
        self
    }

    /// Adds a question whose answer may be shown.
    #[must_use]
    pub fn visible(mut self, text: impl Into<String>) -> Self {
        self.prompts.push(Prompt { text: text.into(), echo: true });
        self
    }

    /// Words before the questions.
    #[must_use]
    pub fn instruction(mut self, text: impl Into<String>) -> Self {
        self.instruction = text.into();
        self
    }
}

/// An attempt for the application to decide on.
#[derive(Debug)]
pub struct ServerAttempt {
    /// Who the peer says it is.
    pub user: String,
    /// The number of the attempt on this connection, from 1. The `none` that asks for the methods is number 0; a query,
    /// the signed request after it and each keyboard-interactive round count.
    pub number: u32,
    /// What has already succeeded for this user, in order, without being enough.
    pub succeeded: Vec<Succeeded>,
    /// Whether the request came with a signature. Of a [`ServerMethod::PublicKeyQuery`] it says that the key is asked about
    /// before the signature is looked at.
    pub is_signed: bool,
    /// How it tries.
    pub method: ServerMethod,
}

/// A step that succeeded and was not enough.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Succeeded {
    /// The method.
    pub method: Method,
    /// The key whose possession was proven, if the method has one.
    pub key: Option<PublicKey>,
    /// The certificate that the key came in, if it did.
    pub certificate: Option<Arc<Certificate>>,
}

/// The method of an attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerMethod {
    /// No credentials.
    None,
    /// A password, in the clear. It is zeroised when dropped.
    Password(Secret),
    /// The old password and the one that shall take its place (RFC 4252 §8).
    PasswordChange {
        /// The password so far.
        old: Secret,
        /// The one to come.
        new: Secret,
    },
    /// Would this key do? Saying yes authenticates nobody.
    PublicKeyQuery(OfferedKey),
    /// The peer has proved that it holds this key.
    PublicKey(OfferedKey),
    /// A keyboard-interactive conversation (RFC 4256).
    KeyboardInteractive {
        /// What the client would like, most often empty.
        submethods: String,
        /// The answers so far, a round each; none yet at first.
        rounds: Vec<Vec<Secret>>,
    },
    /// Another host says that its user is at the door, and has proved that it holds this key (RFC 4252 §9).
    HostBased {
        /// The host's key.
        key: OfferedKey,
        /// The host's name, as it says.
        host: String,
        /// Its user's name, as it says.
        user: String,
    },
}

impl ServerMethod {
    /// Which method it is.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::None => Method::None,
            Self::Password(_) | Self::PasswordChange { .. } => Method::Password,
            Self::PublicKeyQuery(_) | Self::PublicKey(_) => Method::PublicKey,
            Self::KeyboardInteractive { .. } => Method::KeyboardInteractive,
            Self::HostBased { .. } => Method::HostBased,
        }
    }
}

/// A key that a client offers, and what it signs with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferedKey {
    /// The key whose possession is or will be proven.
    pub key: PublicKey,
    /// The algorithm of the signature.
    pub algorithm: SignatureAlgorithm,
    /// What an authority says about the key, if it comes in a certificate: well-formed and of the right kind, but who signed
    /// it and what it says is for [`CertificateAuthorities::check`](crate::keys::CertificateAuthorities::check).
    pub certificate: Option<Arc<Certificate>>,
}

impl OfferedKey {
    /// A key without a certificate.
    #[must_use]
    pub fn new(key: PublicKey, algorithm: SignatureAlgorithm) -> Self {
        Self { key, algorithm, certificate: None }
    }
}

/// The application's answer to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthAnswer {
    /// Yes: to a query, that the key would do; to everything else, that the peer is authenticated.
    Accept,
    /// Right, but one of these methods is needed too. To a query it says that the key would do.
    Partial(Vec<Method>),
    /// No.
    Reject,
    /// No, and the session ends.
    Stop,
    /// Asks, if the method is keyboard-interactive.
    Prompt(Prompts),
    /// The password has to be changed first, if the method is password (RFC 4252 §8). The words are for the user.
    ChangePassword(String),
}

/// An attempt that was refused without asking the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedAttempt {
    /// Who the peer says it is.
    pub user: String,
    /// The method's name, as the peer wrote it; at most 256 bytes.
    pub method: String,
    /// Whether it only asked if a key would do.
    pub is_query: bool,
    /// Why.
    pub reason: Refusal,
}

/// Why an attempt was refused without asking the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The method is not on the list of this user and step.
    #[error("the method is not offered")]
    Method,
    /// The key or its algorithm is unknown, not offered, malformed, or they do not fit each other.
    #[error("the key or its algorithm cannot be used")]
    Key,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// This very key has already been counted.
    #[error("the key has been used for an earlier step")]
    KeyUsedBefore,
    /// RFC 4256 §3.4: as many answers as questions.
    #[error("the answers do not match the questions")]
    Answers,
    /// More keyboard-interactive rounds than are allowed.
    #[error("the conversation goes on for too long")]
    Rounds,
    /// The application's answer does not fit the method. It is a mistake of the application.
    #[error("the decision does not fit the method")]
    Misdecided,
}
