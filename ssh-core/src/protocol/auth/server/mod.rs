//! The server's half: it parses, verifies, counts and delays; the application decides.

mod conversation;
mod request;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use self::conversation::Conversation;
use self::request::{Credentials, Refused, Request, SignedRequest};
use super::authenticated::Authenticated;
use super::{
    CONNECTION_SERVICE, MAX_BANNER_LEN, MAX_USER, Method, OfferedKey, Refusal, RefusedAttempt, ServerAttempt,
    ServerMethod, Succeeded, USERAUTH_SERVICE,
};
use crate::config::Common;
use crate::error::{Error, PeerMisbehaved};
use crate::protocol::messages::{
    OptionalText, ServiceAccept, ServiceRequest, UserAuthBanner, UserAuthInfoResponse, UserAuthRequest,
};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::WireError;

/// A server's authentication as a value.
pub(crate) struct ServerAuth {
    common: Arc<Common>,
    /// The list of every user before its first step; `None` has the application asked for each.
    fixed: Option<Vec<Method>>,
    user: Option<User>,
    state: ServerState,
    failures: u32,
    requests: u32,
    /// When the request under way came.
    received: Option<Instant>,
    /// Requests that came while one was undecided, in order.
    queue: VecDeque<Zeroizing<Vec<u8>>>,
    queued_bytes: usize,
    /// Whether the peer writes all echo flags of a keyboard-interactive round behind all its prompts.
    flags_last: bool,
}

/// Whom the peer says it is, and how far that has got. Another name starts another one of these.
struct User {
    name: String,
    /// What FAILURE offers now.
    methods: Vec<Method>,
    succeeded: Vec<Succeeded>,
}

enum ServerState {
    NoService,
    Idle,
    /// The application is asked for a user's methods; the request waits at the head of the queue.
    Beginning,
    /// The application has the attempt.
    Deciding(Deciding),
    /// The client has been asked.
    Asked(Conversation),
    /// A failure is decided; its answer leaves at `until`, and the session then ends if it is the last.
    Delaying {
        until: Instant,
        last: bool,
    },
    Done,
}

enum Deciding {
    Plain {
        method: Method,
        is_first_none: bool,
    },
    Query {
        algorithm: String,
        key_blob: Vec<u8>,
    },
    /// A signed request whose key the application is asked about before its signature is worth checking.
    Unverified(Box<SignedRequest>),
    /// The signature has been verified; the application confirms.
    Verified(OfferedKey),
    /// A host's signature has been verified.
    HostBased(OfferedKey),
    Interactive(Conversation),
}

/// What a message or an answer led to.
#[derive(Debug)]
pub(crate) enum ServerProgress {
    Nothing,
    /// What may this user try? The answer is [`ServerAuth::begin`].
    Begin(String),
    Ask(ServerAttempt),
    Refused(RefusedAttempt),
    Authenticated(Authenticated),
}

/// Requests that wait for an undecided one may hold this many bytes together.
const MAX_QUEUED: usize = 64 * 1024;

impl ServerAuth {
    /// `methods` is the list of every user; names that are not known here are left out.
    pub(crate) fn new(common: Arc<Common>, methods: &[&str]) -> Self {
        Self {
            common,
            fixed: Some(methods.iter().filter_map(|name| Method::from_name(name)).collect()),
            user: None,
            state: ServerState::NoService,
            failures: 0,
            requests: 0,
            received: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            flags_last: false,
        }
    }

    /// Has the application asked for the methods of each user.
    pub(crate) fn ask_for_methods(&mut self) {
        self.fixed = None;
    }

    /// The peer is a Dev Tunnels implementation, which reads all prompts of a round before all echo flags.
    pub(crate) fn put_flags_last(&mut self) {
        self.flags_last = true;
    }

