use crate::protocol::messages::{GlobalRequest, RequestFailure, RequestSuccess, Rest};
use crate::protocol::wire::{Reader, WireError, Write as _};

use super::RECONNECT;

/// Why a session was not resumed. The numbers below 100 are the server's and go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReconnectFailure {
    /// 1: the server did not say why.
    #[error("the server could not resume the session")]
    UnknownServer,
    /// 2: the server does not have the session, or the token did not prove that it is ours.
    #[error("the server does not have the session any more")]
    SessionNotFound,
    /// 3: the token is wrong. We never say so: it would tell that there is something to guess.
    #[error("the server refused our proof for the session")]
    InvalidClientToken,
    /// 4: the server does not have the messages any more that we miss.
    #[error("the server no longer has what was lost")]
    ServerDroppedMessages,
    /// 101: something else went wrong on the client.
    #[error("the session could not be resumed")]
    UnknownClient,
    /// 102: the server has another host key than the session began with.
    #[error("the server has another host key than before")]
    DifferentHostKey,
    /// 103: the server could not prove that it has the session.
    #[error("the server could not prove that it has the session")]
    InvalidServerToken,
    /// 104: we do not have the messages any more that the server misses.
    #[error("this side no longer has what was lost")]
    ClientDroppedMessages,
    /// Local: the last reconnect was cut off before its answer, and this peer's protocol cannot tell whether it happened.
    #[error("the last reconnect was cut off before its answer, and the server cannot tell how far it got")]
    Unanswered,
    /// Local: the session has no stream and nobody came back for it in time.
    #[error("nobody came back for the session in time")]
    Expired,
    /// Local: too many sessions wait, and this was the oldest.
    #[error("the session had to give way to newer ones")]
    Evicted,
    /// Local: the peer acknowledges nothing, and what it has not acknowledged fills the memory that there is for it.
    #[error("too much is waiting for the peer's acknowledgement")]
    Overflow,
    /// Local: the session has a stream, is over, or cannot be resumed at all.
    #[error("there is nothing to resume")]
    NotResumable,
    /// Local: whoever resumes may not any more.
    #[error("the user may not resume the session any more")]
    Revoked,
    /// Local: the stream of this connection now carries the session that it asked for.
    #[error("the connection now belongs to the session that it resumed")]
    HandedOver,
}

impl ReconnectFailure {
    /// Its number, as the protocol has it.
    #[must_use]
    pub const fn code(self) -> u32 {
        match self {
            Self::HandedOver => 0,
            Self::UnknownServer | Self::Expired | Self::Evicted | Self::Overflow => 1,
            Self::SessionNotFound | Self::Revoked => 2,
            Self::InvalidClientToken => 3,
            Self::ServerDroppedMessages => 4,
            Self::UnknownClient | Self::NotResumable => 101,
            Self::DifferentHostKey => 102,
            Self::InvalidServerToken => 103,
            Self::ClientDroppedMessages | Self::Unanswered => 104,
        }
    }

    const fn from_code(code: u32) -> Self {
        match code {
            2 => Self::SessionNotFound,
            3 => Self::InvalidClientToken,
            4 => Self::ServerDroppedMessages,
            _ => Self::UnknownServer,
        }
    }
}

/// Where a session is found without looking at all of them: a hash of its id, sent only under encryption and only between
/// Adit peers. It is no proof.
pub type SessionIndex = [u8; 16];

/// How much of the other's messages a side has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The number of the last packet on the connection that is replaced, in that connection's numbers.
    pub(crate) sequence: u64,
    /// Messages of the session, over all connections. Between Adit peers.
    pub(crate) count: Option<u64>,
}

/// The client's `session-reconnect@microsoft.com`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ReconnectRequest {
    pub(crate) token: Vec<u8>,
    pub(crate) position: Position,
    /// Between Adit peers.
    pub(crate) index: Option<SessionIndex>,
}

/// Tokens stay out of logs.
impl std::fmt::Debug for ReconnectRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReconnectRequest").field("position", &self.position).finish_non_exhaustive()
    }
}

/// No MAC is longer, in bytes.
const MAX_TOKEN: usize = 64;

