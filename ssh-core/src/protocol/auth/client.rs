use zeroize::Zeroizing;

use super::info_request::InfoRequest;
use super::{CONNECTION_SERVICE, MAX_BANNER_LEN, USERAUTH_SERVICE};
use crate::error::{Error, PeerMisbehaved, clean_text};
use crate::keys::PublicKey;
use crate::protocol::messages::{
    Rest, ServiceAccept, ServiceRequest, UserAuthBanner, UserAuthFailure, UserAuthInfoRequest,
    UserAuthInfoResponse, UserAuthPasswdChangeReq, UserAuthPkOk, UserAuthRequest, UserAuthSuccess,
};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{Reader, Write as _};

/// The client's half: it sends what the application chooses and reports the answers, one at a time.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    user: String,
    service: ServiceState,
    pending: Option<Pending>,
    waits_for_service: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServiceState {
    NotAsked,
    Asked,
    Accepted,
}

/// What the next answer is about; message 60 means something else for each.
#[derive(Debug)]
enum Pending {
    Other,
    Password,
    Query { key: Vec<u8>, algorithm: String },
    KeyboardInteractive,
}

/// An attempt, or the next message of one.
pub enum ClientAuthRequest<'a> {
    /// No credentials; the server answers with what it takes (RFC 4252 §5.2).
    None,
    /// RFC 4252 §8.
    Password(&'a str),
    /// A new password in the place of one that is right but has to be changed (RFC 4252 §8).
    PasswordChange {
        /// The password until now.
        old: &'a str,
        /// The one from now on.
        new: &'a str,
    },
    /// Whether this key would do (RFC 4252 §7).
    PublicKeyQuery {
        /// The key blob, or that of a certificate.
        key: &'a [u8],
        /// The algorithm that it would be used with.
        algorithm: &'a str,
    },
    /// What [`Engine::auth_data_to_sign`](crate::protocol::Engine::auth_data_to_sign) gave, signed.
    Signed {
        /// What was signed.
        what: &'a ToSign<'a>,
        /// The signature, algorithm name and all (RFC 4253 §6.6).
        signature: &'a [u8],
    },
    /// RFC 4256 §3.1.
    KeyboardInteractive,
    /// The answers to an [`InfoRequest`], one for each of its prompts (RFC 4256 §3.4).
    InfoResponse(&'a [Zeroizing<String>]),
}

/// A request that carries a signature over itself.
#[derive(Debug, Clone, Copy)]
pub enum ToSign<'a> {
    /// By the user's key (RFC 4252 §7).
    PublicKey {
        /// The key blob, or that of a certificate.
        key: &'a [u8],
        /// The algorithm.
        algorithm: &'a str,
    },
    /// By the key of the host that the user is on (RFC 4252 §9).
    HostBased {
        /// The host key's blob, or that of a certificate.
        key: &'a [u8],
        /// The algorithm.
        algorithm: &'a str,
        /// The client's name, as the server may look it up.
        client_host: &'a str,
        /// The user on the client's host.
        client_user: &'a str,
    },
}

/// Secrets stay out of logs.
impl std::fmt::Debug for ClientAuthRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password[..]"),
            Self::PasswordChange { .. } => f.write_str("PasswordChange[..]"),
            Self::PublicKeyQuery { algorithm, .. } => write!(f, "PublicKeyQuery({algorithm})"),
            Self::Signed { what, .. } => write!(f, "Signed({})", what.method()),
            Self::KeyboardInteractive => f.write_str("KeyboardInteractive"),
            Self::InfoResponse(answers) => write!(f, "InfoResponse({} answers)", answers.len()),
        }
    }
}

/// The server's answer to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthReply {
    /// Authenticated.
    Success,
    /// Not (yet).
    Failure {
        /// What may be tried next, in the server's order.
        methods: Vec<String>,
        /// The attempt was right, but more is needed.
        partial_success: bool,
    },
    /// The key would do.
    PkOk,
    /// The password is right but has to be changed first.
    ChangePassword {
        /// The server's words, escaped for display.
        prompt: String,
    },
    /// The server has questions; the next message is [`ClientAuthRequest::InfoResponse`], or another attempt.
    InfoRequest(InfoRequest),
}

/// What a message of the server led to.
#[derive(Debug)]
pub(crate) enum ClientProgress {
    Nothing,
    /// The service that was waited for is there.
    Ready,
    Reply(AuthReply),
    Banner(String),
}

