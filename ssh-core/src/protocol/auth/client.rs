use zeroize::Zeroizing;

use super::{CONNECTION_SERVICE, USERAUTH_SERVICE};
use crate::crypto::SignatureAlgorithm;
use crate::error::{Error, PeerMisbehaved};
use crate::keys::PublicKey;
use crate::protocol::messages::{
    Rest, ServiceAccept, ServiceRequest, UserAuthBanner, UserAuthFailure, UserAuthPkOk, UserAuthRequest,
    UserAuthSuccess,
};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::Write as _;

/// The client's half: it sends what the application chooses and reports the answers, one at a time.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    user: String,
    service: ServiceState,
    pending: Option<Pending>,
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
    Query { key: PublicKey, algorithm: SignatureAlgorithm },
}

/// An attempt.
pub enum ClientAuthRequest<'a> {
    /// No credentials; the server answers with what it takes (RFC 4252 §5.2).
    None,
    /// RFC 4252 §8.
    Password(&'a str),
    /// Whether this key would do (RFC 4252 §7).
    PublicKeyQuery {
        /// The key.
        key: &'a PublicKey,
        /// The algorithm that it would sign with.
        algorithm: SignatureAlgorithm,
    },
    /// The signature over [`data_to_sign`](crate::protocol::Engine::auth_data_to_sign).
    PublicKey {
        /// The key.
        key: &'a PublicKey,
        /// The algorithm that it signed with.
        algorithm: SignatureAlgorithm,
        /// The inner signature blob of RFC 4253 §6.6.
        signature: &'a [u8],
    },
}

impl std::fmt::Debug for ClientAuthRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Password(_) => f.write_str("Password[..]"),
            Self::PublicKeyQuery { key, .. } => write!(f, "PublicKeyQuery({key:?})"),
            Self::PublicKey { key, .. } => write!(f, "PublicKey({key:?})"),
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
    /// The password is right but has to be changed first, which we do not do.
    ChangePassword,
}

impl ClientAuth {
    pub(crate) fn new(user: String) -> Self {
        Self { user, service: ServiceState::NotAsked, pending: None }
    }

    /// Asks for the authentication service. The first attempt may follow without waiting.
    pub(crate) fn start(&mut self, out: &mut Outbound) -> Result<(), Error> {
        self.service = ServiceState::Asked;
        out.send(|buffer| ServiceRequest { name: USERAUTH_SERVICE }.encode(buffer))
    }

    pub(crate) fn send(&mut self, request: &ClientAuthRequest<'_>, out: &mut Outbound) -> Result<(), Error> {
        let mut fields = Zeroizing::new(Vec::with_capacity(1024));
        let (method, pending) = match request {
            ClientAuthRequest::None => ("none", Pending::Other),
            ClientAuthRequest::Password(password) => {
                fields.put_bool(false);
                fields.put_string(password.as_bytes());
                ("password", Pending::Other)
            }
            ClientAuthRequest::PublicKeyQuery { key, algorithm } => {
                put_key(&mut fields, false, key, *algorithm);
                ("publickey", Pending::Query { key: (*key).clone(), algorithm: *algorithm })
            }
            ClientAuthRequest::PublicKey { key, algorithm, signature } => {
                put_key(&mut fields, true, key, *algorithm);
                let name = algorithm.name();
                fields.put_len(name.len().saturating_add(signature.len()).saturating_add(8));
                fields.put_string(name.as_bytes());
                fields.put_string(signature);
                ("publickey", Pending::Other)
            }
        };
        self.pending = Some(pending);
        let user = self.user.as_str();
        out.send(|buffer| {
            UserAuthRequest { user, service: CONNECTION_SERVICE, method, fields: Rest(&fields) }
                .encode(buffer);
        })
    }

    /// What a signature for the publickey method covers (RFC 4252 §7).
    pub(crate) fn data_to_sign(
        &self,
        session_id: &[u8],
        key: &PublicKey,
        algorithm: SignatureAlgorithm,
    ) -> Vec<u8> {
        let mut fields = Vec::with_capacity(512);
        put_key(&mut fields, true, key, algorithm);
        let mut data = Vec::with_capacity(1024);
        data.put_string(session_id);
        UserAuthRequest {
            user: &self.user,
            service: CONNECTION_SERVICE,
            method: "publickey",
            fields: Rest(&fields),
        }
        .encode(&mut data);
        data
    }

    /// A message with a number of services or authentication. `None` if there is nothing to report.
    pub(crate) fn handle(&mut self, payload: &[u8]) -> Result<Option<AuthReply>, Error> {
        let number = payload.first().copied().unwrap_or_default();
        let unexpected = PeerMisbehaved::UnexpectedMessage(number);
        if number == ServiceAccept::NUMBER {
            if self.service != ServiceState::Asked {
                return Err(unexpected.into());
            }
            ServiceAccept::decode(payload)?;
            self.service = ServiceState::Accepted;
            return Ok(None);
        }
        if number == UserAuthBanner::NUMBER {
            UserAuthBanner::decode(payload)?;
            return Ok(None);
        }
        let pending =
            self.pending.take().filter(|_| self.service == ServiceState::Accepted).ok_or(unexpected)?;
        match (number, pending) {
            (UserAuthSuccess::NUMBER, _) => {
                UserAuthSuccess::decode(payload)?;
                Ok(Some(AuthReply::Success))
            }
            (UserAuthFailure::NUMBER, _) => {
                let message = UserAuthFailure::decode(payload)?;
                let methods = message.methods.iter().map(str::to_owned).collect();
                Ok(Some(AuthReply::Failure { methods, partial_success: message.partial_success }))
            }
            (UserAuthPkOk::NUMBER, Pending::Query { key, algorithm }) => {
                let message = UserAuthPkOk::decode(payload)?;
                // Dev Tunnels' Go servers name the key's type where the algorithm belongs.
                let same_algorithm =
                    message.algorithm == algorithm.name() || message.algorithm == key.kind().name();
                if !same_algorithm || PublicKey::from_blob(message.key) != Ok(key) {
                    return Err(PeerMisbehaved::PkOkMismatch.into());
                }
                Ok(Some(AuthReply::PkOk))
            }
            // 60 for a password is a request to change it, which we do not do: the attempt has failed.
            (UserAuthPkOk::NUMBER, Pending::Other) => Ok(Some(AuthReply::ChangePassword)),
            _ => Err(unexpected.into()),
        }
    }
}

fn put_key(fields: &mut Vec<u8>, signed: bool, key: &PublicKey, algorithm: SignatureAlgorithm) {
    fields.put_bool(signed);
    fields.put_string(algorithm.name().as_bytes());
    fields.put_string(&key.to_blob());
}
