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
    /// This side cannot listen for a forwarded port.
    PortForwardServerListenFailed = 9051,
    /// The peer asked to forward what it may not.
    PortForwardRequestInvalid = 9052,
    /// The peer opened a forwarding channel to what it may not, or to what nobody asked for.
    PortForwardChannelInvalid = 9053,
    /// The peer did not take a forwarding channel.
    PortForwardChannelOpenFailed = 9054,
    /// A forwarded connection could not be made, or broke.
    PortForwardConnectionFailed = 9055,
    /// A keepalive could not be sent.
    KeepAliveFailed = 9062,
    /// The peer asked for a sign of life.
    KeepAliveRequestReceived = 9063,
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
    /// The peer sends no more data on a channel.
    ChannelEofReceived = 9122,
    /// A channel is closed.
    ChannelClosed = 9123,
    /// A forwarded port is listened on.
    PortForwardServerListening = 9152,
    /// Somebody connected to a forwarded port.
    PortForwardConnectionAccepted = 9153,
    /// A forwarded connection goes through.
    PortForwardConnectionOpened = 9156,
    /// A forwarded connection has ended.
    PortForwardConnectionClosed = 9157,
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

/// What the log of a test's own thread tells.
#[cfg(test)]
pub(crate) mod capture {
    use std::cell::RefCell;
    use std::sync::Once;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Metadata, Subscriber, span};

    thread_local! {
        static NUMBERS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    struct Numbers;

    struct Number;

    impl Visit for Number {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "event" {
                NUMBERS.with_borrow_mut(|numbers| numbers.push(value));
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for Numbers {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut Number);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// The numbers that `run` tells.
    pub(crate) fn numbers(run: impl FnOnce()) -> Vec<u64> {
        static ONCE: Once = Once::new();
        // Another test of the process may have been first, with the same.
        ONCE.call_once(|| drop(tracing::subscriber::set_global_default(Numbers)));
        NUMBERS.with_borrow_mut(Vec::clear);
        run();
        NUMBERS.with_borrow_mut(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_reference() {
        let numbers: Vec<u16> = TraceEvent::ALL.iter().map(|event| event.id()).collect();
        let reference = [
            9000, 9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008, 9009, 9010, 9020, 9021, 9022, 9023, 9024,
            9025, 9051, 9052, 9053, 9054, 9055, 9062, 9063, 9064, 9100, 9101, 9102, 9103, 9104, 9110, 9111,
            9112, 9113, 9114, 9120, 9121, 9122, 9123, 9152, 9153, 9156, 9157, 9160, 9161, 9162, 9170,
        ];
        assert_eq!(numbers, reference);
    }
}