impl ToSign<'_> {
    fn method(&self) -> &'static str {
        match self {
            Self::PublicKey { .. } => "publickey",
            Self::HostBased { .. } => "hostbased",
        }
    }

    /// The fields in front of the signature.
    fn put_fields(&self, fields: &mut Vec<u8>) {
        match self {
            Self::PublicKey { key, algorithm } => put_key(fields, true, key, algorithm),
            Self::HostBased { key, algorithm, client_host, client_user } => {
                fields.put_string(algorithm.as_bytes());
                fields.put_string(key);
                fields.put_string(client_host.as_bytes());
                fields.put_string(client_user.as_bytes());
            }
        }
    }
}

impl ClientAuth {
    pub(crate) fn new(user: String) -> Self {
        Self { user, service: ServiceState::NotAsked, pending: None, waits_for_service: false }
    }

    /// The first attempt is not to go out with the request for the service, but to wait for it.
    pub(crate) fn wait_for_service(&mut self) {
        self.waits_for_service = true;
    }

    /// Asks for the authentication service. Whether the first attempt may follow without waiting.
    pub(crate) fn start(&mut self, out: &mut Outbound) -> Result<bool, Error> {
        self.service = ServiceState::Asked;
        out.send(|buffer| ServiceRequest { name: USERAUTH_SERVICE }.encode(buffer))?;
        Ok(!self.waits_for_service)
    }

    pub(crate) fn send(&mut self, request: &ClientAuthRequest<'_>, out: &mut Outbound) -> Result<(), Error> {
        let mut fields = Zeroizing::new(Vec::with_capacity(room_for(request)));
        let (method, pending) = match request {
            ClientAuthRequest::None => ("none", Pending::Other),
            ClientAuthRequest::Password(password) => {
                fields.put_bool(false);
                fields.put_string(password.as_bytes());
                ("password", Pending::Password)
            }
            ClientAuthRequest::PasswordChange { old, new } => {
                fields.put_bool(true);
                fields.put_string(old.as_bytes());
                fields.put_string(new.as_bytes());
                ("password", Pending::Password)
            }
            ClientAuthRequest::PublicKeyQuery { key, algorithm } => {
                put_key(&mut fields, false, key, algorithm);
                ("publickey", Pending::Query { key: key.to_vec(), algorithm: (*algorithm).to_owned() })
            }
            ClientAuthRequest::Signed { what, signature } => {
                what.put_fields(&mut fields);
                fields.put_string(signature);
                (what.method(), Pending::Other)
            }
            ClientAuthRequest::KeyboardInteractive => {
                // No language and no device of the client's choice.
                fields.put_string(b"");
                fields.put_string(b"");
                ("keyboard-interactive", Pending::KeyboardInteractive)
            }
            ClientAuthRequest::InfoResponse(answers) => {
                for answer in *answers {
                    fields.put_string(answer.as_bytes());
                }
                let count = u32::try_from(answers.len()).unwrap_or(u32::MAX);
                self.pending = Some(Pending::KeyboardInteractive);
                return out.send(|buffer| {
                    UserAuthInfoResponse { count, responses: Rest(&fields) }.encode(buffer);
                });
            }
        };
        self.pending = Some(pending);
        let user = self.user.as_str();
        out.send(|buffer| {
            UserAuthRequest { user, service: CONNECTION_SERVICE, method, fields: Rest(&fields) }
                .encode(buffer);
        })
    }

    /// What a signature has to cover (RFC 4252 §7 and §9): the session id, and the request up to the signature.
    pub(crate) fn data_to_sign(&self, session_id: &[u8], what: &ToSign<'_>) -> Zeroizing<Vec<u8>> {
        let mut fields = Vec::with_capacity(1024);
        what.put_fields(&mut fields);
        let (user, method) = (self.user.as_str(), what.method());
        // Room for all of it, so that no copy of the session id, which is secret here, is left behind by growing.
        let texts = [session_id.len(), user.len(), CONNECTION_SERVICE.len(), method.len(), fields.len()];
        let room = texts.into_iter().fold(1_usize, |sum, len| sum.saturating_add(len).saturating_add(4));
        let mut data = Zeroizing::new(Vec::with_capacity(room));
        data.put_string(session_id);
        UserAuthRequest { user, service: CONNECTION_SERVICE, method, fields: Rest(&fields) }
            .encode(&mut data);
        data
    }

