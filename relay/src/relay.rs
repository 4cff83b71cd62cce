//! The relay itself: what its parts share.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, Uri, header};
use dashmap::DashMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::access::{Caller, Credential, Refusal};
use crate::bandwidth::Bandwidths;
use crate::config::{AdminToken, Config};
use crate::expiry::Sweeps;
use crate::live::{Admission, HostLink, Live, LiveTunnel, Why};
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::rate::Rates;
use crate::scopes::{Scope, Scopes};
use crate::store::{Record, Store, StoreError};
use crate::tokens::{Grant, Issued, LEEWAY, TokenError, Tokens, Verified};

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
    pub(crate) sweeps: Sweeps,
    draining: AtomicBool,
    /// Ids of tokens that a connection has ended with, and when: it does not come back by the leeway.
    over: DashMap<String, Instant>,
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
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
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
        Self::with_store(config, store)
    }

    pub(crate) fn with_store(config: Config, store: Store) -> Result<Arc<Self>, StoreError> {
        let tokens = Tokens::load(&store, config.clock.seconds())?;
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
            sweeps: Sweeps::default(),
            draining,
            over: DashMap::new(),
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
        self.config.clock.seconds()
    }

    /// What a token is worth.
    pub(crate) fn credential(&self, token: &str) -> Credential {
        if self.config.admin_token.as_ref().is_some_and(|admin| is_admin(admin, token)) {
            return Credential::Admin;
        }
        match self.tokens.verify(token, &self.store, self.now()) {
            Ok(verified) if self.is_over(&verified) => Credential::Bad(TokenError::Expired),
            Ok(verified) => Credential::Token(verified),
            Err(error) => Credential::Bad(error),
        }
    }

    /// Whether the token's time is over, leeway or not, since a connection has ended with it.
    fn is_over(&self, token: &Verified) -> bool {
        token.expires <= self.now() && self.over.contains_key(&token.id)
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

    /// Makes a token for one tunnel with the caller's right, if it has the right to: a manager may give everything away,
    /// others what they have. Nobody gets one that outlives their own, save the hosts and clients of a manager: a right
    /// to manage that could renew itself would have no end.
    pub(crate) fn token_by(
        &self,
        caller: &Caller,
        record: &Record,
        scopes: Scopes,
        lifetime: Duration,
    ) -> Result<Option<(Issued, Grant)>, StoreError> {
        let now = self.now();
        let (all, own) = (caller.scopes(record), caller.own_scopes(record));
        let grant = Grant::at(record, caller.subject(), scopes);
        let manages = all.has(Scope::Manage);
        let by_rules = !manages && !own.contains(scopes);
        if !manages && !all.contains(scopes) {
            return Ok(None);
        }
        let issued = match &caller.credential {
            Credential::Admin => self.tokens.issue(&grant, lifetime, now)?,
            // The leeway is not handed on, or it would have no end.
            Credential::Token(from) if from.expires <= now => return Ok(None),
            // A token for a tunnel names nobody at another one.
            Credential::Token(from) if by_rules && !from.speaks_at(record) => {
                return Ok(None);
            }
            Credential::Token(from) => {
                let left = Duration::from_secs(from.expires.saturating_sub(now));
                let may_outlive =
                    from.grant.scopes.has(Scope::Manage) && manages && !scopes.has(Scope::Manage);
                let lifetime = if may_outlive { lifetime } else { lifetime.min(left) };
                self.tokens.derive(from, &grant, lifetime, now, by_rules)?
            }
            // What everybody may needs no token, which would go on holding when the rule is gone.
            Credential::None | Credential::Bad(_) => return Ok(None),
        };
        Ok(Some((issued, grant)))
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
    /// [`StoreError`]. It holds all the same, until the relay is started again.
    pub fn revoke(&self, token: &str, expires: u64) -> Result<(), StoreError> {
        let kept = self.store.revoke(token, expires, self.now());
        for tunnel in self.live.all() {
            self.check_admissions(&tunnel);
        }
        kept
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
            tunnel.end(|_| Some(Why::Withdrawn));
        }
    }

    /// Ends the connections whose token's time is over. Call it every few seconds; [`Server`](crate::Server) does.
    pub fn end_expired(&self) {
        let now = Instant::now();
        self.over.retain(|_, since| now.saturating_duration_since(*since) <= LEEWAY);
        for tunnel in self.live.all() {
            tunnel.end(|admission| {
                if !admission.is_over() {
                    return None;
                }
                if let Credential::Token(token) = &admission.caller.credential {
                    self.over.insert(token.id.clone(), now);
                }
                Some(Why::Expired)
            });
        }
    }

    /// Why a host whose handshake is done is not to be its tunnel's: rights may have changed between the request and now, or
    /// the relay may have been told to stop, and both look for those who are on the list.
    pub(crate) fn why_not_host(&self, host: &HostLink, tunnel: &LiveTunnel) -> Option<Why> {
        let record = self.store.tunnel(&tunnel.id);
        match record.is_some_and(|record| self.holds(&record, &host.admission)) {
            false => Some(Why::Withdrawn),
            true => self.is_draining().then_some(Why::Restart),
        }
    }

    /// Ends what is not allowed any more.
    fn check_admissions(&self, tunnel: &LiveTunnel) {
        let record = self.store.tunnel(&tunnel.id);
        tunnel.end(|admission| {
            let holds = record.as_ref().is_some_and(|record| self.holds(record, admission));
            (!holds).then_some(Why::Withdrawn)
        });
    }

    /// Fails if a token has been revoked, or has expired, since it was verified.
    pub(crate) fn still_holds(&self, admission: &Admission) -> Result<(), Problem> {
        match &admission.caller.credential {
            Credential::Token(token) if admission.is_over() || self.is_over(token) => {
                Err(Refusal::BadToken(TokenError::Expired).into())
            }
            Credential::Token(token) if token.is_revoked(&self.store) => {
                Err(Refusal::BadToken(TokenError::Revoked).into())
            }
            _ => Ok(()),
        }
    }

    fn holds(&self, record: &Record, admission: &Admission) -> bool {
        let revoked = match &admission.caller.credential {
            Credential::Token(token) => token.is_revoked(&self.store),
            _ => false,
        };
        !revoked && admission.caller.require(record, &[admission.scope]).is_ok()
    }
}

/// In time that does not tell how much is right.
fn is_admin(admin: &AdminToken, token: &str) -> bool {
    Sha256::digest(admin.0.as_bytes()).ct_eq(&Sha256::digest(token)).into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_address_or_a_64th() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("2001:db8:1:2:ffff::"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:3::1"), of("2001:db8:1:2::1"));
    }
}
