//! The numbers of trace events, which are part of the contract of the Dev Tunnels SSH libraries. Events of `tracing` carry
//! them in the field `event`.

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// A numbered trace event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum TraceEvent {
            $($(#[$doc])* $name = $number,)*
        }

        impl TraceEvent {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

events! {
    /// An error that has no number of its own.
    UnknownError = 9000,
    /// Reading from the stream failed.
    StreamReadError = 9001,
    /// Writing to the stream failed.
    StreamWriteError = 9002,
    /// Closing the stream failed.
    StreamCloseError = 9003,
    /// A message could not be sent.
    SendMessageFailed = 9004,
    /// A message could not be received.
    ReceiveMessageFailed = 9005,
    /// A message could not be acted on.
    HandleMessageFailed = 9006,
    /// The host key was refused.
    ServerAuthenticationFailed = 9007,
    /// The client was refused.
    ClientAuthenticationFailed = 9008,
    /// Authentication itself failed.
    AuthenticationError = 9009,
    /// A window could not be adjusted.
    ChannelWindowAdjustFailed = 9010,
    /// Reconnecting could not be switched on.
    SessionReconnectInitFailed = 9020,
    /// A server could not take a session up again.
    ServerSessionReconnectFailed = 9021,
    /// A client could not take its session up again.
    ClientSessionReconnectFailed = 9022,
    /// A request of the session failed.
    SessionRequestFailed = 9023,
    /// A request on a channel failed.
    ChannelRequestFailed = 9024,
    /// A channel could not be closed.
    ChannelCloseFailed = 9025,
    /// A keepalive could not be sent.
    KeepAliveFailed = 9062,
    /// The peer did not answer a keepalive.
    KeepAliveResponseNotReceived = 9064,
    /// The peer's version.
    ProtocolVersion = 9100,
    /// A message other than channel data was sent.
    SendingMessage = 9101,
    /// A message other than channel data was received.
    ReceivingMessage = 9102,
    /// Channel data was sent.
    SendingChannelData = 9103,
    /// Channel data was received.
    ReceivingChannelData = 9104,
    /// The keys are in use.
    SessionEncrypted = 9110,
    /// Authentication begins.
    SessionAuthenticating = 9111,
    /// Authentication is done.
    SessionAuthenticated = 9112,
    /// The session ends.
    SessionClosing = 9113,
    /// The session begins.
    SessionConnecting = 9114,
    /// A channel is open.
    ChannelOpened = 9120,
    /// A channel did not open.
    ChannelOpenFailed = 9121,
    /// A channel is closed.
    ChannelClosed = 9123,
    /// The session lost its stream and may be taken up again.
    SessionDisconnected = 9160,
    /// A client takes its session up again.
    ClientSessionReconnecting = 9161,
    /// A server takes a session up again.
    ServerSessionReconnecting = 9162,
    /// Both offers and what was chosen.
    AlgorithmNegotiation = 9170,
}

impl TraceEvent {
    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }
}
