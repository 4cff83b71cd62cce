/// Which extensions of the protocol are offered (RFC 8308). The peer's silence switches each of them off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extensions {
    /// `open-channel-request@microsoft.com`: the first request of a channel travels with its open, which saves a round
    /// trip. On.
    pub open_channel_request: bool,
    /// `can-change-port`: this side copes with a forwarded port that is not the one it asked for. On.
    pub can_change_port: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Self { open_channel_request: true, can_change_port: true }
    }
}

impl Extensions {
    /// None of them.
    #[must_use]
    pub fn none() -> Self {
        Self { open_channel_request: false, can_change_port: false }
    }

    /// The names of those that are offered, as EXT_INFO has them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let table =
            [(self.open_channel_request, OPEN_CHANNEL_REQUEST), (self.can_change_port, CAN_CHANGE_PORT)];
        table.into_iter().filter_map(|(offered, name)| offered.then_some(name))
    }
}

/// EXT_INFO's name of [`Extensions::open_channel_request`].
pub const OPEN_CHANNEL_REQUEST: &str = "open-channel-request@microsoft.com";
/// EXT_INFO's name of [`Extensions::can_change_port`].
pub const CAN_CHANGE_PORT: &str = "can-change-port";
