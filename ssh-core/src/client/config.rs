use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::reconnect::Reconnect;
use super::{AuthPolicy, Credential};
use crate::config::{Algorithms, Extensions, Limits, provider_or_default};
use crate::crypto::CryptoProvider;
use crate::error::{Error, HostKeyError};
use crate::keys::{HostKey, KeyKind};
use crate::protocol::ReconnectOffer;

/// How a client connects. Made by [`Config::builder`].
#[derive(Debug)]
pub struct Config {
    pub(super) user: Arc<str>,
    pub(super) verifier: Arc<dyn HostKeyVerifier>,
    pub(super) credentials: Vec<Credential>,
    pub(super) policy: Option<Arc<dyn AuthPolicy>>,
    pub(super) asks_for_methods: bool,
    pub(super) banner: Option<ShowBanner>,
    pub(super) algorithms: Algorithms,
    pub(super) limits: Limits,
    pub(super) extensions: Extensions,
    pub(super) provider: &'static CryptoProvider,
    pub(super) reconnect: ReconnectMode,
}

/// Whether sessions outlive their streams.
#[derive(Debug, Clone, Default)]
pub(super) enum ReconnectMode {
    #[default]
    Never,
    /// The application brings the streams.
    Manual(ReconnectOffer),
    Auto(Reconnect),
}

/// Decides whether a host key is the right one. Until it has, nothing is sent that the server could use.
pub trait HostKeyVerifier: Send + Sync + fmt::Debug {
    /// Whether the server that showed this is the one that is meant. It has proved that it holds `shown.key`; a
    /// certificate counts for nothing until the verifier has checked it, and one that does not pass its check makes the
    /// key no worse than a plain one.
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>>;

    /// Whether to ask the server for certificates: true only if this verifier could accept one for what it is.
    fn takes_certificates(&self) -> bool {
        false
    }

    /// The kinds of keys that this verifier knows the server by. Of what its [`Algorithms`] offer, the client asks for a key
    /// of these first: a server that has several shows one, and that may be another than the known one. None unless it is
    /// said, which leaves the order as it is.
    fn known_kinds(&self) -> Vec<KeyKind> {
        Vec::new()
    }
}

/// What to do with a banner.
#[derive(Clone)]
pub(super) struct ShowBanner(pub(super) Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for ShowBanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShowBanner")
    }
}

/// Builds a [`Config`]. It has no `build` until it is said how host keys are verified.
#[derive(Debug)]
pub struct ConfigBuilder<State> {
    state: State,
    settings: Settings,
}

/// What a builder collects whatever its state.
#[derive(Debug)]
struct Settings {
    user: Arc<str>,
    credentials: Vec<Credential>,
    policy: Option<Arc<dyn AuthPolicy>>,
    asks_for_methods: bool,
    banner: Option<ShowBanner>,
    algorithms: Algorithms,
    limits: Limits,
    extensions: Extensions,
    provider: Option<&'static CryptoProvider>,
    reconnect: ReconnectMode,
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
            settings: Settings {
                user: user.into(),
                credentials: Vec::new(),
                policy: None,
                asks_for_methods: true,
                banner: None,
                algorithms: Algorithms::default(),
                limits: Limits::default(),
                extensions: Extensions::default(),
                provider: None,
                reconnect: ReconnectMode::Never,
            },
        }
    }
}

impl ConfigBuilder<NeedsHostKeyVerifier> {
    /// How host keys are verified.
    #[must_use]
    pub fn verify_host_key(self, verifier: impl HostKeyVerifier + 'static) -> ConfigBuilder<Ready> {
        ConfigBuilder { state: Ready(Arc::new(verifier)), settings: self.settings }
    }
}

impl<State> ConfigBuilder<State> {
    /// Adds something to authenticate with, to be tried after what was added before: the first of this list that the
    /// server takes and that was not tried yet comes next. After a partial success (RFC 4252 §5.1) keys that were
    /// refused before are tried again, those that were a part of it are not.
    #[must_use]
    pub fn authenticate(mut self, credential: Credential) -> Self {
        self.settings.credentials.push(credential);
        self
    }

