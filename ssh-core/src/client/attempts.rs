//! One attempt of each method.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::login::Login;
use super::{Credential, HostBased, Identity, KeyQuery, PasswordPrompt, PromptResponder};
use crate::error::{ApiMisuse, AuthFailure, Error};
use crate::protocol::{AuthReply, ClientAuthRequest, ToSign};

impl Login<'_> {
    /// Whether it was the last that was needed. One that has nothing to say sends nothing.
    pub(super) async fn attempt(&mut self, credential: Credential) -> Result<bool, Error> {
        match credential {
            Credential::Password(password) => self.password(&password, None).await,
            Credential::AskPassword(prompt) => match self.unless_ended(prompt.password()).await? {
                Some(password) => self.password(&password, Some(&*prompt)).await,
                None => Ok(false),
            },
            Credential::Key(key) => {
                let failed = |error| Error::Auth(AuthFailure::Key(error));
                let certificate = Identity::certificate(Arc::clone(&key)).map_err(failed)?;
                let plain = Identity::key(key).map_err(failed)?;
                let both: Vec<_> = certificate.into_iter().chain([plain]).collect();
                self.keys(&both).await
            }
            Credential::Identity(identity) => self.key(&identity).await,
            Credential::Keys(source) => {
                let identities = match self.unless_ended(source.identities()).await? {
                    Ok(identities) => identities,
                    Err(error) => {
                        tracing::warn!(%error, ?source, "no keys");
                        return Ok(false);
                    }
                };
                self.keys(&identities).await
            }
            Credential::KeyQuery(query) => self.key_query(&query).await,
            Credential::KeyboardInteractive(responder) => self.keyboard_interactive(&*responder).await,
            Credential::HostBased(host) => self.host_based(&host).await,
        }
    }

    /// RFC 4252 §8.
    async fn password(&mut self, password: &str, prompt: Option<&dyn PasswordPrompt>) -> Result<bool, Error> {
        const METHOD: &str = "password";
        if password.is_empty() {
            return Ok(false);
        }
        self.begin(METHOD, &ClientAuthRequest::Password(password))?;
        for _ in 0..MAX_PASSWORD_CHANGES {
            let words = match self.reply().await? {
                AuthReply::ChangePassword { prompt } => prompt,
                reply => return self.note(METHOD, None, reply),
            };
            let new = match prompt {
                Some(prompt) => self.unless_ended(prompt.new_password(&words)).await?,
                None => None,
            };
            let Some(new) = new.filter(|new| !new.is_empty()) else {
                // The server waits for nothing; the next attempt may follow.
                self.history.failed.push(METHOD);
                return Ok(false);
            };
            self.request(&ClientAuthRequest::PasswordChange { old: password, new: &new })?;
        }
        let reply = self.reply().await?;
        if matches!(reply, AuthReply::ChangePassword { .. }) {
            self.history.failed.push(METHOD);
            return Ok(false);
        }
        self.note(METHOD, None, reply)
    }

    /// Several keys, until one is a part of the success or the server takes keys no more.
    async fn keys(&mut self, identities: &[Identity]) -> Result<bool, Error> {
        for identity in identities.iter().take(MAX_KEYS) {
            let before = self.history.partial_successes.len();
            if self.key(identity).await? {
                return Ok(true);
            }
            if self.history.partial_successes.len() > before || !self.history.is_allowed(PUBLIC_KEY) {
                break;
            }
        }
        Ok(false)
    }

    /// RFC 4252 §7: asks whether the key would do, and signs if so.
    async fn key(&mut self, identity: &Identity) -> Result<bool, Error> {
        let key = identity.blob();
        if !self.history.is_fresh(key) {
            return Ok(false);
        }
        let server = self.shared.with(|engine| engine.server_sig_algs().map(<[_]>::to_vec));
        let Some(algorithm) = identity.algorithm_for(server.as_deref()) else {
            tracing::debug!(?identity, "the server takes no algorithm of this key");
            return Ok(false);
        };
        if !identity.signs_at_once() {
            self.begin(PUBLIC_KEY, &ClientAuthRequest::PublicKeyQuery { key, algorithm })?;
            match self.reply().await? {
                AuthReply::PkOk => {}
                reply => return self.note(PUBLIC_KEY, Some(key), reply),
            }
        }
        let what = ToSign::PublicKey { key, algorithm };
        self.signed(PUBLIC_KEY, &what, identity, algorithm, identity.signs_at_once()).await
    }

    /// RFC 4252 §7, the first half: asks whether the key would do, and says what the answer is.
    async fn key_query(&mut self, query: &KeyQuery) -> Result<bool, Error> {
        let KeyQuery { identity, answered } = query;
        let key = identity.blob();
        let server = self.shared.with(|engine| engine.server_sig_algs().map(<[_]>::to_vec));
        let Some(algorithm) = identity.algorithm_for(server.as_deref()) else {
            answered(false);
            return Ok(false);
        };
        self.begin(PUBLIC_KEY, &ClientAuthRequest::PublicKeyQuery { key, algorithm })?;
        let reply = self.reply().await?;
        answered(matches!(reply, AuthReply::PkOk));
        match reply {
            AuthReply::PkOk => Ok(false),
            reply => self.note(PUBLIC_KEY, Some(key), reply),
        }
    }

    /// RFC 4252 §9.
    async fn host_based(&mut self, host: &HostBased) -> Result<bool, Error> {
        let HostBased { identity, client_host, client_user } = host;
        let server = self.shared.with(|engine| engine.server_sig_algs().map(<[_]>::to_vec));
        let Some(algorithm) = identity.algorithm_for(server.as_deref()) else { return Ok(false) };
        let what = ToSign::HostBased { key: identity.blob(), algorithm, client_host, client_user };
        self.signed("hostbased", &what, identity, algorithm, true).await
    }

    /// Signs, sends and waits. A key that cannot sign is passed over: another one may.
    async fn signed(
        &mut self,
        method: &'static str,
        what: &ToSign<'_>,
        identity: &Identity,
        algorithm: &str,
        is_first: bool,
    ) -> Result<bool, Error> {
        let key = matches!(what, ToSign::PublicKey { .. }).then(|| identity.blob());
        let data = self.shared.with(|engine| engine.auth_data_to_sign(what));
        let data = data.ok_or(Error::Bug("there is no session id to sign"))?;
        let signature = match self.unless_ended(identity.sign(algorithm, &data)).await? {
            Ok(signature) => signature,
            Err(error) => {
                tracing::warn!(%error, ?identity, "the key does not sign");
                if is_first {
                    self.history.tried.push(method);
                }
                let allowed = std::mem::take(&mut self.history.allowed);
                self.history.refused(method, key, allowed);
                self.signing_error.get_or_insert(error);
                return Ok(false);
            }
        };
        let request = ClientAuthRequest::Signed { what, signature: &signature };
        if is_first {
            self.begin(method, &request)?
        } else {
            self.request(&request)?
        }
        let reply = self.reply().await?;
        self.note(method, key, reply)
    }

    /// RFC 4256.
    async fn keyboard_interactive(&mut self, responder: &dyn PromptResponder) -> Result<bool, Error> {
        const METHOD: &str = "keyboard-interactive";
        self.begin(METHOD, &ClientAuthRequest::KeyboardInteractive)?;
        for _ in 0..MAX_ROUNDS {
            let questions = match self.reply().await? {
                AuthReply::InfoRequest(questions) => questions,
                reply => return self.note(METHOD, None, reply),
            };
            let answers: Vec<Zeroizing<String>> =
                match self.unless_ended(responder.respond(&questions)).await? {
                    Some(_) if questions.prompts.is_empty() => Vec::new(),
                    Some(answers) => answers,
                    // RFC 4256 §3.1: another attempt ends this one.
                    None => {
                        self.history.failed.push(METHOD);
                        return Ok(false);
                    }
                };
            if answers.len() != questions.prompts.len() {
                return Err(Error::ApiMisuse(ApiMisuse::PromptAnswers));
            }
            self.request(&ClientAuthRequest::InfoResponse(&answers))?;
        }
        Err(Error::Auth(AuthFailure::TooManyAttempts(MAX_ROUNDS)))
    }
}

const PUBLIC_KEY: &str = "publickey";
/// How often a server may find a new password not good enough.
const MAX_PASSWORD_CHANGES: usize = 3;
/// Keys of one source that are tried. Servers allow far fewer.
const MAX_KEYS: usize = 64;
/// Rounds of questions in one attempt. Second factors take two or three.
const MAX_ROUNDS: u32 = 64;
