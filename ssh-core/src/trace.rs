//! The numbers of trace events, which are part of the contract of the Dev Tunnels SSH libraries. Events of `tracing` carry
//! them in the field `event`.
//!
//! Of those libraries' levels, verbose is `debug` for what a channel or a forwarded connection goes through and `trace` for
//! single messages. What ends a session or costs somebody their data is an error, what is made good or refused a warning.

use tracing::Level;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $number:literal $level:ident,)*) => {
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

            /// How much it matters.
            #[must_use]
            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)*
                }
            }
        }
    };
}

events! {
    /// An error that has no number of its own.
    UnknownError = 9000 ERROR,
    /// Reading from the stream failed.
    StreamReadError = 9001 ERROR,
    /// Writing to the stream failed.
    StreamWriteError = 9002 ERROR,
    /// Closing the stream failed.
    StreamCloseError = 9003 WARN,
    /// A message could not be sent.
    SendMessageFailed = 9004 ERROR,
    /// A message could not be received.
    ReceiveMessageFailed = 9005 ERROR,
    /// A message could not be acted on.
    HandleMessageFailed = 9006 ERROR,
    /// The host key was refused.
    ServerAuthenticationFailed = 9007 ERROR,
    /// The client was refused.
    ClientAuthenticationFailed = 9008 WARN,
    /// Authentication itself failed.
    AuthenticationError = 9009 ERROR,
    /// A window could not be adjusted.
    ChannelWindowAdjustFailed = 9010 ERROR,
    /// Reconnecting could not be switched on.
    SessionReconnectInitFailed = 9020 WARN,
    /// A server could not take a session up again.
    ServerSessionReconnectFailed = 9021 WARN,
    /// A client could not take its session up again.
    ClientSessionReconnectFailed = 9022 WARN,
    /// A request of the session failed.
    SessionRequestFailed = 9023 WARN,
    /// A request on a channel failed.
    ChannelRequestFailed = 9024 WARN,
    /// A channel could not be closed.
    ChannelCloseFailed = 9025 WARN,
    /// This side cannot listen for a forwarded port.
    PortForwardServerListenFailed = 9051 ERROR,
    /// The peer asked to forward what it may not.
    PortForwardRequestInvalid = 9052 WARN,
    /// The peer opened a forwarding channel to what it may not, or to what nobody asked for.
    PortForwardChannelInvalid = 9053 WARN,
    /// The peer did not take a forwarding channel.
    PortForwardChannelOpenFailed = 9054 WARN,
    /// A forwarded connection could not be made, or broke.
    PortForwardConnectionFailed = 9055 WARN,
    /// A keepalive could not be sent.
    KeepAliveFailed = 9062 WARN,
    /// The peer asked for a sign of life.
    KeepAliveRequestReceived = 9063 TRACE,
    /// The peer did not answer a keepalive.
    KeepAliveResponseNotReceived = 9064 WARN,
    /// The peer's version.
    ProtocolVersion = 9100 INFO,
    /// A message other than channel data was sent.
    SendingMessage = 9101 TRACE,
    /// A message other than channel data was received.
    ReceivingMessage = 9102 TRACE,
    /// Channel data was sent.
    SendingChannelData = 9103 TRACE,
    /// Channel data was received.
    ReceivingChannelData = 9104 TRACE,
    /// The keys are in use.
    SessionEncrypted = 9110 INFO,
    /// Authentication begins.
    SessionAuthenticating = 9111 INFO,
    /// Authentication is done.
    SessionAuthenticated = 9112 INFO,
    /// The session ends.
    SessionClosing = 9113 INFO,
    /// The session begins.
    SessionConnecting = 9114 INFO,
    /// A channel is open.
    ChannelOpened = 9120 DEBUG,
    /// A channel did not open.
    ChannelOpenFailed = 9121 WARN,
    /// The peer sends no more data on a channel.
    ChannelEofReceived = 9122 DEBUG,
    /// A channel is closed.
    ChannelClosed = 9123 DEBUG,
    /// A forwarded port is listened on.
    PortForwardServerListening = 9152 INFO,
    /// Somebody connected to a forwarded port.
    PortForwardConnectionAccepted = 9153 DEBUG,
    /// A forwarded connection goes through.
    PortForwardConnectionOpened = 9156 DEBUG,
    /// A forwarded connection has ended.
    PortForwardConnectionClosed = 9157 DEBUG,
    /// The session lost its stream and may be taken up again.
    SessionDisconnected = 9160 WARN,
    /// A client takes its session up again.
    ClientSessionReconnecting = 9161 INFO,
    /// A server takes a session up again.
    ServerSessionReconnecting = 9162 INFO,
    /// Both offers and what was chosen.
    AlgorithmNegotiation = 9170 DEBUG,
}

