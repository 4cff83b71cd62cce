use super::AuthReply;

/// Proof that a login is over. Only authentication makes it, and a key exchange that agreed on no security at all; the
/// connection protocol cannot be had without it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authenticated(());

impl Authenticated {
    /// The application has accepted the client, and SUCCESS is on its way.
    pub(super) fn by_server() -> Self {
        Self(())
    }

    /// The server has said SUCCESS to what we asked.
    pub(in crate::protocol) fn by_client(reply: &AuthReply) -> Option<Self> {
        (*reply == AuthReply::Success).then_some(Self(()))
    }

    /// Both sides have asked for no security: there is nobody to authenticate to.
    pub(in crate::protocol) fn without_security() -> Self {
        Self(())
    }
}
