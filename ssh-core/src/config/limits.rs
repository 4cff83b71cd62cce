use std::time::Duration;

/// What a session may cost. Every limit is enforced; reaching one is reported by name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// From the first byte to the end of authentication. 30 s.
    pub login: Duration,
    /// A key exchange during the session, from when it is heard that the peer has begun it too; up to 20 times as long
    /// while the peer still acts on what was sent before. 30 s.
    pub key_exchange: Duration,
    /// Bytes that a peer may send before it is authenticated. 512 KiB.
    pub pre_auth_bytes: u64,
    /// Packets that a peer may send before it is authenticated. 1000.
    pub pre_auth_packets: u64,
    /// Failed authentication attempts of any method before a server disconnects. A `none` that is refused counts too, unless
    /// it is a client's first request: everybody asks that way for the methods (RFC 4252 §5.2). 5.
    pub auth_attempts: u32,
    /// A failed attempt is answered at a multiple of this after it came. 100 ms.
    pub auth_failure_delay: Duration,
    /// Attempts and keyboard-interactive answers of any kind, accepted queries and the first `none` included, before a
    /// server disconnects. 40.
    pub auth_requests: u32,
    /// Rounds of one keyboard-interactive conversation. 16.
    pub auth_rounds: u32,
    /// How long a server's application may take to decide on one attempt. 10 s.
    pub auth_decision: Duration,
    /// `packet_length` of a packet under encryption, or in a session without any. 256 KiB.
    pub packet_bytes: u32,
    /// Channels at once, whichever side opened them, including those being opened and those that were given up before the
    /// peer had answered. Past it the peer's are refused, and our own fail with
    /// [`TooManyChannels`](crate::OpenError::TooManyChannels). 256.
    pub channels: usize,
    /// Channels that are refused, or that the peer opens and closes without having sent anything, in 5 s; a flood of them ends
    /// the session. 5000; `None` counts none, for a peer that carries the channels of many and holds each of them to it.
    pub abandoned_channels: Option<u32>,
    /// The window that a new channel gets while there is room, in bytes. 1 MiB.
    pub channel_window: u32,
    /// What a channel's window may grow to, in bytes. 16 MiB. Where a peer that is Dev Tunnels' Go library may come back,
    /// windows stay as they begin: what it can say again is limited.
    pub max_channel_window: u32,
    /// All windows of the session together, in bytes; past it new channels get 64 KiB. 16 MiB.
    pub session_window: u32,
    /// Data in one packet that we accept, in bytes. 32 KiB.
    pub channel_packet: u32,
    /// Requests of the peer that wait for our answer, per channel and for the session. 64.
    pub pending_requests: usize,
    /// Bytes under one key, each way, before a new key exchange. 512 MiB.
    pub rekey_bytes: u64,
    /// Packets under one key, each way, before a new key exchange. 2^31.
    pub rekey_packets: u64,
    /// Time under one key. Off by default, because some peers cannot answer a key exchange that they did not start.
    pub rekey_after: Option<Duration>,
    /// After this long without a byte from the peer it is asked for a sign of life. 20 s; `None` never asks.
    pub keepalive: Option<Duration>,
    /// Unanswered signs of life before the session is given up. 3.
    pub keepalive_misses: u32,
    /// Whether the log tells of messages with channel data as it does of the others; their content is in none. Off.
    pub trace_channel_data: bool,
}

/// A limit that cannot be changed so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// There is none of this name.
    #[error("there is no such limit; there are {}", Limits::NAMES.join(", "))]
    Unknown,
    /// The value is 0, or more than this.
    #[error("the value has to be from 1 to {0}")]
    Value(u64),
}

macro_rules! limits_by_name {
    ($($name:ident: $kind:ident,)*) => {
        impl Limits {
            /// The names that [`set`](Self::set) takes.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Changes the limit of this name, which is that of its field: a count, a number of bytes, or of seconds, or of
            /// milliseconds for `auth_failure_delay`.
            ///
            /// # Errors
            /// [`LimitError`]; nothing has changed then.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $(stringify!($name) => self.$name = $kind(value)?,)*
                    _ => return Err(LimitError::Unknown),
                }
                Ok(())
            }
        }
    };
}

limits_by_name! {
    login: seconds,
    key_exchange: seconds,
    pre_auth_bytes: long,
    pre_auth_packets: long,
    auth_attempts: short,
    auth_failure_delay: milliseconds,
    auth_requests: short,
    auth_rounds: short,
    auth_decision: seconds,
    packet_bytes: packet,
    channels: count,
    abandoned_channels: some_short,
    channel_window: short,
    max_channel_window: short,
    session_window: short,
    channel_packet: packet,
    pending_requests: count,
    rekey_bytes: long,
    rekey_packets: rekey_packets,
    rekey_after: some_seconds,
    keepalive: some_seconds,
    keepalive_misses: short,
}

