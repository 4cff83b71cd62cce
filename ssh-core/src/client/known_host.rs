//! A host key that `known_hosts` files know.

use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};

use super::HostKeyVerifier;
use crate::config::provider_or_default;
use crate::crypto::CryptoProvider;
use crate::error::HostKeyError;
use crate::keys::{HostKey, HostKeyStatus, KeyKind, KnownHosts, KnownKey};

/// Accepts the keys that known hosts name for one host, and those in certificates of an authority that they name for it.
/// Every other is refused: a key that is not known, one that has changed and one that is revoked, each with what there is
/// to do about it. Nobody is asked and nothing is taken down; [`KnownHosts::append`] does that for a key that somebody has
/// compared.
///
/// The kinds of keys that are known for the host are asked for first, so that a server with several shows one of them.
#[derive(Debug, Clone)]
pub struct KnownHost {
    hosts: KnownHosts,
    host: String,
    port: u16,
    provider: Option<&'static CryptoProvider>,
}

impl KnownHost {
    /// The host of this name or address, as the user gave it, and this port, without brackets around either.
    #[must_use]
    pub fn new(hosts: KnownHosts, host: &str, port: u16) -> Self {
        Self { hosts, host: host.to_owned(), port, provider: provider_or_default(None).ok() }
    }

    /// Who verifies the signatures of certificates; the default backend otherwise.
    #[must_use]
    pub fn provider(mut self, provider: &'static CryptoProvider) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Why the key is refused, if it is.
    fn refusal(&self, shown: &HostKey) -> Option<String> {
        let status = match self.provider {
            Some(provider) => self.hosts.check_host_key(&self.host, self.port, shown, wall_clock(), provider),
            None => self.hosts.check(&self.host, self.port, &shown.key),
        };
        let key = format!("{} {}", shown.key.kind().name(), shown.key.fingerprint());
        let name = if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        };
        match status {
            HostKeyStatus::Match(_) | HostKeyStatus::Certified(_) => None,
            HostKeyStatus::Unknown { known_as } => {
                let elsewhere = known_as.first();
                let elsewhere = elsewhere
                    .map(|known| format!(" (it is known as that of {}, {})", known.names, known.place))
                    .unwrap_or_default();
                Some(format!(
                    "the host key of {name} is not known: {key}{elsewhere}; compare it with what the server's owner says, and only then add it to the known hosts"
                ))
            }
            HostKeyStatus::Changed { expected } => Some(format!(
                "the host key of {name} has changed: it is {key}, but known is {}; somebody may be in between, so ask the server's owner before the old key is removed from the known hosts",
                listed(&expected)
            )),
            HostKeyStatus::Revoked(place) => Some(format!(
                "the host key of {name}, {key}, is revoked ({place}); do not connect, ask the server's owner for the new key"
            )),
        }
    }
}

impl HostKeyVerifier for KnownHost {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let refused = self.refusal(shown);
        let verdict = refused
            .map_or(Ok(()), |message| Err(HostKeyError { message: message.into(), key: shown.key.clone() }));
        std::future::ready(verdict).boxed()
    }

    fn takes_certificates(&self) -> bool {
        self.provider.is_some() && !self.hosts.cert_authorities_for(&self.host, self.port).is_empty()
    }

    fn known_kinds(&self) -> Vec<KeyKind> {
        self.hosts.key_kinds_for(&self.host, self.port)
    }
}

fn listed(keys: &[KnownKey]) -> String {
    let keys = keys.iter().take(MAX_SHOWN_KEYS);
    let keys =
        keys.map(|known| format!("{} {} ({})", known.key.kind().name(), known.fingerprint, known.place));
    keys.collect::<Vec<_>>().join(", ")
}

#[expect(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// A host has a key of each kind, rarely more.
const MAX_SHOWN_KEYS: usize = 5;
