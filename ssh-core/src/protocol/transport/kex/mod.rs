//! The key exchange of RFC 4253 §7 and §8, for both sides and for every exchange of a connection.

pub(crate) mod exchange_hash;
mod kexinit;
mod negotiate;
mod new_keys;
mod shares;

use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::ident::PeerVersion;
use super::inbound::NextOpener;
use super::outbound::Outbound;
use crate::config::Common;
use crate::crypto::{ActiveKeyExchange, Opener};
use crate::error::{Error, PeerMisbehaved};
use crate::keys::{HostKey, PublicKey, SigningKey};
use crate::protocol::Role;
use crate::protocol::messages::{KexInit, KexInitShare, KexReply, NewKeys};
use crate::protocol::reconnect::token::TokenKeys;
use crate::protocol::wire::Write as _;

pub use negotiate::{Direction, Negotiated};

/// The key exchange machine of one connection.
pub(crate) struct Kex {
    role: Role,
    common: Arc<Common>,
    /// A server's keys; empty on a client.
    host_keys: Arc<[SigningKey]>,
    peer_version: Option<PeerVersion>,
    state: State,
    session_id: Option<Zeroizing<Vec<u8>>>,
    /// The host key of the first exchange, which must stay (client).
    host_key: Option<PublicKey>,
    negotiated: Option<Negotiated>,
    strict: bool,
    peer_takes_ext_info: bool,
    /// The peer guessed a method that was not chosen: its next message of the exchange is to be ignored.
    ignore_guess: bool,
    first_done: bool,
    /// What the first exchange leaves to prove with, while it may be needed.
    tokens: Tokens,
    /// When the running exchange must be done.
    deadline: Option<Instant>,
    /// Until when that may be put off.
    latest: Option<Instant>,
}

/// So many times as long as it may take otherwise an exchange may take, if the path is slow.
const MOST_PATIENCE: u32 = 20;

/// Where an exchange is. What it holds lives in its variant.
#[derive(Debug)]
enum State {
    Idle,
    /// What we offer depends on the peer's version line, which has not come yet.
    AwaitVersion,
    /// Our KEXINIT is out.
    InitSent {
        ours: Vec<u8>,
    },
    /// Client: our share is out.
    ShareSent {
        exchange: Exchange,
        active: Box<dyn ActiveKeyExchange>,
    },
    /// Server: waiting for the client's share.
    AwaitShare {
        exchange: Exchange,
    },
    /// Both shares are known and our NEWKEYS is out.
    NewKeysSent {
        opener: Box<dyn Opener>,
    },
}

/// The keys for tokens.
#[derive(Debug)]
enum Tokens {
    /// Nobody will prove anything.
    Unwanted,
    /// The first exchange will leave them.
    Wanted,
    Known(TokenKeys),
}

/// Both KEXINITs and what follows from them.
#[derive(Debug)]
struct Exchange {
    ours: Vec<u8>,
    theirs: Vec<u8>,
    chosen: Negotiated,
}

/// What a message of the exchange led to.
#[derive(Debug)]
pub(crate) enum KexProgress {
    /// Nothing to act on.
    Going,
    /// Client: the server has proved that it holds this key.
    HostKey(HostKey),
    /// The exchange is done; what comes next needs this key.
    Done { next: NextOpener, first: bool },
    /// Both sides are without security: no keys, no authentication.
    Insecure,
}