    /// When a delayed failure is to be sent.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            ServerState::Delaying { until, .. } => Some(until),
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
            // Dev Tunnels' Go clients ask again with each login that they try.
            (ServerState::NoService | ServerState::Idle | ServerState::Asked(_), ServiceRequest::NUMBER) => {
                self.on_service(payload, out)
            }
            // RFC 4256 §3.1: another request ends the conversation.
            (ServerState::Idle | ServerState::Asked(_), UserAuthRequest::NUMBER) => {
                self.on_request(payload, session_id, now, out)
            }
            (ServerState::Asked(_), UserAuthInfoResponse::NUMBER) => self.on_answers(payload, now, out),
            (
                ServerState::Beginning | ServerState::Deciding(_) | ServerState::Delaying { .. },
                UserAuthRequest::NUMBER | ServiceRequest::NUMBER,
            ) => {
                if number == ServiceRequest::NUMBER {
                    check_service(payload)?;
                }
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
        check_service(payload)?;
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
        if message.user.len() > MAX_USER || message.method.len() > MAX_USER {
            return Err(WireError::TooLong.into());
        }
        if message.service != CONNECTION_SERVICE {
            return Err(PeerMisbehaved::UnknownService.into());
        }
        self.state = ServerState::Idle;
        // A request that waited for its user's methods came when it was put aside.
        let received = *self.received.get_or_insert(now);
        if self.user.as_ref().is_none_or(|user| user.name != message.user) {
            // RFC 4252 §5: what has succeeded for one user says nothing of another.
            let name = message.user.to_owned();
            match &self.fixed {
                Some(methods) => {
                    self.user = Some(User { name, methods: methods.clone(), succeeded: Vec::new() });
                }
                None => {
                    self.user = Some(User { name: name.clone(), methods: Vec::new(), succeeded: Vec::new() });
                    self.queued_bytes = self.queued_bytes.saturating_add(payload.len());
                    self.queue.push_front(Zeroizing::new(payload.to_vec()));
                    self.state = ServerState::Beginning;
                    return Ok(ServerProgress::Begin(name));
                }
            }
        }
        debug_assert!(received <= now);
        self.count_request(out)?;
        let is_first_none = self.requests == 1 && message.method == Method::None.name();
        let method = Method::from_name(message.method).filter(|method| self.offers(*method));
        let Some(method) = method else {
            return self.refuse(message.method, Refusal::Method, is_first_none, now, out);
        };
        let request = Request { method, payload, fields: message.fields.0, session_id };
        match request.parse(self.common.algorithms.user_keys())? {
            Err(refusal) => self.refuse(message.method, refusal, false, now, out),
            Ok(credentials) => self.on_credentials(credentials, is_first_none, now, out),
        }
    }

    fn on_credentials(
        &mut self,
        credentials: Credentials,
        is_first_none: bool,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let (deciding, method) = match credentials {
            Credentials::Plain(method) => {
                (Deciding::Plain { method: method.method(), is_first_none }, method)
            }
            Credentials::Query { key, algorithm, key_blob } => {
                if self.has_used(&key) {
                    let refused = Refused { reason: Refusal::KeyUsedBefore, is_query: true };
                    return self.refuse("publickey", refused, false, now, out);
                }
                (Deciding::Query { algorithm, key_blob }, ServerMethod::PublicKeyQuery(key))
            }
            Credentials::Signed(request) => {
                if self.has_used(&request.key) {
                    return self.refuse("publickey", Refusal::KeyUsedBefore, false, now, out);
                }
                let key = request.key.clone();
                (Deciding::Unverified(request), ServerMethod::PublicKeyQuery(key))
            }
            Credentials::Host { request, host, user } => {
                if !request.verify(&self.common) {
                    return self.refuse("hostbased", Refusal::Signature, false, now, out);
                }
                let key = request.key.clone();
                (Deciding::HostBased(key.clone()), ServerMethod::HostBased { key, host, user })
            }
            Credentials::Interactive { submethods } => {
                let conversation = Conversation::new(submethods);
                let method = conversation.method();
                (Deciding::Interactive(conversation), method)
            }
        };
        Ok(self.ask(deciding, method, is_first_none))
    }

