use std::sync::Arc;

use super::authenticator::Authenticator;
use super::detached_sessions::DetachedSessions;
use crate::config::{Algorithms, Extensions, Limits, provider_or_default};
use crate::crypto::CryptoProvider;
use crate::error::{ApiMisuse, Error};
use crate::keys::{Certificate, CertificateKind, SigningKey};

/// How a server accepts. Made by [`Config::builder`].
#[derive(Debug)]
pub struct Config {
    pub(super) host_keys: Arc<[SigningKey]>,
    pub(super) authenticator: Arc<dyn Authenticator>,
    pub(super) algorithms: Algorithms,
    pub(super) limits: Limits,
    pub(super) extensions: Extensions,
    pub(super) provider: &'static CryptoProvider,
    pub(super) banner: Option<String>,
    pub(super) detached_sessions: Option<DetachedSessions>,
}

/// Builds a [`Config`].
#[derive(Debug)]
pub struct ConfigBuilder {
    host_keys: Vec<SigningKey>,
    host_certificates: Vec<Certificate>,
    authenticator: Arc<dyn Authenticator>,
    algorithms: Algorithms,
    limits: Limits,
    extensions: Extensions,
    provider: Option<&'static CryptoProvider>,
    banner: Option<String>,
    detached_sessions: Option<DetachedSessions>,
}

impl Config {
    /// A server that lets in whom `authenticator` accepts.
    #[must_use]
    pub fn builder(authenticator: impl Authenticator + 'static) -> ConfigBuilder {
        ConfigBuilder {
            host_keys: Vec::new(),
            host_certificates: Vec::new(),
            authenticator: Arc::new(authenticator),
            algorithms: Algorithms::default(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            provider: None,
            banner: None,
            detached_sessions: None,
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

    /// Adds a certificate for one of the host keys, whichever is added first. It is shown to clients that ask for
    /// certificates; whether it is valid is for them to judge. One for each key: the last counts.
    #[must_use]
    pub fn host_certificate(mut self, certificate: Certificate) -> Self {
        self.host_certificates.push(certificate);
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

    /// Offers clients to resume their sessions (`session-reconnect@microsoft.com`), which are in this set meanwhile. Servers
    /// that share it are one server to them. Off otherwise.
    #[must_use]
    pub fn detached_sessions(mut self, sessions: DetachedSessions) -> Self {
        self.detached_sessions = Some(sessions);
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

    /// Words for everybody's user before anybody is let in (RFC 4252 §5.4), at most
    /// [`MAX_BANNER_LEN`](super::MAX_BANNER_LEN) bytes; the rest is cut off. They are not sent to Dev Tunnels peers, which
    /// do not know such a message.
    #[must_use]
    pub fn banner(mut self, text: impl Into<String>) -> Self {
        self.banner = Some(text.into());
        self
    }

    /// The finished configuration.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`] if nothing can be offered, or no host key signs with an offered algorithm;
    /// [`ApiMisuse::HostCertificate`] for a certificate that is not for hosts, or not for one of the keys.
    /// [`ApiMisuse::ReconnectWithoutKeys`] if sessions without any security are to be resumed.
    pub fn build(self) -> Result<Arc<Config>, Error> {
        let provider = provider_or_default(self.provider)?;
        let algorithms = self.algorithms.supported_by(provider)?;
        if algorithms.is_insecure() && self.detached_sessions.is_some() {
            return Err(Error::ApiMisuse(ApiMisuse::ReconnectWithoutKeys));
        }
        let usable =
            |key: &SigningKey| algorithms.host_keys().iter().any(|algorithm| key.signs_with(*algorithm));
        if !algorithms.is_insecure() && !self.host_keys.iter().any(usable) {
            return Err(Error::ApiMisuse(ApiMisuse::Algorithms));
        }
        Ok(Arc::new(Config {
            host_keys: with_certificates(self.host_keys, self.host_certificates)?.into(),
            authenticator: self.authenticator,
            algorithms: self.algorithms,
            limits: self.limits,
            extensions: self.extensions,
            provider,
            banner: self.banner,
            detached_sessions: self.detached_sessions,
        }))
    }
}

/// Each certificate given to the key that it is for.
fn with_certificates(
    keys: Vec<SigningKey>,
    certificates: Vec<Certificate>,
) -> Result<Vec<SigningKey>, Error> {
    let misuse = || Error::ApiMisuse(ApiMisuse::HostCertificate);
    let fits = |certificate: &Certificate| {
        certificate.kind() == CertificateKind::Host
            && keys.iter().any(|key| key.public_key() == certificate.key())
    };
    if !certificates.iter().all(fits) {
        return Err(misuse());
    }
    let certified = |key: SigningKey| {
        let certificate = certificates.iter().rfind(|certificate| certificate.key() == key.public_key());
        match certificate {
            Some(certificate) => key.with_certificate(certificate.clone()).map_err(|_| misuse()),
            None => Ok(key),
        }
    };
    keys.into_iter().map(certified).collect()
}
