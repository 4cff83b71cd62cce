use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use zeroize::Zeroizing;

use crate::config::{Algorithms, Extensions, Limits, provider_or_default};
use crate::crypto::CryptoProvider;
use crate::error::{Error, HostKeyError};
use crate::keys::{PublicKey, SigningKey};

/// How a client connects. Made by [`Config::builder`].
#[derive(Debug)]
pub struct Config {
    pub(super) user: Arc<str>,
    pub(super) verifier: Arc<dyn HostKeyVerifier>,
    pub(super) credentials: Vec<Credential>,
    pub(super) algorithms: Algorithms,
    pub(super) limits: Limits,
    pub(super) extensions: Extensions,
    pub(super) provider: &'static CryptoProvider,
}

/// Decides whether a host key is the right one. Until it has, nothing is sent that the server could use.
pub trait HostKeyVerifier: Send + Sync + fmt::Debug {
    /// Whether the server that proved to hold `key` is the one that is meant.
    fn verify<'a>(&'a self, key: &'a PublicKey) -> BoxFuture<'a, Result<(), HostKeyError>>;
}

/// Something to authenticate with, tried in the order given.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// A password (RFC 4252 §8).
    Password(Arc<Zeroizing<String>>),
    /// A key (RFC 4252 §7). The server is asked first whether it would do.
    Key(Arc<SigningKey>),
    /// A password that is asked for only if the server takes passwords and nothing before it was enough. Several in a
    /// row are as many chances to mistype.
    AskPassword(Arc<dyn PasswordPrompt>),
}

/// Somebody who knows a password. The login deadline goes on while they are asked.
pub trait PasswordPrompt: Send + Sync + fmt::Debug {
    /// The password, or `None` if there is none to be had.
    fn password(&self) -> BoxFuture<'_, Option<Zeroizing<String>>>;
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
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password[..]"),
            Self::AskPassword(prompt) => write!(f, "AskPassword({prompt:?})"),
            Self::Key(key) => write!(f, "Key({:?})", key.public_key()),
        }
    }
}

/// Builds a [`Config`]. It has no `build` until it is said how host keys are verified.
#[derive(Debug)]
pub struct ConfigBuilder<State> {
    state: State,
    user: Arc<str>,
    credentials: Vec<Credential>,
    algorithms: Algorithms,
    limits: Limits,
    extensions: Extensions,
    provider: Option<&'static CryptoProvider>,
}

/// The builder's state before [`ConfigBuilder::verify_host_key`].
#[derive(Debug)]
pub struct NeedsHostKeyVerifier;

/// The builder's state after [`ConfigBuilder::verify_host_key`].
#[derive(Debug)]
pub struct Ready(Arc<dyn HostKeyVerifier>);

impl Config {
    /// A client that logs in as `user`, at most 256 bytes long.
    #[must_use]
    pub fn builder(user: &str) -> ConfigBuilder<NeedsHostKeyVerifier> {
        ConfigBuilder {
            state: NeedsHostKeyVerifier,
            user: user.into(),
            credentials: Vec::new(),
            algorithms: Algorithms::default(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            provider: None,
        }
    }
}

impl ConfigBuilder<NeedsHostKeyVerifier> {
    /// How host keys are verified.
    #[must_use]
    pub fn verify_host_key(self, verifier: impl HostKeyVerifier + 'static) -> ConfigBuilder<Ready> {
        let Self { user, credentials, algorithms, limits, extensions, provider, .. } = self;
        ConfigBuilder {
            state: Ready(Arc::new(verifier)),
            user,
            credentials,
            algorithms,
            limits,
            extensions,
            provider,
        }
    }
}

impl<State> ConfigBuilder<State> {
    /// Adds something to authenticate with, to be tried after what was added before.
    #[must_use]
    pub fn authenticate(mut self, credential: Credential) -> Self {
        self.credentials.push(credential);
        self
    }

    /// What is offered; [`Algorithms::default`] otherwise.
    #[must_use]
    pub fn algorithms(mut self, algorithms: Algorithms) -> Self {
        self.algorithms = algorithms;
        self
    }

    /// What the session may cost; [`Limits::default`] otherwise.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which extensions of the protocol are offered; [`Extensions::default`] otherwise.
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.extensions = extensions;
        self
    }

    /// Who does the cryptography; the default backend otherwise.
    #[must_use]
    pub fn provider(mut self, provider: &'static CryptoProvider) -> Self {
        self.provider = Some(provider);
        self
    }
}

impl ConfigBuilder<Ready> {
    /// The finished configuration.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`](crate::error::ApiMisuse::Algorithms) if nothing can be offered.
    pub fn build(self) -> Result<Arc<Config>, Error> {
        let provider = provider_or_default(self.provider)?;
        self.algorithms.supported_by(provider)?;
        Ok(Arc::new(Config {
            user: self.user,
            verifier: self.state.0,
            credentials: self.credentials,
            algorithms: self.algorithms,
            limits: self.limits,
            extensions: self.extensions,
            provider,
        }))
    }
}

/// Choices that weaken security.
pub mod danger {
    use futures::future::{BoxFuture, FutureExt as _};

    use super::HostKeyVerifier;
    use crate::error::HostKeyError;
    use crate::keys::PublicKey;

    /// Accepts every host key: whoever is in between can read and change everything.
    #[derive(Debug, Clone, Copy)]
    pub struct AcceptAnyHostKey;

    impl HostKeyVerifier for AcceptAnyHostKey {
        fn verify<'a>(&'a self, _key: &'a PublicKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
            std::future::ready(Ok(())).boxed()
        }
    }
}
