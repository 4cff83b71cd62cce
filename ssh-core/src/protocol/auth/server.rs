use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::{CONNECTION_SERVICE, MAX_USER, USERAUTH_SERVICE};
use crate::config::Common;
use crate::crypto::SignatureAlgorithm;
use crate::error::{Error, PeerMisbehaved};
use crate::keys::PublicKey;
use crate::protocol::messages::{
    OptionalText, ServiceAccept, ServiceRequest, UserAuthFailure, UserAuthPkOk, UserAuthRequest,
    UserAuthSuccess,
};
use crate::protocol::transport::kex::exchange_hash::split_signature;
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{NameList, Reader, WireError, Write as _};

/// The server's half: it parses and verifies, the application decides.
pub(crate) struct ServerAuth {
    common: Arc<Common>,
    /// What FAILURE offers, comma separated.
    methods: String,
    state: ServerState,
    failures: u32,
    requests: u32,
    /// Requests that came while one was undecided, in order.
    queue: VecDeque<Zeroizing<Vec<u8>>>,
    queued_bytes: usize,
}

enum ServerState {
    NoService,
    Idle,
    /// The application has the attempt.
    Deciding(Deciding),
    /// A failure is decided; its answer leaves at `until`.
    Delaying {
        until: Instant,
    },
    Done,
}

enum Deciding {
    Plain {
        is_first_none: bool,
    },
    Query {
        algorithm: String,
        key_blob: Vec<u8>,
    },
    /// A signed request whose key the application is asked about before its signature is worth checking.
    Unverified(Box<SignedRequest>),
    /// The signature has been verified; the application confirms.
    Verified,
}

struct SignedRequest {
    user: String,
    key: PublicKey,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    /// The request up to the signature.
    signed: Zeroizing<Vec<u8>>,
}

/// An attempt for the application to decide on.
#[derive(Debug)]
pub struct ServerAttempt {
    /// Who the peer says it is.
    pub user: String,
    /// How it tries.
    pub method: ServerMethod,
}

/// The method of an attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerMethod {
    /// No credentials.
    None,
    /// A password, in the clear. It is zeroised when dropped.
    Password(Secret),
    /// Would this key do? Saying yes authenticates nobody.
    PublicKeyQuery(PublicKey),
    /// The peer has proved that it holds this key.
    PublicKey(PublicKey),
}

/// Text that is zeroised when dropped and never printed.
pub struct Secret(pub(crate) Zeroizing<String>);

impl Secret {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[..]")
    }
}

/// The application's answer to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Yes: to a query, that the key would do; to everything else, that the peer is authenticated.
    Accept,
    /// No.
    Reject,
}

/// What a message or an answer led to.
#[derive(Debug)]
pub(crate) enum ServerProgress {
    Nothing,
    Ask(ServerAttempt),
    Authenticated,
}

/// Requests that wait for an undecided one may hold this many bytes together.
const MAX_QUEUED: usize = 64 * 1024;
/// Attempts of any kind, accepted queries included, for each failed one that is allowed.
const REQUESTS_PER_FAILURE: u32 = 8;

impl ServerAuth {
    pub(crate) fn new(common: Arc<Common>, methods: &[&str]) -> Self {
        Self {
            common,
            methods: methods.join(","),
            state: ServerState::NoService,
            failures: 0,
            requests: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
        }
    }