fn long(value: u64) -> Result<u64, LimitError> {
    if value == 0 { Err(LimitError::Value(u64::MAX)) } else { Ok(value) }
}

fn short(value: u64) -> Result<u32, LimitError> {
    let value = u32::try_from(value).ok().filter(|value| *value > 0);
    value.ok_or(LimitError::Value(u32::MAX.into()))
}

fn some_short(value: u64) -> Result<Option<u32>, LimitError> {
    short(value).map(Some)
}

fn count(value: u64) -> Result<usize, LimitError> {
    usize::try_from(short(value)?).map_err(|_| LimitError::Value(u32::MAX.into()))
}

fn seconds(value: u64) -> Result<Duration, LimitError> {
    short(value).map(|seconds| Duration::from_secs(seconds.into()))
}

fn some_seconds(value: u64) -> Result<Option<Duration>, LimitError> {
    seconds(value).map(Some)
}

fn milliseconds(value: u64) -> Result<Duration, LimitError> {
    short(value).map(|milliseconds| Duration::from_millis(milliseconds.into()))
}

/// A packet is in memory as a whole.
fn packet(value: u64) -> Result<u32, LimitError> {
    short(value).ok().filter(|value| *value <= MAX_PACKET).ok_or(LimitError::Value(MAX_PACKET.into()))
}

/// A packet counter must not come round under one key.
fn rekey_packets(value: u64) -> Result<u64, LimitError> {
    long(value).ok().filter(|value| *value <= MAX_REKEY_PACKETS).ok_or(LimitError::Value(MAX_REKEY_PACKETS))
}

const MAX_PACKET: u32 = 16 * 1024 * 1024;
const MAX_REKEY_PACKETS: u64 = 1 << 31;

impl Default for Limits {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(30),
            key_exchange: Duration::from_secs(30),
            pre_auth_bytes: 512 * 1024,
            pre_auth_packets: 1000,
            auth_attempts: 5,
            auth_failure_delay: Duration::from_millis(100),
            auth_requests: 40,
            auth_rounds: 16,
            auth_decision: Duration::from_secs(10),
            packet_bytes: 256 * 1024,
            channels: 256,
            abandoned_channels: Some(5000),
            channel_window: 1024 * 1024,
            max_channel_window: 16 * 1024 * 1024,
            session_window: 16 * 1024 * 1024,
            channel_packet: 32 * 1024,
            pending_requests: 64,
            rekey_bytes: 512 * 1024 * 1024,
            rekey_packets: 1 << 31,
            rekey_after: None,
            keepalive: Some(Duration::from_secs(20)),
            keepalive_misses: 3,
            trace_channel_data: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_a_name_by_which_it_is_changed() {
        for name in Limits::NAMES {
            let mut limits = Limits::default();
            limits.set(name, 77).unwrap();
            assert_ne!(limits, Limits::default(), "{name}");
            assert!(matches!(limits.set(name, 0), Err(LimitError::Value(_))), "{name}");
            // As a `Debug` line shows the fields; the last one is no limit.
            assert!(format!("{limits:?}").contains(&format!("{name}: ")), "{name}");
        }
        let fields = format!("{:?}", Limits::default()).matches(": ").count();
        assert_eq!(Limits::NAMES.len(), fields - 1, "a limit has no name");
        let error = Limits::default().set("speed", 1).unwrap_err().to_string();
        assert!(error.contains("pre_auth_packets"), "{error}");
        assert!(Limits::default().set("rekey_packets", 1 << 32).is_err());
    }

    /// The values that are documented and promised.
    #[test]
    fn the_defaults_are_those_that_are_promised() {
        let limits = Limits::default();
        let seconds = Duration::from_secs;
        assert_eq!((limits.login, limits.key_exchange), (seconds(30), seconds(30)));
        assert_eq!((limits.pre_auth_bytes, limits.pre_auth_packets), (512 * 1024, 1000));
        assert_eq!((limits.auth_attempts, limits.auth_failure_delay), (5, Duration::from_millis(100)));
        assert_eq!((limits.packet_bytes, limits.channels), (256 * 1024, 256));
        assert_eq!(limits.abandoned_channels, Some(5000));
        let windows = (limits.channel_window, limits.max_channel_window, limits.session_window);
        assert_eq!(windows, (1 << 20, 16 << 20, 16 << 20));
        assert_eq!((limits.rekey_bytes, limits.rekey_packets), (512 << 20, 1 << 31));
        assert_eq!((limits.keepalive, limits.keepalive_misses), (Some(seconds(20)), 3));
        assert_eq!(limits.rekey_after, None);
    }
}