    /// Asks `policy` before each attempt what is to be tried. Without one the list alone decides.
    #[must_use]
    pub fn auth_policy(mut self, policy: impl AuthPolicy + 'static) -> Self {
        self.settings.policy = Some(Arc::new(policy));
        self
    }

    /// Begins with the first credential, instead of asking by the method `none` which methods the server takes
    /// (RFC 4252 §5.2). For servers that count `none` as an attempt, or let in whoever tries it without asking who that is, as
    /// those of Dev Tunnels may. Until the first refusal every method counts as one that the server takes. Without any
    /// credential, `none` is tried nevertheless.
    #[must_use]
    pub fn begin_with_credentials(mut self) -> Self {
        self.settings.asks_for_methods = false;
        self
    }

    /// Shows what the server wants the user to read before the login (RFC 4252 §5.4). Control characters but tabs and
    /// line feeds are escaped, and it is cut at about 8 KiB and 100 lines. Unless this is set, nobody sees it.
    #[must_use]
    pub fn on_banner(mut self, show: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.settings.banner = Some(ShowBanner(Arc::new(show)));
        self
    }

    /// What is offered; [`Algorithms::default`] otherwise.
    #[must_use]
    pub fn algorithms(mut self, algorithms: Algorithms) -> Self {
        self.settings.algorithms = algorithms;
        self
    }

    /// What the session may cost; [`Limits::default`] otherwise.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Offers to resume sessions (`session-reconnect@microsoft.com`) over streams that the application brings to
    /// [`Session::reconnect`](crate::Session::reconnect). Off otherwise. Towards a server that does not offer it too, it is
    /// as if it were off.
    #[must_use]
    pub fn offer_reconnect(mut self, offer: ReconnectOffer) -> Self {
        self.settings.reconnect = ReconnectMode::Manual(offer);
        self
    }

    /// The same, with streams that `policy` makes by itself.
    #[must_use]
    pub fn reconnect(mut self, policy: Reconnect) -> Self {
        self.settings.reconnect = ReconnectMode::Auto(policy);
        self
    }

    /// Which extensions of the protocol are offered; [`Extensions::default`] otherwise.
    #[must_use]
    pub fn extensions(mut self, extensions: Extensions) -> Self {
        self.settings.extensions = extensions;
        self
    }

    /// Who does the cryptography; the default backend otherwise.
    #[must_use]
    pub fn provider(mut self, provider: &'static CryptoProvider) -> Self {
        self.settings.provider = Some(provider);
        self
    }
}

impl ConfigBuilder<Ready> {
    /// The finished configuration.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`](crate::error::ApiMisuse::Algorithms) if nothing can be offered,
    /// [`ApiMisuse::ReconnectWithoutKeys`](crate::error::ApiMisuse::ReconnectWithoutKeys) if sessions without any
    /// security are to be resumed.
    pub fn build(self) -> Result<Arc<Config>, Error> {
        let Self { state: Ready(verifier), settings } = self;
        let provider = provider_or_default(settings.provider)?;
        if settings.algorithms.is_insecure() && !matches!(settings.reconnect, ReconnectMode::Never) {
            return Err(Error::ApiMisuse(crate::error::ApiMisuse::ReconnectWithoutKeys));
        }
        settings.algorithms.supported_by(provider)?;
        Ok(Arc::new(Config {
            user: settings.user,
            verifier,
            credentials: settings.credentials,
            policy: settings.policy,
            asks_for_methods: settings.asks_for_methods,
            banner: settings.banner,
            algorithms: settings.algorithms,
            limits: settings.limits,
            extensions: settings.extensions,
            provider,
            reconnect: settings.reconnect,
        }))
    }
}

/// Choices that weaken security.
pub mod danger {
    use futures::future::{BoxFuture, FutureExt as _};

    use super::HostKeyVerifier;
    use crate::error::HostKeyError;
    use crate::keys::HostKey;

    /// Accepts every host key: whoever is in between can read and change everything.
    #[derive(Debug, Clone, Copy)]
    pub struct AcceptAnyHostKey;

    impl HostKeyVerifier for AcceptAnyHostKey {
        fn verify<'a>(&'a self, _shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
            std::future::ready(Ok(())).boxed()
        }
    }
}