impl TraceEvent {
    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }
}

/// Logs an event under its number and at its level; its name, then as for the macros of `tracing`.
macro_rules! tell {
    ($event:ident, $($rest:tt)*) => {
        tracing::event!(
            $crate::trace::TraceEvent::$event.level(),
            event = $crate::trace::TraceEvent::$event.id(),
            $($rest)*
        )
    };
}
pub(crate) use tell;

/// As [`tell!`], for an event that is known only when it comes.
macro_rules! tell_any {
    ($event:expr, $($rest:tt)*) => {{
        let event: $crate::trace::TraceEvent = $event;
        match event.level() {
            tracing::Level::ERROR => tracing::error!(event = event.id(), $($rest)*),
            tracing::Level::WARN => tracing::warn!(event = event.id(), $($rest)*),
            tracing::Level::INFO => tracing::info!(event = event.id(), $($rest)*),
            tracing::Level::DEBUG => tracing::debug!(event = event.id(), $($rest)*),
            tracing::Level::TRACE => tracing::trace!(event = event.id(), $($rest)*),
        }
    }};
}
pub(crate) use tell_any;

/// What the log of a test's own thread tells.
#[cfg(test)]
pub(crate) mod capture {
    use std::cell::RefCell;
    use std::sync::Once;

    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Metadata, Subscriber, span};

    thread_local! {
        static TOLD: RefCell<Vec<(u64, Level)>> = const { RefCell::new(Vec::new()) };
    }

    struct Numbers;

    struct Number(Level);

    impl Visit for Number {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "event" {
                TOLD.with_borrow_mut(|told| told.push((value, self.0)));
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
            event.record(&mut Number(*event.metadata().level()));
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    /// The numbers that `run` tells, and their levels.
    pub(crate) fn told(run: impl FnOnce()) -> Vec<(u64, Level)> {
        static ONCE: Once = Once::new();
        // Another test of the process may have been first, with the same.
        ONCE.call_once(|| drop(tracing::subscriber::set_global_default(Numbers)));
        TOLD.with_borrow_mut(Vec::clear);
        run();
        TOLD.with_borrow_mut(std::mem::take)
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

    /// The table once more, by number: a level that changes is to be changed on purpose.
    #[test]
    fn every_number_has_its_level() {
        let of = |level| TraceEvent::ALL.iter().filter(move |event| event.level() == level);
        let numbers = |level| of(level).map(|event| event.id()).collect::<Vec<_>>();
        assert_eq!(numbers(Level::ERROR), [9000, 9001, 9002, 9004, 9005, 9006, 9007, 9009, 9010, 9051]);
        assert_eq!(
            numbers(Level::WARN),
            [9003, 9008, 9020, 9021, 9022, 9023, 9024, 9025, 9052, 9053, 9054, 9055, 9062, 9064, 9121, 9160]
        );
        assert_eq!(numbers(Level::INFO), [9100, 9110, 9111, 9112, 9113, 9114, 9152, 9161, 9162]);
        assert_eq!(numbers(Level::DEBUG), [9120, 9122, 9123, 9153, 9156, 9157, 9170]);
        assert_eq!(numbers(Level::TRACE), [9063, 9101, 9102, 9103, 9104]);
    }
}
