//! What the peer is told: the reason codes of SSH_MSG_DISCONNECT (RFC 4253 §11.1).

use super::{AuthFailure, Error, PeerIncompatible, PeerMisbehaved, Timeout};
use crate::protocol::ReconnectFailure;

/// The reason code of SSH_MSG_DISCONNECT (RFC 4253 §11.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DisconnectReason(pub u32);

#[expect(missing_docs, reason = "the names are the RFC's")]
impl DisconnectReason {
    /// Dev Tunnels' normal end.
    pub const NONE: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(2);
    pub const KEY_EXCHANGE_FAILED: Self = Self(3);
    pub const MAC_ERROR: Self = Self(5);
    pub const SERVICE_NOT_AVAILABLE: Self = Self(7);
    pub const PROTOCOL_VERSION: Self = Self(8);
    pub const HOST_KEY_NOT_VERIFIABLE: Self = Self(9);
    pub const CONNECTION_LOST: Self = Self(10);
    pub const BY_APPLICATION: Self = Self(11);
    pub const TOO_MANY_CONNECTIONS: Self = Self(12);
    pub const AUTH_CANCELLED_BY_USER: Self = Self(13);
    pub const NO_MORE_AUTH_METHODS: Self = Self(14);
}

impl Error {
    /// What the peer is told, or `None` if there is nobody to tell.
    #[must_use]
    pub fn disconnect_reason(&self) -> Option<DisconnectReason> {
        use DisconnectReason as R;
        match self {
            Self::Io(_) | Self::Disconnected { .. } => None,
            Self::ClosedWith { reason, .. } => Some(*reason),
            Self::PeerMisbehaved(rule) => Some(rule.disconnect_reason()),
            Self::PeerIncompatible(PeerIncompatible::Version(_)) => Some(R::PROTOCOL_VERSION),
            Self::PeerIncompatible(_) => Some(R::KEY_EXCHANGE_FAILED),
            Self::HostKey(_) | Self::Reconnect(ReconnectFailure::DifferentHostKey) => {
                Some(R::HOST_KEY_NOT_VERIFIABLE)
            }
            Self::Reconnect(ReconnectFailure::HandedOver) => None,
            Self::Reconnect(_) => Some(R::BY_APPLICATION),
            Self::Auth(AuthFailure::Cancelled) | Self::Policy(_) => Some(R::AUTH_CANCELLED_BY_USER),
            Self::Auth(_) => Some(R::NO_MORE_AUTH_METHODS),
            Self::Timeout(Timeout::KeepAlive) => Some(R::CONNECTION_LOST),
            Self::Timeout(_) | Self::Closed | Self::ApiMisuse(_) | Self::Bug(_) | Self::Crypto(_) => {
                Some(R::BY_APPLICATION)
            }
        }
    }

    /// The words that go with [`disconnect_reason`](Self::disconnect_reason). They tell nothing about our side
    /// but which rule or limit it was.
    #[must_use]
    pub fn disconnect_text(&self) -> String {
        match self {
            Self::PeerMisbehaved(rule) => rule.to_string(),
            Self::PeerIncompatible(why) => why.to_string(),
            Self::HostKey(_) => "host key not accepted".into(),
            Self::Auth(_) => "authentication failed".into(),
            Self::Policy(_) => "authentication cancelled".into(),
            Self::Timeout(what) => what.to_string(),
            Self::Reconnect(why) => why.to_string(),
            Self::Closed => "closed by application".into(),
            Self::ClosedWith { text, .. } => text.to_string(),
            _ => "internal error".into(),
        }
    }
}

impl PeerMisbehaved {
    pub(super) fn disconnect_reason(self) -> DisconnectReason {
        use DisconnectReason as R;
        match self {
            Self::BadVersionLine => R::PROTOCOL_VERSION,
            Self::BadMac => R::MAC_ERROR,
            Self::BadKexShare
            | Self::BadHostSignature
            | Self::BadHostKey(_)
            | Self::BadHostCertificate(_)
            | Self::HostKeyChanged => R::KEY_EXCHANGE_FAILED,
            Self::TooManyAuthAttempts => R::NO_MORE_AUTH_METHODS,
            Self::UnknownService => R::SERVICE_NOT_AVAILABLE,
            _ => R::PROTOCOL_ERROR,
        }
    }
}
