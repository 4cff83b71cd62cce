//! The relay itself: what its parts share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, Uri, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::access::{Caller, Credential};
use crate::bandwidth::Bandwidths;
use crate::config::{AdminToken, Config};
use crate::live::{Live, LiveTunnel};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::rate::Rates;
use crate::scopes::Scope;
use crate::store::{Record, Store, StoreError};
use crate::tokens::Tokens;

/// A relay, without its listener.
#[derive(Debug)]
pub struct Relay {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) live: Live,
    pub(crate) metrics: Metrics,
    pub(crate) rates: Rates,
    pub(crate) bandwidths: Bandwidths,
    draining: AtomicBool,
}

/// How much goes on in a tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Its host is connected.
    pub host: bool,
    /// Its clients that are connected.
    pub clients: u32,
}

/// Tokens that come with a tunnel's JSON live this long; SDKs ask again.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const STORE_FILE: &str = "relay.redb";

impl Relay {
    /// Opens the store. It waits for the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(config: Config) -> Result<Arc<Self>, StoreError> {
        let store = match &config.data_dir {
            Some(folder) => Store::open(&folder.join(STORE_FILE))?,
            None => Store::in_memory()?,
        };
        let tokens = Tokens::load(&store, seconds())?;
        let (live, draining) = (Live::default(), AtomicBool::new(false));
        let metrics = Metrics::new();
        let rate = config.limits.bytes_per_second_per_owner;
        let bandwidths = Bandwidths::new(rate, metrics.bandwidth_wait.clone());
        Ok(Arc::new(Self {
            config,
            store,
            tokens,
            live,
            metrics,
            rates: Rates::default(),
            bandwidths,
            draining,
        }))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The tokens.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        seconds()
    }

    /// What a token is worth.
    pub(crate) fn credential(&self, token: &str) -> Credential {
        if self.config.admin_token.as_ref().is_some_and(|admin| is_admin(admin, token)) {
            return Credential::Admin;
        }
        match self.tokens.verify(token, &self.store, self.now()) {
            Ok(verified) => Credential::Token(verified),
            Err(error) => Credential::Bad(error),
        }
    }

    /// A tunnel, for who has one of the scopes there. Whoever has no scope at all learns nothing about it: a token for
    /// other tunnels gets the answer that an unknown tunnel gives, and no token at all gets the same 401 for both.
    pub(crate) fn admit(&self, id: &str, caller: &Caller, scopes: &[Scope]) -> Result<Arc<Record>, Problem> {
        let Some(record) = self.store.tunnel(id) else { return Err(self.unknown(caller)) };
        match caller.require(&record, scopes) {
            Ok(()) => Ok(record),
            Err(_) if caller.scopes(&record).is_empty() => Err(self.unknown(caller)),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// What is answered about a tunnel that does not exist or is none of the caller's business.
    pub(crate) fn unknown(&self, caller: &Caller) -> Problem {
        match &caller.credential {
            Credential::None | Credential::Bad(_) => caller.is_no_operator().into(),
            Credential::Admin | Credential::Token(_) => Problem::not_found("tunnel"),
        }
    }

    /// The relay's URL without a slash at its end: what the operator said, or what the request says.
    pub(crate) fn base_url(&self, uri: &Uri, headers: &HeaderMap) -> String {
        if let Some(url) = &self.config.public_url {
            return url.trim_end_matches('/').to_owned();
        }
        let scheme = if self.config.tls { "https" } else { "http" };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host =
            host.or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or("localhost");
        format!("{scheme}://{host}")
    }

    /// How long the tokens live that a caller is given: no longer than its own.
    pub(crate) fn token_lifetime(&self, caller: &Caller) -> Duration {
        match &caller.credential {
            Credential::Token(own) if !own.grant.scopes.has(Scope::Manage) => {
                TOKEN_LIFETIME.min(Duration::from_secs(own.expires.saturating_sub(self.now())))
            }
            _ => TOKEN_LIFETIME,
        }
    }

    /// How much goes on in a tunnel.
    #[must_use]
    pub fn live_counts(&self, tunnel: &str) -> LiveCounts {
        self.live.counts(tunnel)
    }

    /// Whether it is about to stop and takes nobody new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes nobody new from now on; `/readyz` says so. Who is connected stays.
    pub fn stop_admitting(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The hosts and clients that are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        let of_one = |tunnel: &Arc<LiveTunnel>| {
            usize::from(tunnel.current_host().is_some()).saturating_add(tunnel.client_count() as usize)
        };
        self.live.all().iter().map(of_one).fold(0, usize::saturating_add)
    }

    /// Takes nobody new from now on, and asks everybody to come back, which they will to the next relay.
    pub fn drain(&self) {
        self.stop_admitting();
        for tunnel in self.live.all() {
            tunnel.send_away();
        }
    }

    /// Takes a token back, and ends what goes on with it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn revoke(&self, token: &str, expires: u64) -> Result<(), StoreError> {
        self.store.revoke(token, expires, self.now())?;
        for tunnel in self.live.all() {
            self.check_admissions(&tunnel);
        }
        Ok(())
    }

    /// Ends what a tunnel's new rules do not allow any more.
    pub(crate) fn access_changed(&self, record: &Record) {
        if let Some(tunnel) = self.live.get(&record.tunnel.tunnel_id) {
            self.check_admissions(&tunnel);
        }
    }

    /// Ends everything of a tunnel.
    pub(crate) fn tunnel_deleted(&self, tunnel: &str) {
        if let Some(tunnel) = self.live.get(tunnel) {
            tunnel.retain(|_| false);
        }
    }

    fn check_admissions(&self, tunnel: &LiveTunnel) {
        let Some(record) = self.store.tunnel(&tunnel.id) else { return tunnel.retain(|_| false) };
        tunnel.retain(|admission| {
            let revoked = match &admission.caller.credential {
                Credential::Token(token) => self.store.is_revoked(&token.id),
                _ => false,
            };
            !revoked && admission.caller.require(&record, &[admission.scope]).is_ok()
        });
    }

    /// Forgets the tunnels that nobody has used for their time. Call it now and then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn expire(&self) -> Result<usize, StoreError> {
        let now = self.now();
        let mut gone = 0_usize;
        for record in self.store.tunnels() {
            let id = &record.tunnel.tunnel_id;
            let lifetime =
                record.tunnel.custom_expiration.map_or(self.config.limits.tunnel_lifetime, |seconds| {
                    Duration::from_secs(seconds).min(self.config.limits.tunnel_lifetime)
                });
            let is_over = record.used.saturating_add(lifetime.as_secs()) <= now;
            if is_over && self.live.counts(id) == LiveCounts::default() && self.store.delete(id)? {
                tracing::info!(target: "audit", tunnel = %id, "tunnel expired");
                gone = gone.saturating_add(1);
            }
        }
        Ok(gone)
    }

    /// Notes that a tunnel was used just now.
    pub(crate) async fn touch(self: &Arc<Self>, tunnel: &str) {
        let (relay, tunnel, now) = (Arc::clone(self), tunnel.to_owned(), self.now());
        let touched = tokio::task::spawn_blocking(move || {
            relay.store.update(&tunnel, |old| Some(Record { used: now, ..old.clone() }))
        });
        if let Ok(Err(error)) = touched.await {
            tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
        }
    }
}

/// In time that does not tell how much is right.
fn is_admin(admin: &AdminToken, token: &str) -> bool {
    Sha256::digest(admin.0.as_bytes()).ct_eq(&Sha256::digest(token)).into()
}

#[expect(clippy::disallowed_methods, reason = "tokens and tunnels end by the wall clock")]
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 one.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let high = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(high.into())
        }
        address => address,
    }
}
