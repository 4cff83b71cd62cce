//! How a session ends, and who may still do what.

use super::reconnect::Stream;
use super::{Auth, Engine};
use crate::error::{ApiMisuse, Error, PeerMisbehaved, Timeout};
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{Disconnect, OptionalText};
use crate::trace::{TraceEvent, tell, tell_any};

/// The end.
impl Engine {
    /// Ends the session: the peer is told why where there is a peer to tell. The first error counts and is returned.
    pub fn end(&mut self, error: Error) -> Error {
        if let Some(first) = &self.ended {
            return first.clone();
        }
        if let Some(event) = failure_event(&error) {
            tell_any!(event, %error, "the session failed");
        }
        tell!(SessionClosing, %error, "session ended");
        if let Some(reason) = error.disconnect_reason().filter(|_| matches!(self.stream, Stream::Attached)) {
            let text = error.disconnect_text();
            // If even this cannot be sealed, the stream just closes.
            let _ = self.transport.out.seal(|buffer| {
                Disconnect { reason: reason.0, text: text.as_bytes(), language: OptionalText(b"") }
                    .encode(buffer);
            });
        }
        self.connection.fail(&error);
        self.fail_custom();
        self.ended = Some(error.clone());
        error
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    /// Ends the session on every failure but a misuse: what could not be sealed or counted cannot be made good.
    pub(super) fn fatal<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match error {
            Error::ApiMisuse(_) => error,
            error => self.end(error),
        })
    }

    pub(super) fn alive(&self) -> Result<(), Error> {
        self.ended.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(super) fn authenticated(&self) -> Result<Authenticated, Error> {
        self.alive()?;
        match self.auth {
            Auth::Done(proof) => Ok(proof),
            _ => Err(Error::ApiMisuse(ApiMisuse::NotAuthenticated)),
        }
    }
}

/// The number of a failure that ends a session and has one of its own.
fn failure_event(error: &Error) -> Option<TraceEvent> {
    Some(match error {
        Error::HostKey(_) => TraceEvent::ServerAuthenticationFailed,
        Error::Auth(_) => TraceEvent::ClientAuthenticationFailed,
        Error::Timeout(Timeout::Login) | Error::PeerMisbehaved(PeerMisbehaved::TooManyAuthAttempts) => {
            TraceEvent::AuthenticationError
        }
        Error::Bug(_) => TraceEvent::UnknownError,
        _ => return None,
    })
}