    /// When a delayed failure is to be sent.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            ServerState::Delaying { until } => Some(until),
            _ => None,
        }
    }

    /// A message with a number of services or authentication.
    pub(crate) fn handle(
        &mut self,
        payload: &[u8],
        session_id: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let number = payload.first().copied().unwrap_or_default();
        match (&self.state, number) {
            // RFC 4252 §5.1: after success, further requests are ignored.
            (ServerState::Done, UserAuthRequest::NUMBER) => Ok(ServerProgress::Nothing),
            (ServerState::NoService | ServerState::Idle, ServiceRequest::NUMBER) => {
                self.on_service(payload, out)
            }
            (ServerState::Idle, UserAuthRequest::NUMBER) => self.on_request(payload, session_id, now, out),
            (ServerState::Deciding(_) | ServerState::Delaying { .. }, UserAuthRequest::NUMBER) => {
                self.queued_bytes = self.queued_bytes.saturating_add(payload.len());
                if self.queued_bytes > MAX_QUEUED {
                    return Err(PeerMisbehaved::PreAuthTraffic.into());
                }
                self.queue.push_back(Zeroizing::new(payload.to_vec()));
                Ok(ServerProgress::Nothing)
            }
            _ => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
        }
    }

    fn on_service(&mut self, payload: &[u8], out: &mut Outbound) -> Result<ServerProgress, Error> {
        let message = ServiceRequest::decode(payload)?;
        if message.name != USERAUTH_SERVICE {
            return Err(PeerMisbehaved::UnknownService.into());
        }
        self.state = ServerState::Idle;
        out.send(|buffer| ServiceAccept { name: OptionalText(USERAUTH_SERVICE.as_bytes()) }.encode(buffer))?;
        Ok(ServerProgress::Nothing)
    }

    fn on_request(
        &mut self,
        payload: &[u8],
        session_id: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let message = UserAuthRequest::decode(payload)?;
        if message.user.len() > MAX_USER {
            return Err(WireError::TooLong.into());
        }
        if message.service != CONNECTION_SERVICE {
            return Err(PeerMisbehaved::UnknownService.into());
        }
        self.requests = self.requests.saturating_add(1);
        if self.requests > self.common.limits.auth_attempts.saturating_mul(REQUESTS_PER_FAILURE) {
            return Err(PeerMisbehaved::TooManyAuthAttempts.into());
        }
        let user = message.user.to_owned();
        let mut reader = Reader::new(message.fields.0);
        match message.method {
            "none" => {
                let is_first_none = self.requests == 1;
                Ok(self.ask(Deciding::Plain { is_first_none }, user, ServerMethod::None))
            }
            "password" => {
                let change = reader.boolean()?;
                let password = Secret(Zeroizing::new(reader.text(MAX_PASSWORD)?.to_owned()));
                // A password change is not offered, so nobody may ask for one.
                if change {
                    return self.fail(false, now, out);
                }
                reader.finish()?;
                Ok(self.ask(Deciding::Plain { is_first_none: false }, user, ServerMethod::Password(password)))
            }
            "publickey" => self.on_public_key(user, payload, session_id, reader, now, out),
            _ => self.fail(false, now, out),
        }
    }

    fn on_public_key(
        &mut self,
        user: String,
        payload: &[u8],
        session_id: &[u8],
        mut reader: Reader<'_>,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let signed = reader.boolean()?;
        let algorithm_name = reader.text(MAX_USER)?;
        let key_blob = reader.string()?;
        let before_signature = payload.len().saturating_sub(reader.rest().len());
        let signature = if signed { reader.string()? } else { &[] };
        reader.finish()?;

        let algorithm = SignatureAlgorithm::from_name(algorithm_name);
        let algorithm = algorithm.filter(|found| self.common.algorithms.host_keys().contains(found));
        let key = PublicKey::from_blob(key_blob).ok();
        let fits = algorithm.zip(key).filter(|(algorithm, key)| key.kind().algorithms().contains(algorithm));
        // A key that cannot be read fails this attempt only.
        let Some((algorithm, key)) = fits else { return self.fail(false, now, out) };
        if !signed {
            let deciding =
                Deciding::Query { algorithm: algorithm_name.to_owned(), key_blob: key_blob.to_owned() };
            return Ok(self.ask(deciding, user, ServerMethod::PublicKeyQuery(key)));
        }
        let mut data = Zeroizing::new(Vec::with_capacity(payload.len().saturating_add(128)));
        data.put_string(session_id);
        data.put_bytes(payload.get(..before_signature).unwrap_or_default());
        let request = SignedRequest {
            user: user.clone(),
            key: key.clone(),
            algorithm,
            signature: signature.to_owned(),
            signed: data,
        };
        Ok(self.ask(Deciding::Unverified(Box::new(request)), user, ServerMethod::PublicKeyQuery(key)))
    }

    fn ask(&mut self, deciding: Deciding, user: String, method: ServerMethod) -> ServerProgress {
        self.state = ServerState::Deciding(deciding);
        ServerProgress::Ask(ServerAttempt { user, method })
    }

    /// The application's answer to what it was asked last.
    pub(crate) fn answer(
        &mut self,
        answer: AuthAnswer,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let ServerState::Deciding(deciding) = std::mem::replace(&mut self.state, ServerState::Idle) else {
            return Err(Error::Bug("an authentication answer without a question"));
        };
        match (deciding, answer) {
            (Deciding::Plain { .. } | Deciding::Verified, AuthAnswer::Accept) => {
                self.state = ServerState::Done;
                out.send(|buffer| UserAuthSuccess {}.encode(buffer))?;
                Ok(ServerProgress::Authenticated)
            }
            (Deciding::Query { algorithm, key_blob }, AuthAnswer::Accept) => {
                out.send(|buffer| UserAuthPkOk { algorithm: &algorithm, key: &key_blob }.encode(buffer))?;
                Ok(ServerProgress::Nothing)
            }
            (Deciding::Unverified(request), AuthAnswer::Accept) => {
                let SignedRequest { user, key, algorithm, signature, signed } = *request;
                let verified = split_signature(&signature).ok().is_some_and(|(name, blob)| {
                    name == algorithm.name().as_bytes()
                        && self.common.provider.signatures.verify(algorithm, &key, &signed, blob).is_ok()
                });
                if verified {
                    return Ok(self.ask(Deciding::Verified, user, ServerMethod::PublicKey(key)));
                }
                self.fail(false, now, out)
            }
            (deciding, AuthAnswer::Reject) => {
                let free = matches!(deciding, Deciding::Plain { is_first_none: true });
                self.fail(free, now, out)
            }
        }
    }

    /// Fails an attempt. Everybody starts with `none` to learn the methods, so the first of those is free of delay and
    /// of count.
    fn fail(&mut self, free: bool, now: Instant, out: &mut Outbound) -> Result<ServerProgress, Error> {
        if free {
            self.send_failure(out)?;
            return Ok(ServerProgress::Nothing);
        }
        self.failures = self.failures.saturating_add(1);
        let until = now.checked_add(self.common.limits.auth_failure_delay).unwrap_or(now);
        self.state = ServerState::Delaying { until };
        Ok(ServerProgress::Nothing)
    }

    /// Sends a delayed failure whose time has come.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Outbound) -> Result<(), Error> {
        if self.deadline().is_none_or(|until| now < until) {
            return Ok(());
        }
        self.state = ServerState::Idle;
        self.send_failure(out)?;
        if self.failures >= self.common.limits.auth_attempts {
            return Err(PeerMisbehaved::TooManyAuthAttempts.into());
        }
        Ok(())
    }

    fn send_failure(&self, out: &mut Outbound) -> Result<(), Error> {
        let methods = NameList::parse(self.methods.as_bytes())?;
        out.send(|buffer| UserAuthFailure { methods, partial_success: false }.encode(buffer))
    }

    /// The next request that waited, when nothing is undecided.
    pub(crate) fn next_queued(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if !matches!(self.state, ServerState::Idle) {
            return None;
        }
        let payload = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(payload.len());
        Some(payload)
    }
}

/// Passwords and session ids stay out of logs.
impl std::fmt::Debug for ServerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerAuth").field("failures", &self.failures).finish_non_exhaustive()
    }
}

/// A password may not be longer, in bytes.
const MAX_PASSWORD: usize = 1024;
