//! What ends a session that nobody drives or wants any more.

use std::sync::Arc;

use super::Shared;
use crate::error::Error;

/// Ends the session when a loop stops for whatever reason, a panic or an aborted task included, unless it was
/// [let go](Self::disarm).
pub(in crate::driver) struct EndOnDrop(pub(in crate::driver) Arc<Shared>, bool);

impl EndOnDrop {
    pub(in crate::driver) fn new(shared: Arc<Shared>) -> Self {
        Self(shared, true)
    }

    pub(in crate::driver) fn disarm(mut self) {
        self.1 = false;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if self.1 {
            self.0.abandon();
        }
    }
}

/// Ends a session whose login is given up before there is a [`Session`](crate::session::Session) to drop.
pub(crate) struct EndIfDropped(Option<Arc<Shared>>);

impl EndIfDropped {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(Arc::clone(shared)))
    }

    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndIfDropped {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.with(|engine| {
                engine.end(Error::Closed);
            });
        }
    }
}

impl Shared {
    /// A loop stopped without a reason of its own.
    fn abandon(&self) {
        let error = if std::thread::panicking() {
            Error::Bug("the session's driver panicked")
        } else {
            std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "the session's driver was dropped")
                .into()
        };
        let moved = self.state.lock().moved.clone();
        match moved {
            // Its half will never reach the session.
            Some((target, generation)) => {
                let _ = target.with_stream(generation, |engine| engine.lose(error, crate::driver::now()));
            }
            None => self.with(|engine| {
                if engine.ended().is_none() {
                    engine.end(error);
                }
            }),
        }
    }
}