    /// A message with a number of services or authentication.
    pub(crate) fn handle(&mut self, payload: &[u8], from_dev_tunnels: bool) -> Result<ClientProgress, Error> {
        let number = payload.first().copied().unwrap_or_default();
        let unexpected = PeerMisbehaved::UnexpectedMessage(number);
        if number == ServiceAccept::NUMBER {
            if self.service != ServiceState::Asked {
                return Err(unexpected.into());
            }
            ServiceAccept::decode(payload)?;
            self.service = ServiceState::Accepted;
            let waited = std::mem::take(&mut self.waits_for_service);
            return Ok(if waited { ClientProgress::Ready } else { ClientProgress::Nothing });
        }
        if number == UserAuthBanner::NUMBER {
            let message = UserAuthBanner::decode(payload)?;
            return Ok(ClientProgress::Banner(clean_text(message.text, MAX_BANNER_LEN, MAX_BANNER_LINES)));
        }
        let pending =
            self.pending.take().filter(|_| self.service == ServiceState::Accepted).ok_or(unexpected)?;
        let reply = match (number, pending) {
            (UserAuthSuccess::NUMBER, _) => {
                UserAuthSuccess::decode(payload)?;
                AuthReply::Success
            }
            (UserAuthFailure::NUMBER, _) => {
                let message = UserAuthFailure::decode(payload)?;
                let methods = message.methods.iter().map(str::to_owned).collect();
                AuthReply::Failure { methods, partial_success: message.partial_success }
            }
            (UserAuthPkOk::NUMBER, Pending::Query { key, algorithm }) => {
                let message = UserAuthPkOk::decode(payload)?;
                if !is_asked_about(&message, &key, &algorithm) {
                    return Err(PeerMisbehaved::PkOkMismatch.into());
                }
                AuthReply::PkOk
            }
            (UserAuthPasswdChangeReq::NUMBER, Pending::Password) => {
                let message = UserAuthPasswdChangeReq::decode(payload)?;
                AuthReply::ChangePassword {
                    prompt: clean_text(message.prompt, MAX_BANNER_LEN, MAX_BANNER_LINES),
                }
            }
            (UserAuthInfoRequest::NUMBER, Pending::KeyboardInteractive) => {
                AuthReply::InfoRequest(InfoRequest::decode(payload, from_dev_tunnels)?)
            }
            _ => return Err(unexpected.into()),
        };
        Ok(ClientProgress::Reply(reply))
    }
}

/// Whether PK_OK names the very key and algorithm of the query (RFC 4252 §7).
fn is_asked_about(message: &UserAuthPkOk<'_>, key: &[u8], algorithm: &str) -> bool {
    // Dev Tunnels' Go servers name the key's type where the algorithm belongs.
    let same_algorithm = message.algorithm == algorithm
        || Reader::new(key).string().is_ok_and(|kind| kind == message.algorithm.as_bytes());
    // An RSA key is the same whatever type its blob names (RFC 8332 §3).
    let same_key =
        || matches!((PublicKey::from_blob(message.key), PublicKey::from_blob(key)), (Ok(a), Ok(b)) if a == b);
    same_algorithm && (message.key == key || same_key())
}

fn put_key(fields: &mut Vec<u8>, signed: bool, key: &[u8], algorithm: &str) {
    fields.put_bool(signed);
    fields.put_string(algorithm.as_bytes());
    fields.put_string(key);
}

/// Room for all fields, so that no copy of a secret is left behind by a growing buffer.
fn room_for(request: &ClientAuthRequest<'_>) -> usize {
    let secrets = match request {
        ClientAuthRequest::Password(password) => password.len(),
        ClientAuthRequest::PasswordChange { old, new } => old.len().saturating_add(new.len()),
        ClientAuthRequest::InfoResponse(answers) => {
            answers.iter().fold(0, |sum: usize, answer| sum.saturating_add(answer.len()).saturating_add(4))
        }
        _ => 1024,
    };
    secrets.saturating_add(16)
}

/// A banner is cut after so many lines.
const MAX_BANNER_LINES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_never_moved_while_it_is_put_together() {
        let auth = ClientAuth::new("ada".repeat(80));
        for len in [0, 51, 2000] {
            let key = vec![7; len];
            for what in [
                ToSign::PublicKey { key: &key, algorithm: "ssh-ed25519" },
                ToSign::HostBased { key: &key, algorithm: "a", client_host: "host", client_user: "user" },
            ] {
                let data = auth.data_to_sign(&[1; 64], &what);
                // What had grown would have room for twice as much as it held before.
                assert!(data.capacity() - data.len() <= 4, "{} of {}", data.len(), data.capacity());
            }
        }
    }
}
