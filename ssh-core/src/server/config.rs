use std::sync::Arc;

use super::authenticator::Authenticator;
use crate::config::{Algorithms, Limits, provider_or_default};
use crate::crypto::CryptoProvider;
use crate::error::{ApiMisuse, Error};
use crate::keys::SigningKey;

/// How a server accepts. Made by [`Config::builder`].
#[derive(Debug)]
pub struct Config {
    pub(super) host_keys: Arc<[SigningKey]>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) algorithms: Algorithms,
    pub(super) limits: Limits,
    pub(super) provider: &'static CryptoProvider,
    pub(super) banner: Option<String>,
}

/// Builds a [`Config`].
#[derive(Debug)]
pub struct ConfigBuilder {
    host_keys: Vec<SigningKey>,
    authenticator: Arc<dyn Authenticator>,
    algorithms: Algorithms,
    limits: Limits,
    provider: Option<&'static CryptoProvider>,
    banner: Option<String>,
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
            provider: None,
            banner: None,
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

    /// Who does the cryptography; the default backend otherwise.
    #[must_use]
    pub fn provider(mut self, provider: &'static CryptoProvider) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Words for everybody's user before anybody is let in (RFC 4252 §5.4), at most 4 KiB; the rest is cut off. They are not
    /// sent to Dev Tunnels peers, which do not know such a message.
    #[must_use]
    pub fn banner(mut self, text: impl Into<String>) -> Self {
        self.banner = Some(text.into());
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
            provider,
            banner: self.banner,
        }))
    }
}