impl Kex {
    pub(crate) fn new(role: Role, common: Arc<Common>, host_keys: Arc<[SigningKey]>) -> Self {
        Self {
            role,
            common,
            host_keys,
            peer_version: None,
            state: State::Idle,
            session_id: None,
            host_key: None,
            negotiated: None,
            strict: false,
            peer_takes_ext_info: false,
            ignore_guess: false,
            first_done: false,
            tokens: Tokens::Unwanted,
            deadline: None,
            latest: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the peer is between its KEXINIT and its NEWKEYS.
    pub(crate) fn peer_is_exchanging(&self) -> bool {
        !matches!(self.state, State::Idle | State::AwaitVersion | State::InitSent { .. })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    pub(crate) fn peer_takes_ext_info(&self) -> bool {
        self.peer_takes_ext_info
    }

    pub(crate) fn session_id(&self) -> Option<&[u8]> {
        self.session_id.as_ref().map(|id| id.as_slice())
    }

    /// The first exchange is to leave the keys for tokens.
    pub(crate) fn keep_token_keys(&mut self) {
        self.tokens = Tokens::Wanted;
    }

    /// The connection will prove nothing more.
    pub(crate) fn drop_token_keys(&mut self) {
        self.tokens = Tokens::Unwanted;
    }

    /// `None` before the first exchange, or if a direction has no MAC to make tokens with.
    pub(crate) fn token_keys(&self) -> Option<&TokenKeys> {
        match &self.tokens {
            Tokens::Known(keys) => Some(keys),
            Tokens::Unwanted | Tokens::Wanted => None,
        }
    }

    /// The connection carries an older session, whose id counts from now on: later keys are derived with it.
    pub(crate) fn adopt_session_id(&mut self, session_id: Zeroizing<Vec<u8>>) {
        self.session_id = Some(session_id);
    }

    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_ref()
    }

    pub(crate) fn host_key(&self) -> Option<&PublicKey> {
        self.host_key.as_ref()
    }

    pub(crate) fn peer_version(&self) -> Option<&PeerVersion> {
        self.peer_version.as_ref()
    }

    /// Whether the peer says that it is Dev Tunnels' implementation in Go.
    pub(crate) fn peer_is_dev_tunnels_go(&self) -> bool {
        self.peer_version.as_ref().is_some_and(PeerVersion::is_dev_tunnels_go)
    }

    /// Our KEXINIT is on its way behind it at the latest.
    pub(crate) fn set_peer_version(&mut self, version: PeerVersion, out: &mut Outbound) -> Result<(), Error> {
        self.peer_version = Some(version);
        match self.state {
            State::AwaitVersion => self.send_kexinit(out),
            _ => Ok(()),
        }
    }

    /// The first exchange is not over yet.
    pub(crate) fn is_first(&self) -> bool {
        !self.first_done
    }

    /// Sends our KEXINIT, unless an exchange is running. The first goes right behind our version line where it can, which
    /// saves a round trip.
    pub(crate) fn start(&mut self, out: &mut Outbound, now: Instant) -> Result<(), Error> {
        if !self.is_idle() {
            return Ok(());
        }
        let limit = self.common.limits.key_exchange;
        self.deadline = now.checked_add(limit);
        self.latest = now.checked_add(limit.saturating_mul(MOST_PATIENCE));
        if self.peer_version.is_none() && self.common.algorithms.depend_on_version(self.role) {
            self.state = State::AwaitVersion;
            return Ok(());
        }
        self.send_kexinit(out)
    }

    fn send_kexinit(&mut self, out: &mut Outbound) -> Result<(), Error> {
        let ours = self.encode_kexinit()?;
        out.seal(|buffer| buffer.put_bytes(&ours))?;
        out.begin_exchange();
        self.state = State::InitSent { ours };
        Ok(())
    }

    /// The peer still says what it said before it saw our KEXINIT. Much may lie in front of that on a slow path, and the
    /// answer behind what the peer has said; as long as that moves, nobody is stalling.
    pub(crate) fn on_earlier_message(&mut self, now: Instant) {
        if matches!(self.state, State::InitSent { .. }) {
            self.put_off(now);
        }
    }

    fn put_off(&mut self, now: Instant) {
        if self.first_done {
            let later = now.checked_add(self.common.limits.key_exchange);
            self.deadline = later.zip(self.latest).map(|(later, latest)| later.min(latest));
        }
    }

    /// A message with a number from 20 to 49.
    pub(crate) fn handle(
        &mut self,
        payload: &[u8],
        is_first_packet: bool,
        out: &mut Outbound,
        now: Instant,
    ) -> Result<KexProgress, Error> {
        let number = payload.first().copied().unwrap_or_default();
        if self.ignore_guess && number != KexInit::NUMBER && number != NewKeys::NUMBER {
            self.ignore_guess = false;
            return Ok(KexProgress::Going);
        }
        // Without security there is one KEXINIT and that is all.
        if self.first_done && self.common.algorithms.is_insecure() {
            return Err(PeerMisbehaved::UnexpectedMessage(number).into());
        }
        match (number, std::mem::replace(&mut self.state, State::Idle)) {
            (KexInit::NUMBER, State::Idle) => {
                self.start(out, now)?;
                let State::InitSent { ours } = std::mem::replace(&mut self.state, State::Idle) else {
                    return Err(Error::Bug("a key exchange did not start"));
                };
                self.on_kexinit(ours, payload, is_first_packet, out)
            }
            (KexInit::NUMBER, State::InitSent { ours }) => {
                self.put_off(now);
                self.on_kexinit(ours, payload, is_first_packet, out)
            }
            (KexInitShare::NUMBER, State::AwaitShare { exchange }) => self.on_share(&exchange, payload, out),
            (KexReply::NUMBER, State::ShareSent { exchange, active }) => {
                self.on_reply(&exchange, active, payload, out)
            }
            (NewKeys::NUMBER, State::NewKeysSent { opener }) => {
                NewKeys::decode(payload)?;
                self.deadline = None;
                self.ignore_guess = false;
                let first = !std::mem::replace(&mut self.first_done, true);
                // What comes in the clear after the first NEWKEYS is nobody's.
                let after_stragglers = !first && !self.strict && self.peer_is_dev_tunnels_go();
                let next = NextOpener { opener, reset_sequence: self.strict, after_stragglers };
                Ok(KexProgress::Done { next, first })
            }
            (number, _) => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
        }
    }
}

/// The session id is a secret: whoever knows it may resume the session.
impl std::fmt::Debug for Kex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kex")
            .field("role", &self.role)
            .field("negotiated", &self.negotiated)
            .finish_non_exhaustive()
    }
}
