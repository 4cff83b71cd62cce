use std::fmt;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use zeroize::Zeroizing;

use super::{Identity, KeySource};
use crate::keys::{Certificate, SigningKey, WrongCertificate};
pub use crate::protocol::{InfoRequest, Prompt};

/// Something to authenticate with.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A password (RFC 4252 §8). An empty one is not tried.
    Password(Arc<Zeroizing<String>>),
    /// A key (RFC 4252 §7). The server is asked first whether it would do. If the key carries a certificate, that is
    /// tried before the key itself.
    Key(Arc<SigningKey>),
    /// A password that is asked for only if the server takes passwords and nothing before it was enough. Several in a
    /// row are as many chances to mistype.
    AskPassword(Arc<dyn PasswordPrompt>),
    /// A key or a certificate, with something that signs for it.
    Identity(Identity),
    /// Keys that are fetched when the server takes keys: an agent's, or one that somebody has to be asked for.
    Keys(Arc<dyn KeySource>),
    /// A question whether a key would do. It lets nobody in, and the login goes on with what comes next.
    KeyQuery(Arc<KeyQuery>),
    /// Questions of the server, and who answers them (RFC 4256).
    KeyboardInteractive(Arc<dyn PromptResponder>),
    /// The word of the host that the user is on (RFC 4252 §9).
    HostBased(Arc<HostBased>),
}

/// Somebody who knows a password. The login deadline goes on while they are asked.
pub trait PasswordPrompt: Send + Sync + fmt::Debug {
    /// The password, or `None` if there is none to be had. An empty one is not tried.
    fn password(&self) -> BoxFuture<'_, Option<Zeroizing<String>>>;

    /// A new password, because the server takes the present one only to change it (RFC 4252 §8). `prompt` is the
    /// server's words, escaped for display. `None`, which is what this says unless it is overridden, gives up.
    fn new_password<'a>(&'a self, prompt: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        let _ = prompt;
        std::future::ready(None).boxed()
    }
}

/// A question whether a key would do (RFC 4252 §7), from [`Credential::key_query`].
pub struct KeyQuery {
    pub(super) identity: Identity,
    pub(super) answered: Box<dyn Fn(bool) + Send + Sync>,
}

/// Somebody who answers a server's questions. The login deadline goes on while they are asked.
pub trait PromptResponder: Send + Sync + fmt::Debug {
    /// The answers, one for each prompt in their order, or `None` to try something else. A server may ask any number of
    /// times; without prompts it only wants something to be shown.
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>>;
}

/// Who the user is on the client's host, and the key of that host.
#[derive(Debug, Clone)]
pub struct HostBased {
    /// The host's key. It always signs at once: there is no query.
    pub identity: Identity,
    /// The host's name, as the server may look it up; RFC 4252 §9 wants a trailing dot.
    pub client_host: String,
    /// The user there.
    pub client_user: String,
}

impl Credential {
    /// A password.
    #[must_use]
    pub fn password(password: impl Into<String>) -> Self {
        Self::Password(Arc::new(Zeroizing::new(password.into())))
    }

    /// A key.
    #[must_use]
    pub fn key(key: SigningKey) -> Self {
        Self::Key(Arc::new(key))
    }

    /// A certificate and the key that it is for. Unlike [`key`](Self::key) with a certificate, the key itself is not
    /// tried.
    ///
    /// # Errors
    /// [`WrongCertificate`] if it certifies another key.
    pub fn certificate(certificate: Certificate, key: SigningKey) -> Result<Self, WrongCertificate> {
        let key = Arc::new(key.with_certificate(certificate).map_err(|(_, wrong)| wrong)?);
        let identity = Identity::certificate(key).ok().flatten().ok_or(WrongCertificate)?;
        Ok(Self::Identity(identity))
    }

    /// A password that is asked for.
    #[must_use]
    pub fn ask_password(prompt: impl PasswordPrompt + 'static) -> Self {
        Self::AskPassword(Arc::new(prompt))
    }

    /// Keys that are fetched when they are needed.
    #[must_use]
    pub fn keys(source: impl KeySource + 'static) -> Self {
        Self::Keys(Arc::new(source))
    }

    /// Asks whether a key or certificate would do, without a proof: nothing is signed, and [`Identity::public`] is enough.
    /// `answered` is called at most once an attempt, before the next begins: `false` too if the server takes no algorithm of
    /// the key. It is not called if the server takes no keys at all, or the session ends first.
    ///
    /// The server counts it as an attempt, and a key that it has refused is not tried afterwards.
    #[must_use]
    pub fn key_query(identity: Identity, answered: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self::KeyQuery(Arc::new(KeyQuery { identity, answered: Box::new(answered) }))
    }

    /// Answers to the server's questions.
    #[must_use]
    pub fn keyboard_interactive(responder: impl PromptResponder + 'static) -> Self {
        Self::KeyboardInteractive(Arc::new(responder))
    }

    /// The name of the method (RFC 4250 §4.8).
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::Password(_) | Self::AskPassword(_) => "password",
            Self::Key(_) | Self::Identity(_) | Self::Keys(_) | Self::KeyQuery(_) => "publickey",
            Self::KeyboardInteractive(_) => "keyboard-interactive",
            Self::HostBased(_) => "hostbased",
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password[..]"),
            Self::AskPassword(prompt) => write!(f, "AskPassword({prompt:?})"),
            Self::Key(key) => write!(f, "Key({:?})", key.public_key()),
            Self::Identity(identity) => identity.fmt(f),
            Self::Keys(source) => write!(f, "Keys({source:?})"),
            Self::KeyQuery(query) => query.fmt(f),
            Self::KeyboardInteractive(responder) => write!(f, "KeyboardInteractive({responder:?})"),
            Self::HostBased(host) => write!(f, "HostBased({:?} {:?})", host.client_host, host.identity),
        }
    }
}

impl fmt::Debug for KeyQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyQuery({:?})", self.identity)
    }
}
