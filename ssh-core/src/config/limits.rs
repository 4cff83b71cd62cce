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
    /// Failed authentication attempts of any method before a server disconnects. 5.
    pub auth_attempts: u32,
    /// A failed attempt is answered at a multiple of this after it came. 100 ms.
    pub auth_failure_delay: Duration,
    /// Attempts and keyboard-interactive answers of any kind, accepted queries included, before a server disconnects.
    /// 40.
    pub auth_requests: u32,
    /// Rounds of one keyboard-interactive conversation. 16.
    pub auth_rounds: u32,
    /// How long a server's application may take to decide on one attempt. 10 s.
    pub auth_decision: Duration,
    /// `packet_length` of a packet under encryption. 256 KiB.
    pub packet_bytes: u32,
    /// Channels at once, including those being opened. 256.
    pub channels: usize,
    /// The window that a new channel gets while there is room, in bytes. 1 MiB.
    pub channel_window: u32,
    /// What a channel's window may grow to, in bytes. 16 MiB.
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