    /// RFC 4256 §3.4.
    fn on_answers(
        &mut self,
        payload: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<ServerProgress, Error> {
        let ServerState::Asked(mut conversation) = std::mem::replace(&mut self.state, ServerState::Idle)
        else {
            return Err(Error::Bug("answers without a question"));
        };
        self.received = Some(now);
        self.count_request(out)?;
        if !conversation.answer(payload)? {
            return self.refuse("keyboard-interactive", Refusal::Answers, false, now, out);
        }
        let method = conversation.method();
        Ok(self.ask(Deciding::Interactive(conversation), method, false))
    }

    fn count_request(&mut self, out: &mut Outbound) -> Result<(), Error> {
        self.requests = self.requests.saturating_add(1);
        if self.requests > self.common.limits.auth_requests {
            self.send_failure(false, out)?;
            return Err(PeerMisbehaved::TooManyAuthAttempts.into());
        }
        Ok(())
    }

    fn offers(&self, method: Method) -> bool {
        self.user.as_ref().is_some_and(|user| user.methods.contains(&method))
    }

    /// A key counts once: two keys are needed where two steps ask for one each.
    fn has_used(&self, key: &OfferedKey) -> bool {
        let succeeded = self.user.iter().flat_map(|user| &user.succeeded);
        succeeded
            .filter(|step| step.method == Method::PublicKey)
            .any(|step| step.key.as_ref() == Some(&key.key))
    }

    fn ask(&mut self, deciding: Deciding, method: ServerMethod, is_first_none: bool) -> ServerProgress {
        let is_signed = deciding.is_signed();
        self.state = ServerState::Deciding(deciding);
        let (user, succeeded) =
            self.user.as_ref().map(|user| (user.name.clone(), user.succeeded.clone())).unwrap_or_default();
        let number = if is_first_none { 0 } else { self.requests };
        ServerProgress::Ask(ServerAttempt { user, number, succeeded, is_signed, method })
    }

    /// The application's answer to [`ServerProgress::Begin`].
    pub(crate) fn begin(&mut self, methods: Vec<Method>) -> Result<(), Error> {
        let (ServerState::Beginning, Some(user)) = (&self.state, &mut self.user) else {
            return Err(Error::Bug("methods for nobody"));
        };
        user.methods = methods;
        self.state = ServerState::Idle;
        Ok(())
    }

    /// Words for the user (RFC 4252 §5.4).
    pub(crate) fn banner(&self, text: &str, out: &mut Outbound) -> Result<(), Error> {
        // Dev Tunnels peers do not know the message.
        if self.flags_last || text.is_empty() || matches!(self.state, ServerState::Done) {
            return Ok(());
        }
        let end = (0..=MAX_BANNER_LEN.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
        let text = text.get(..end.unwrap_or_default()).unwrap_or_default().as_bytes();
        out.send(|buffer| UserAuthBanner { text, language: OptionalText(b"") }.encode(buffer))
    }

    /// The next request that waited, when nothing is undecided.
    pub(crate) fn next_queued(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if !matches!(self.state, ServerState::Idle | ServerState::Asked(_)) {
            return None;
        }
        let payload = self.queue.pop_front()?;
        self.queued_bytes = self.queued_bytes.saturating_sub(payload.len());
        Some(payload)
    }
}

/// Before the login there is one service to ask for.
fn check_service(payload: &[u8]) -> Result<(), Error> {
    let message = ServiceRequest::decode(payload)?;
    if message.name != USERAUTH_SERVICE {
        return Err(PeerMisbehaved::UnknownService.into());
    }
    Ok(())
}

impl Deciding {
    fn is_signed(&self) -> bool {
        matches!(self, Self::Unverified(_) | Self::Verified(_) | Self::HostBased(_))
    }

    /// What is remembered of it when it is right but not enough.
    fn succeeded(self) -> Succeeded {
        let (method, key) = match self {
            Self::Plain { method, .. } => (method, None),
            Self::Query { .. } => (Method::PublicKey, None),
            Self::Unverified(request) => (Method::PublicKey, Some(request.key)),
            Self::Verified(key) => (Method::PublicKey, Some(key)),
            Self::HostBased(key) => (Method::HostBased, Some(key)),
            Self::Interactive(_) => (Method::KeyboardInteractive, None),
        };
        let (key, certificate) = key.map_or((None, None), |offered| (Some(offered.key), offered.certificate));
        Succeeded { method, key, certificate }
    }
}

/// Passwords and session ids stay out of logs.
impl std::fmt::Debug for ServerAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerAuth").field("failures", &self.failures).finish_non_exhaustive()
    }
}
