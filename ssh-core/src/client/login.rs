use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Config, Credential, PasswordPrompt};
use crate::crypto::SignatureAlgorithm;
use crate::driver::{EndIfDropped, Shared};
use crate::error::{AuthFailure, Error};
use crate::keys::SigningKey;
use crate::protocol::{AuthReply, ClientAuthRequest, Event};
use crate::session::Session;

/// Goes through host key and authentication, one event after the other.
pub(super) async fn run(shared: Arc<Shared>, config: Arc<Config>) -> Result<Session, Error> {
    let guard = EndIfDropped::new(&shared);
    let mut login = Login {
        shared: &shared,
        config: &config,
        next: 0,
        used: Vec::new(),
        tried: Vec::new(),
        accepts: Vec::new(),
    };
    let result = login.run().await;
    guard.disarm();
    match result {
        Ok(()) => Ok(Session::new(shared, Arc::clone(&config.user))),
        Err(error) => Err(shared.with(|engine| engine.end(error))),
    }
}

struct Login<'a> {
    shared: &'a Shared,
    config: &'a Config,
    /// The next credential to look at.
    next: usize,
    /// Those that have been used.
    used: Vec<usize>,
    tried: Vec<&'static str>,
    /// The methods of the server's last answer.
    accepts: Vec<String>,
}

impl Login<'_> {
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            match self.shared.login_event().await? {
                Event::HostKey(key) => {
                    tokio::select! {
                        verified = self.config.verifier.verify(&key) => verified?,
                        error = self.shared.ended() => return Err(error),
                    }
                    self.shared.with(|engine| engine.accept_host_key())?;
                }
                // `none` tells which methods there are, and goes out with the service request.
                Event::AuthReady => {
                    self.tried.push("none");
                    self.shared.with(|engine| engine.auth_request(&ClientAuthRequest::None))?;
                    if self.answer().await? {
                        return self.authenticated().await;
                    }
                    return self.try_credentials().await;
                }
                Event::Authenticated => return Ok(()),
                Event::AuthReply(_) | Event::AuthAttempt(_) | Event::ResumeRequested(_) => {
                    return Err(Error::Bug("an event out of order"));
                }
            }
        }
    }

    async fn try_credentials(&mut self) -> Result<(), Error> {
        while let Some(credential) = self.config.credentials.get(self.next).cloned() {
            let number = self.next;
            self.next = number.saturating_add(1);
            if self.used.contains(&number) {
                continue;
            }
            let method = match credential {
                Credential::Password(_) | Credential::AskPassword(_) => "password",
                Credential::Key(_) => "publickey",
            };
            if !self.accepts.iter().any(|accepted| accepted == method) {
                continue;
            }
            let credential = match credential {
                Credential::AskPassword(prompt) => match self.ask(&*prompt).await? {
                    Some(password) => Credential::Password(Arc::new(password)),
                    None => continue,
                },
                credential => credential,
            };
            self.used.push(number);
            self.tried.push(method);
            let done = match &credential {
                Credential::Password(password) => {
                    self.shared.with(|engine| engine.auth_request(&ClientAuthRequest::Password(password)))?;
                    self.answer().await?
                }
                Credential::Key(key) => self.try_key(key).await?,
                Credential::AskPassword(_) => {
                    return Err(Error::Bug("a password was asked for and not taken"));
                }
            };
            if done {
                return self.authenticated().await;
            }
        }
        let (tried, accepts) = (std::mem::take(&mut self.tried), std::mem::take(&mut self.accepts));
        Err(Error::Auth(AuthFailure::Refused { tried, accepts }))
    }

    /// Nobody should type a password into a session that has gone.
    async fn ask(&self, prompt: &dyn PasswordPrompt) -> Result<Option<Zeroizing<String>>, Error> {
        tokio::select! {
            password = prompt.password() => Ok(password),
            error = self.shared.ended() => Err(error),
        }
    }

    /// Asks whether the key would do, and signs if so.
    async fn try_key(&mut self, key: &SigningKey) -> Result<bool, Error> {
        let public = key.public_key();
        let Some(algorithm) = self.algorithm_for(key) else { return Ok(false) };
        self.shared.with(|engine| {
            engine.auth_request(&ClientAuthRequest::PublicKeyQuery { key: public, algorithm })
        })?;
        match self.reply().await? {
            AuthReply::PkOk => {}
            reply => return Ok(self.note(reply)),
        }
        let data = self.shared.with(|engine| engine.auth_data_to_sign(public, algorithm));
        let data = data.ok_or(Error::Bug("there is no session id to sign"))?;
        let signature =
            key.sign(algorithm, &data).map_err(|error| Error::Auth(AuthFailure::Signing(error)))?;
        self.shared.with(|engine| {
            engine.auth_request(&ClientAuthRequest::PublicKey {
                key: public,
                algorithm,
                signature: &signature,
            })
        })?;
        self.answer().await
    }

    /// The best algorithm of the key that both sides take (RFC 8332 §3.3).
    fn algorithm_for(&self, key: &SigningKey) -> Option<SignatureAlgorithm> {
        let server = self.shared.with(|engine| engine.server_sig_algs().map(<[_]>::to_vec));
        let fits =
            |algorithm: &SignatureAlgorithm| server.as_ref().is_none_or(|list| list.contains(algorithm));
        let of_key = key.public_key().kind().algorithms();
        of_key.iter().copied().find(fits)
    }

    /// Waits for the answer to an attempt; whether it was the last that was needed.
    async fn answer(&mut self) -> Result<bool, Error> {
        let reply = self.reply().await?;
        Ok(self.note(reply))
    }

    fn note(&mut self, reply: AuthReply) -> bool {
        match reply {
            AuthReply::Success => true,
            AuthReply::PkOk | AuthReply::ChangePassword => false,
            AuthReply::Failure { methods, partial_success } => {
                self.accepts = methods;
                if partial_success {
                    // What the server would not take before may be what it asks for now.
                    self.next = 0;
                }
                false
            }
        }
    }

    async fn reply(&mut self) -> Result<AuthReply, Error> {
        match self.shared.login_event().await? {
            Event::AuthReply(reply) => Ok(reply),
            _ => Err(Error::Bug("an event out of order")),
        }
    }

    async fn authenticated(&mut self) -> Result<(), Error> {
        match self.shared.login_event().await? {
            Event::Authenticated => Ok(()),
            _ => Err(Error::Bug("an event out of order")),
        }
    }
}
