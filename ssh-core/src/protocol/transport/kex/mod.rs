//! The key exchange of RFC 4253 §7 and §8, for both sides and for every exchange of a connection.

pub(crate) mod exchange_hash;
mod negotiate;

use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

pub use negotiate::{Direction, Negotiated};

use self::exchange_hash::{Transcript, join_signature, put_share, read_share, split_signature};
use self::negotiate::{
    EXT_INFO_CLIENT, EXT_INFO_SERVER, HostKeyAlgorithm, Offers, STRICT_CLIENT, STRICT_SERVER,
};
use super::ident::{OUR_IDENT, PeerVersion};
use super::inbound::NextOpener;
use super::key_derivation::KeyMaterial;
use super::outbound::Outbound;
use crate::config::Common;
use crate::crypto::{ActiveKeyExchange, CipherKind, CryptoError, MacKey, Opener, Sealer, SharedSecret};
use crate::error::{Error, PeerIncompatible, PeerMisbehaved};
use crate::keys::{Certificate, HostKey, PublicKey, SigningKey};
use crate::protocol::Role;
use crate::protocol::messages::{KexInit, KexInitShare, KexReply, NewKeys};
use crate::protocol::reconnect::token::{TokenKey, TokenKeys};
use crate::protocol::wire::{NameList, Write as _};
use crate::trace::TraceEvent;

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
    /// The peer started an exchange.
    PeerStarted,
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
        !matches!(self.state, State::Idle | State::InitSent { .. })
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

    pub(crate) fn set_peer_version(&mut self, version: PeerVersion) {
        self.peer_version = Some(version);
    }

    /// The first exchange is not over yet.
    pub(crate) fn is_first(&self) -> bool {
        !self.first_done
    }

    /// Sends our KEXINIT, unless an exchange is running.
    pub(crate) fn start(&mut self, out: &mut Outbound, now: Instant) -> Result<(), Error> {
        if !self.is_idle() {
            return Ok(());
        }
        let ours = self.encode_kexinit()?;
        out.seal(|buffer| buffer.put_bytes(&ours))?;
        out.begin_exchange();
        let limit = self.common.limits.key_exchange;
        self.deadline = now.checked_add(limit);
        self.latest = now.checked_add(limit.saturating_mul(MOST_PATIENCE));
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

    /// Certificates before plain keys: who trusts an authority should not be asked about a key.
    fn our_host_keys(&self) -> Vec<HostKeyAlgorithm> {
        let algorithms = &self.common.algorithms;
        let with = |certificate: bool| {
            let named = algorithms
                .host_keys()
                .iter()
                .map(move |&signature| HostKeyAlgorithm { signature, certificate });
            named.filter(move |algorithm| match self.role {
                Role::Client => !certificate || algorithms.host_certificates(),
                Role::Server => self.host_key_for(*algorithm).is_some(),
            })
        };
        with(true).chain(with(false)).collect()
    }

    /// A server's key for an algorithm.
    fn host_key_for(&self, algorithm: HostKeyAlgorithm) -> Option<&SigningKey> {
        self.host_keys.iter().find(|key| {
            key.signs_with(algorithm.signature) && (!algorithm.certificate || key.certificate().is_some())
        })
    }

    fn encode_kexinit(&self) -> Result<Vec<u8>, Error> {
        let algorithms = &self.common.algorithms;
        let mut cookie = [0; 16];
        self.common.provider.random.fill(&mut cookie)?;
        let (kex, host_keys, ciphers, macs) = if algorithms.is_insecure() {
            ("none".to_owned(), "none".to_owned(), "none".to_owned(), "none".to_owned())
        } else {
            let markers = match self.role {
                Role::Client => [EXT_INFO_CLIENT, STRICT_CLIENT],
                Role::Server => [EXT_INFO_SERVER, STRICT_SERVER],
            };
            // The markers mean something in the first KEXINIT only.
            let markers = if self.is_first() { &markers[..] } else { &[] };
            let kex = algorithms.kex().iter().chain(markers).copied().collect::<Vec<_>>().join(",");
            let host_keys = self.our_host_keys().iter().map(|key| key.name()).collect::<Vec<_>>().join(",");
            (kex, host_keys, algorithms.ciphers().join(","), algorithms.macs().join(","))
        };
        let (none, empty) = (NameList::parse(b"none")?, NameList::parse(b"")?);
        let (ciphers, macs) = (NameList::parse(ciphers.as_bytes())?, NameList::parse(macs.as_bytes())?);
        let mut payload = Vec::with_capacity(1024);
        KexInit {
            cookie,
            kex: NameList::parse(kex.as_bytes())?,
            host_key: NameList::parse(host_keys.as_bytes())?,
            cipher_c2s: ciphers,
            cipher_s2c: ciphers,
            mac_c2s: macs,
            mac_s2c: macs,
            compression_c2s: none,
            compression_s2c: none,
            language_c2s: empty,
            language_s2c: empty,
            first_kex_packet_follows: false,
            reserved: 0,
        }
        .encode(&mut payload);
        Ok(payload)
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
                match self.on_kexinit(ours, payload, is_first_packet, out)? {
                    KexProgress::Going => Ok(KexProgress::PeerStarted),
                    other => Ok(other),
                }
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
                Ok(KexProgress::Done { next: NextOpener { opener, reset_sequence: self.strict }, first })
            }
            (number, _) => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
        }
    }

    fn on_kexinit(
        &mut self,
        ours: Vec<u8>,
        payload: &[u8],
        is_first_packet: bool,
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let theirs = KexInit::decode(payload)?;
        if self.common.algorithms.is_insecure() {
            return self.on_insecure_kexinit(&theirs, out);
        }
        if !self.first_done {
            let (strict, ext_info) = match self.role {
                Role::Client => (STRICT_SERVER, EXT_INFO_SERVER),
                Role::Server => (STRICT_CLIENT, EXT_INFO_CLIENT),
            };
            self.strict = theirs.kex.contains(strict);
            self.peer_takes_ext_info = theirs.kex.contains(ext_info);
            // OpenSSH PROTOCOL §1.9: nothing may have come before KEXINIT, or an attacker may have put it there.
            if self.strict && !is_first_packet {
                return Err(PeerMisbehaved::StrictKex.into());
            }
        }
        let our_host_keys = self.our_host_keys();
        let offers = Offers {
            role: self.role,
            ours: &self.common.algorithms,
            our_host_keys: &our_host_keys,
            theirs: &theirs,
            provider: self.common.provider,
            strict: self.strict,
        };
        let chosen = offers.negotiate();
        let event = TraceEvent::AlgorithmNegotiation.id();
        tracing::debug!(event, ours = ?self.common.algorithms, ?theirs, ?chosen, "algorithms");
        let chosen = chosen?;
        self.ignore_guess = theirs.first_kex_packet_follows && !self.guess_is_right(&theirs, &chosen);

        let exchange = Exchange { ours, theirs: payload.to_vec(), chosen };
        self.state = match self.role {
            Role::Server => State::AwaitShare { exchange },
            Role::Client => {
                let active = chosen.kex.start(self.common.provider.random)?;
                out.seal(|buffer| {
                    buffer.put_u8(KexInitShare::NUMBER);
                    put_share(buffer, chosen.kex, active.share());
                })?;
                State::ShareSent { exchange, active }
            }
        };
        Ok(KexProgress::Going)
    }

    /// RFC 4253 §7: right if both sides prefer the same method and the same host key algorithm. Dev Tunnels peers
    /// judge by the chosen method alone.
    fn guess_is_right(&self, theirs: &KexInit<'_>, chosen: &Negotiated) -> bool {
        let their_kex = theirs.kex.iter().next();
        if self.peer_version.as_ref().is_some_and(PeerVersion::is_dev_tunnels) {
            return their_kex == Some(chosen.kex.name());
        }
        let our_host_key = self.our_host_keys().first().map(|algorithm| algorithm.name());
        their_kex == self.common.algorithms.kex().first().copied()
            && theirs.host_key.iter().next() == our_host_key
    }

    fn on_insecure_kexinit(
        &mut self,
        theirs: &KexInit<'_>,
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        // Where `none` is chosen nothing else is, so the other lists say nothing: hosts and clients of Dev Tunnels name
        // real algorithms in them.
        if !theirs.kex.contains("none") {
            let theirs = theirs.kex.as_str().to_owned();
            let (client, server) = match self.role {
                Role::Client => ("none".to_owned(), theirs),
                Role::Server => (theirs, "none".to_owned()),
            };
            let why = crate::error::NoCommonAlgorithm { slot: "key exchange method", client, server };
            return Err(PeerIncompatible::NoCommonAlgorithm(Arc::new(why)).into());
        }
        self.deadline = None;
        self.first_done = true;
        out.end_exchange(None)?;
        Ok(KexProgress::Insecure)
    }

    /// Server: the client's share makes the secret, and our reply proves the host key.
    fn on_share(
        &mut self,
        exchange: &Exchange,
        payload: &[u8],
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let kex = exchange.chosen.kex;
        let message = KexInitShare::decode(payload)?;
        let client_share = read_share(kex, message.share)?;
        let (server_share, secret) = kex.respond(client_share, self.common.provider.random)?;
        let (algorithm, certificate) = (exchange.chosen.host_key, exchange.chosen.host_certificate);
        let key = self.host_key_for(HostKeyAlgorithm { signature: algorithm, certificate });
        let key = key.ok_or(Error::Bug("a host key algorithm was offered without a key"))?;
        let blob = match key.certificate().filter(|_| certificate) {
            Some(certificate) => certificate.to_blob(),
            None => key.public_key().to_blob(),
        };
        let hash = self.transcript(exchange, &blob, client_share, &server_share).hash(
            self.common.provider,
            kex,
            &secret,
        );
        let signature = join_signature(algorithm.name(), &key.sign(algorithm, &hash)?);
        out.seal(|buffer| {
            buffer.put_u8(KexReply::NUMBER);
            buffer.put_string(&blob);
            put_share(buffer, kex, &server_share);
            buffer.put_string(&signature);
        })?;
        self.switch_keys(exchange, &secret, hash, out)?;
        Ok(KexProgress::Going)
    }

    /// Client: the server's reply.
    fn on_reply(
        &mut self,
        exchange: &Exchange,
        active: Box<dyn ActiveKeyExchange>,
        payload: &[u8],
        out: &mut Outbound,
    ) -> Result<KexProgress, Error> {
        let kex = exchange.chosen.kex;
        let message = KexReply::decode(payload)?;
        let shown = if exchange.chosen.host_certificate {
            Certificate::from_blob(message.host_key)
                .map(HostKey::certified)
                .map_err(PeerMisbehaved::BadHostCertificate)?
        } else {
            PublicKey::from_blob(message.host_key).map(HostKey::plain).map_err(PeerMisbehaved::BadHostKey)?
        };
        let server_share = read_share(kex, message.share)?;
        let client_share = active.share().to_vec();
        let secret = active.finish(server_share)?;
        let hash = self.transcript(exchange, message.host_key, &client_share, server_share).hash(
            self.common.provider,
            kex,
            &secret,
        );
        let algorithm = exchange.chosen.host_key;
        let (name, blob) = split_signature(message.signature)?;
        if name != algorithm.name().as_bytes() {
            return Err(PeerMisbehaved::BadHostSignature.into());
        }
        self.common.provider.signatures.verify(algorithm, &shown.key, &hash, blob).map_err(|error| {
            match error {
                CryptoError::Backend => Error::Crypto(error),
                _ => PeerMisbehaved::BadHostSignature.into(),
            }
        })?;
        let known = self.host_key.as_ref();
        // It is the key that was accepted; a certificate may have been renewed.
        if known.is_some_and(|known| *known != shown.key) {
            return Err(PeerMisbehaved::HostKeyChanged.into());
        }
        let is_new = known.is_none();
        self.host_key = Some(shown.key.clone());
        self.switch_keys(exchange, &secret, hash, out)?;
        Ok(if is_new { KexProgress::HostKey(shown) } else { KexProgress::Going })
    }

    fn transcript<'a>(
        &'a self,
        exchange: &'a Exchange,
        host_key: &'a [u8],
        client_share: &'a [u8],
        server_share: &'a [u8],
    ) -> Transcript<'a> {
        let theirs = self.peer_version.as_ref().map_or("", PeerVersion::as_str);
        let (client_version, server_version, client_kexinit, server_kexinit) = match self.role {
            Role::Client => (OUR_IDENT, theirs, &exchange.ours, &exchange.theirs),
            Role::Server => (theirs, OUR_IDENT, &exchange.theirs, &exchange.ours),
        };
        Transcript {
            client_version,
            server_version,
            client_kexinit,
            server_kexinit,
            host_key,
            client_share,
            server_share,
        }
    }

    /// Sends NEWKEYS and seals with the new key from there on. The new opener waits for the peer's NEWKEYS.
    fn switch_keys(
        &mut self,
        exchange: &Exchange,
        secret: &SharedSecret,
        hash: Zeroizing<Vec<u8>>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let session_id = self.session_id.get_or_insert_with(|| hash.clone());
        let material = KeyMaterial {
            provider: self.common.provider,
            hash: exchange.chosen.kex.hash(),
            secret,
            exchange_hash: &hash,
            session_id,
        };
        let (ours, theirs, our_letters, their_letters) = match self.role {
            Role::Client => {
                (exchange.chosen.client_to_server, exchange.chosen.server_to_client, b"ACE", b"BDF")
            }
            Role::Server => {
                (exchange.chosen.server_to_client, exchange.chosen.client_to_server, b"BDF", b"ACE")
            }
        };
        let sealer =
            with_keys(&material, &ours, *our_letters, |iv, key, mac| ours.cipher.sealer(key, iv, mac))?;
        let opener =
            with_keys(&material, &theirs, *their_letters, |iv, key, mac| theirs.cipher.opener(key, iv, mac))?;
        if matches!(self.tokens, Tokens::Wanted) {
            self.tokens = token_keys(&material, &exchange.chosen).map_or(Tokens::Unwanted, Tokens::Known);
        }
        out.seal(|buffer| buffer.put_u8(NewKeys::NUMBER))?;
        let sealer: Box<dyn Sealer> = sealer;
        out.set_sealer(sealer, self.strict);
        self.negotiated = Some(exchange.chosen);
        self.state = State::NewKeysSent { opener };
        Ok(())
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

/// The MAC keys of both directions, derived even where an AEAD cipher has no use for them.
fn token_keys(material: &KeyMaterial<'_>, chosen: &Negotiated) -> Option<TokenKeys> {
    let key = |direction: &Direction, letter| {
        let mac = direction.mac?;
        Some(TokenKey { mac, key: material.derive(letter, mac.key_len()) })
    };
    Some(TokenKeys {
        exchange_hash: Zeroizing::new(material.exchange_hash.to_vec()),
        client: key(&chosen.client_to_server, b'E')?,
        server: key(&chosen.server_to_client, b'F')?,
    })
}

/// Derives IV, key and MAC key of a direction and makes something of them.
fn with_keys<T>(
    material: &KeyMaterial<'_>,
    direction: &Direction,
    [iv, key, mac_key]: [u8; 3],
    make: impl FnOnce(&[u8], &[u8], Option<MacKey<'_>>) -> Result<T, CryptoError>,
) -> Result<T, Error> {
    let iv = material.derive(iv, direction.cipher.iv_len());
    let key = material.derive(key, direction.cipher.key_len());
    let mac = direction.mac.filter(|_| direction.cipher.kind() != CipherKind::Aead);
    let mac_key = mac.map(|mac| material.derive(mac_key, mac.key_len()));
    let mac = mac.zip(mac_key.as_ref()).map(|(mac, key)| MacKey { mac, key });
    Ok(make(&iv, &key, mac)?)
}