impl ReconnectRequest {
    /// Appends the request. Our own fields come behind those that everybody knows.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut fields = Vec::new();
        fields.put_string(&self.token);
        fields.put_u64(self.position.sequence);
        if let (Some(index), Some(count)) = (&self.index, self.position.count) {
            fields.put_string(index);
            fields.put_u64(count);
        }
        GlobalRequest { name: RECONNECT, want_reply: true, fields: Rest(&fields) }.encode(out);
    }

    /// `None` if it is another request, or its token is longer than any.
    pub(crate) fn decode(payload: &[u8]) -> Result<Option<Self>, WireError> {
        let request = GlobalRequest::decode(payload)?;
        if request.name != RECONNECT {
            return Ok(None);
        }
        let mut reader = Reader::new(request.fields.0);
        let token = reader.string()?;
        // The length is not worth an error of its own: a token of another length is a wrong token.
        let token = if token.len() > MAX_TOKEN { Vec::new() } else { token.to_vec() };
        let sequence = reader.u64()?;
        let (index, count) = if reader.is_empty() {
            (None, None)
        } else {
            let index = reader.string()?.try_into().map_err(|_| WireError::BadValue)?;
            (Some(index), Some(reader.u64()?))
        };
        Ok(Some(Self { token, position: Position { sequence, count }, index }))
    }
}

/// The server's SSH_MSG_REQUEST_SUCCESS.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) token: Vec<u8>,
    pub(crate) position: Position,
}

/// Tokens stay out of logs.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("position", &self.position).finish_non_exhaustive()
    }
}

impl Answer {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut fields = Vec::new();
        fields.put_string(&self.token);
        fields.put_u64(self.position.sequence);
        if let Some(count) = self.position.count {
            fields.put_u64(count);
        }
        RequestSuccess { fields: Rest(&fields) }.encode(out);
    }

    pub(crate) fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let answer = RequestSuccess::decode(payload)?;
        let mut reader = Reader::new(answer.fields.0);
        let token = reader.string_max(MAX_TOKEN)?.to_vec();
        let sequence = reader.u64()?;
        let count = if reader.is_empty() { None } else { Some(reader.u64()?) };
        Ok(Self { token, position: Position { sequence, count } })
    }
}

/// Appends the server's SSH_MSG_REQUEST_FAILURE.
pub(crate) fn put_failure(failure: ReconnectFailure, out: &mut Vec<u8>) {
    // Whatever is wrong with a request that proves nothing looks the same from outside.
    let failure = match failure.code() {
        4 => ReconnectFailure::ServerDroppedMessages,
        1 => ReconnectFailure::UnknownServer,
        _ => ReconnectFailure::SessionNotFound,
    };
    let mut fields = Vec::new();
    fields.put_u32(failure.code());
    fields.put_string(failure.to_string().as_bytes());
    fields.put_string(b"");
    RequestFailure { fields: Rest(&fields) }.encode(out);
}

/// What the server said no with. Its fields may be missing.
pub(crate) fn read_failure(payload: &[u8]) -> ReconnectFailure {
    let fields = payload.get(1..).unwrap_or_default();
    Reader::new(fields).u32().map_or(ReconnectFailure::UnknownServer, ReconnectFailure::from_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_fields_stand_behind_those_that_everybody_knows() {
        let request = ReconnectRequest {
            token: vec![7; 32],
            position: Position { sequence: 9, count: Some(3) },
            index: Some([1; 16]),
        };
        let (mut ours, mut plain) = (Vec::new(), Vec::new());
        request.encode(&mut ours);
        ReconnectRequest {
            index: None,
            position: Position { count: None, ..request.position },
            ..request.clone()
        }
        .encode(&mut plain);
        assert!(ours.starts_with(&plain));
        assert_eq!(ReconnectRequest::decode(&ours), Ok(Some(request)));
        assert!(ReconnectRequest::decode(&ours[..ours.len() - 1]).is_err());
    }

    #[test]
    fn an_empty_refusal_is_an_unknown_failure() {
        assert_eq!(read_failure(&[82]), ReconnectFailure::UnknownServer);
        assert_eq!(read_failure(&[82, 0, 0, 0, 3]), ReconnectFailure::InvalidClientToken);
        for (failure, code) in [
            (ReconnectFailure::InvalidClientToken, ReconnectFailure::SessionNotFound),
            (ReconnectFailure::Revoked, ReconnectFailure::SessionNotFound),
            (ReconnectFailure::ServerDroppedMessages, ReconnectFailure::ServerDroppedMessages),
        ] {
            let mut payload = Vec::new();
            put_failure(failure, &mut payload);
            assert_eq!(read_failure(&payload), code);
        }
    }
}
