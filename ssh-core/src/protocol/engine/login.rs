//! The engine's face of authentication (RFC 4252).

use std::time::Instant;

use zeroize::Zeroizing;

use super::{Auth, Engine, Event};
use crate::error::{Error, PeerMisbehaved};
use crate::progress::Progress;
use crate::protocol::auth::{
    AuthAnswer, Authenticated, ClientAuthRequest, ClientProgress, Method, ServerProgress, ToSign,
};
use crate::protocol::messages::OptionalText;
use crate::protocol::{PeerVersion, Role};
use crate::trace::tell;

/// The login.
impl Engine {
    /// Client: the host key is trusted; authentication begins.
    ///
    /// # Errors
    /// The session is over.
    pub fn accept_host_key(&mut self) -> Result<(), Error> {
        self.alive()?;
        let Auth::Client(auth) = &mut self.auth else {
            return Err(Error::Bug("a server was given a host key"));
        };
        let ready = auth.start(&mut self.transport.out)?;
        self.stages.pass(Progress::StartingSessionAuthentication);
        if ready {
            self.events.push_back(Event::AuthReady);
        }
        Ok(())
    }

    /// Client, before [`accept_host_key`](Self::accept_host_key): [`Event::AuthReady`] is to come when the server has
    /// accepted the service, by when it has also said which signatures it takes, if it says so at all (RFC 8308 §2.4). That is a
    /// round trip later.
    pub fn wait_for_service(&mut self) {
        if let Auth::Client(auth) = &mut self.auth {
            auth.wait_for_service();
        }
    }

    /// Client: makes an attempt. One at a time; the answer is [`Event::AuthReply`].
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_request(&mut self, request: &ClientAuthRequest<'_>) -> Result<(), Error> {
        self.alive()?;
        match &mut self.auth {
            Auth::Client(auth) => auth.send(request, &mut self.transport.out),
            Auth::Server(_) | Auth::Claim(_) | Auth::Done(_) => {
                Err(Error::Bug("authentication without a client"))
            }
        }
    }

    /// Client: what the signature of this request has to cover (RFC 4252 §7 and §9). It holds the session id.
    #[must_use]
    pub fn auth_data_to_sign(&self, what: &ToSign<'_>) -> Option<Zeroizing<Vec<u8>>> {
        match (&self.auth, self.transport.kex.session_id()) {
            (Auth::Client(auth), Some(session_id)) => Some(auth.data_to_sign(session_id, what)),
            _ => None,
        }
    }

    /// Server: each user's methods are asked for ([`Event::AuthBegin`]), instead of the list that the engine was made with.
    pub fn ask_auth_methods(&mut self) {
        if let Auth::Server(auth) = &mut self.auth {
            auth.ask_for_methods();
        }
    }

    /// Server: the answer to [`Event::AuthBegin`]: what the user may try before its first step.
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_begin(&mut self, methods: Vec<Method>, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("methods without a server")) };
        auth.begin(methods)
            .and_then(|()| self.on_server_auth(ServerProgress::Nothing, now))
            .map_err(|error| self.end(error))
    }

    /// Server: words for the user before it is let in (RFC 4252 §5.4); what is over
    /// [`MAX_BANNER_LEN`](crate::protocol::MAX_BANNER_LEN) is cut off. Dev Tunnels peers are not told.
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_banner(&mut self, text: &str) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("a banner without a server")) };
        auth.banner(text, &mut self.transport.out).map_err(|error| self.end(error))
    }

    /// Server: the answer to the last [`Event::AuthAttempt`].
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_answer(&mut self, answer: AuthAnswer, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("an answer without a server")) };
        auth.answer(answer, now, &mut self.transport.out)
            .and_then(|progress| self.on_server_auth(progress, now))
            .map_err(|error| self.end(error))
    }
}

impl Engine {
    pub(super) fn on_auth(&mut self, payload: &[u8], now: Instant) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        let session_id = self.transport.kex.session_id().unwrap_or_default();
        match &mut self.auth {
            Auth::Client(auth) => {
                let from_dev_tunnels =
                    self.transport.kex.peer_version().is_some_and(PeerVersion::is_dev_tunnels);
                match auth.handle(payload, from_dev_tunnels)? {
                    ClientProgress::Nothing => {}
                    ClientProgress::Ready => self.events.push_back(Event::AuthReady),
                    ClientProgress::Banner(text) => self.events.push_back(Event::Banner(text)),
                    ClientProgress::Reply(reply) => {
                        let proof = Authenticated::by_client(&reply);
                        self.events.push_back(Event::AuthReply(reply));
                        if let Some(proof) = proof {
                            self.on_authenticated(proof);
                        }
                    }
                }
                Ok(())
            }
            Auth::Server(auth) => {
                let progress = auth.handle(payload, session_id, now, &mut self.transport.out)?;
                self.on_server_auth(progress, now)
            }
            // RFC 4252 §5.1: further requests are silently ignored.
            Auth::Done(_) if self.role == Role::Server && number == 50 => Ok(()),
            // Dev Tunnels clients ask for the service that authentication has already implied.
            Auth::Done(_) if self.role == Role::Server && number == 5 => {
                let message = crate::protocol::messages::ServiceRequest::decode(payload)?;
                if message.name != crate::protocol::auth::CONNECTION_SERVICE {
                    return match self.on_service_request(message.name)? {
                        true => Ok(()),
                        false => Err(PeerMisbehaved::UnknownService.into()),
                    };
                }
                let name = OptionalText(message.name.as_bytes());
                self.transport
                    .out
                    .send(|buffer| crate::protocol::messages::ServiceAccept { name }.encode(buffer))
            }
            Auth::Done(_) if self.role == Role::Client && number == 6 => self.on_service_accept(payload),
            Auth::Done(_) | Auth::Claim(_) => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
        }
    }

    pub(super) fn on_server_auth(&mut self, progress: ServerProgress, now: Instant) -> Result<(), Error> {
        let mut progress = progress;
        loop {
            if !matches!(progress, ServerProgress::Nothing) {
                self.stages.pass(Progress::StartingSessionAuthentication);
            }
            match progress {
                ServerProgress::Nothing => {}
                ServerProgress::Begin(user) => self.events.push_back(Event::AuthBegin(user)),
                ServerProgress::Ask(attempt) => self.events.push_back(Event::AuthAttempt(attempt)),
                ServerProgress::Refused(attempt) => {
                    tell!(ClientAuthenticationFailed, "an attempt was refused");
                    self.events.push_back(Event::AuthRefused(attempt));
                }
                ServerProgress::Authenticated(proof) => {
                    self.on_authenticated(proof);
                    return Ok(());
                }
            }
            let session_id = self.transport.kex.session_id().unwrap_or_default();
            let Auth::Server(auth) = &mut self.auth else { return Ok(()) };
            let Some(payload) = auth.next_queued() else { return Ok(()) };
            progress = auth.handle(&payload, session_id, now, &mut self.transport.out)?;
        }
    }

    pub(super) fn on_authenticated(&mut self, proof: Authenticated) {
        tell!(SessionAuthenticated, "authenticated");
        if self.stages.has_passed(Progress::StartingSessionAuthentication) {
            self.stages.pass(Progress::CompletedSessionAuthentication);
        }
        self.auth = Auth::Done(proof);
        self.login_deadline = None;
        self.settle_resumption();
        self.events.push_back(Event::Authenticated);
    }
}
