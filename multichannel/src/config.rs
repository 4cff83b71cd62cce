use ssh_core::config::Limits;

/// What the channels may cost. The default suits a few hundred channels of any speed.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        let mut limits = Limits::default();
        limits.channels = CHANNELS;
        Self { limits }
    }
}

impl Config {
    /// The window of each channel, in bytes: what the other side may send that has not been read here. 0 means the
    /// default: 1 MiB at first, which grows to 16 MiB for a channel that needs it, and less for each channel when many
    /// are open. A window that is given here is that of every channel and stays as it is, so unread data may take this
    /// much memory for each of them.
    #[must_use]
    pub fn channel_window(mut self, window_bytes: u32) -> Self {
        let default = Limits::default();
        let limits = &mut self.limits;
        limits.channel_window = if window_bytes == 0 { default.channel_window } else { window_bytes };
        limits.max_channel_window = if window_bytes == 0 { default.max_channel_window } else { window_bytes };
        limits.session_window = if window_bytes == 0 { default.session_window } else { u32::MAX };
        self
    }

    /// Channels at once, whichever side opened them, including those being opened. Past it those of the other side are
    /// refused, and our own fail with [`OpenError::TooManyChannels`](crate::OpenError::TooManyChannels). 4096.
    #[must_use]
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.limits.channels = channels;
        self
    }

    /// All limits of the session, for those who need more than the above.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// An idle channel is cheap, so there may be many.
const CHANNELS: usize = 4096;
