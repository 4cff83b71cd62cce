use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::config::{Algorithms, Extensions, Limits, provider_or_default};
use crate::crypto::CryptoProvider;
use crate::error::{ApiMisuse, Error};
use crate::keys::{PublicKey, SigningKey};

/// How a server accepts. Made by [`Config::builder`].
#[derive(Debug)]
pub struct Config {
    pub(super) host_keys: Arc<[SigningKey]>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) algorithms: Algorithms,
    pub(super) limits: Limits,
    pub(super) extensions: Extensions,
    pub(super) provider: &'static CryptoProvider,
}

/// Decides who may come in. A refusal looks the same on the wire whatever its reason.
pub trait Authenticator: Send + Sync + fmt::Debug {
    /// The methods that refusals offer, in order: `publickey`, `password`.
    fn methods(&self) -> &[&'static str];

    /// Decides on one attempt. A public key is asked about twice: when the peer names it, before its signature is
    /// worth checking, and again once the signature has been verified.
    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision>;
}

/// An attempt.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct AuthAttempt<'a> {
    /// Who the peer says it is.
    pub user: &'a str,
    /// How it tries.
    pub method: AuthMethod<'a>,
}

/// The method of an attempt.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum AuthMethod<'a> {
    /// No credentials.
    None,
    /// A password, in the clear. It is zeroised after the decision.
    Password(&'a str),
    /// Would this key do for this user? Accepting authenticates nobody.
    PublicKeyQuery(&'a PublicKey),
    /// The peer has proved that it holds this key.
    PublicKey(&'a PublicKey),
}

impl fmt::Debug for AuthMethod<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password[..]"),
            Self::PublicKeyQuery(key) => write!(f, "PublicKeyQuery({key:?})"),
            Self::PublicKey(key) => write!(f, "PublicKey({key:?})"),
        }
    }
}

/// The decision on an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthDecision {
    /// Yes.
    Accept,
    /// No.
    Reject,
}

/// Builds a [`Config`].
#[derive(Debug)]
pub struct ConfigBuilder {
    host_keys: Vec<SigningKey>,
    authenticator: Arc<dyn Authenticator>,
    algorithms: Algorithms,
    limits: Limits,
    extensions: Extensions,
    provider: Option<&'static CryptoProvider>,
}

impl Config {
    /// A server that lets in whom `authenticator` accepts.
    #[must_use]
    pub fn builder(authenticator: impl Authenticator + 'static) -> ConfigBuilder {
        ConfigBuilder {
            host_keys: Vec::new(),
            authenticator: Arc::new(authenticator),
            algorithms: Algorithms::default(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            provider: None,
        }
    }
}

impl ConfigBuilder {
    /// Adds a host key. At least one is needed; one of each kind meets more clients.
    #[must_use]
    pub fn host_key(mut self, key: SigningKey) -> Self {
        self.host_keys.push(key);
        self
    }

    /// What is offered; [`Algorithms::default`] otherwise.
    #[must_use]
    pub fn algorithms(mut self, algorithms: Algorithms) -> Self {
        self.algorithms = algorithms;
        self
    }

    /// What a session may cost; [`Limits::default`] otherwise.
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

    /// The finished configuration.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`] if nothing can be offered, or no host key signs with an offered algorithm.
    pub fn build(self) -> Result<Arc<Config>, Error> {
        let provider = provider_or_default(self.provider)?;
        let algorithms = self.algorithms.supported_by(provider)?;
        let usable =
            |key: &SigningKey| algorithms.host_keys().iter().any(|algorithm| key.signs_with(*algorithm));
        if !algorithms.is_insecure() && !self.host_keys.iter().any(usable) {
            return Err(Error::ApiMisuse(ApiMisuse::Algorithms));
        }
        Ok(Arc::new(Config {
            host_keys: self.host_keys.into(),
            authenticator: self.authenticator,
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

    use super::{AuthAttempt, AuthDecision, Authenticator};

    /// Lets everybody in, under whatever name.
    #[derive(Debug, Clone, Copy)]
    pub struct AcceptEverybody;

    impl Authenticator for AcceptEverybody {
        fn methods(&self) -> &[&'static str] {
            &["none", "password", "publickey"]
        }

        fn authenticate<'a>(&'a self, _attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
            std::future::ready(AuthDecision::Accept).boxed()
        }
    }
}
