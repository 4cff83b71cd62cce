//! Keys that were asked about and would not do.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of each connection that is not logged in, whether it asked about a key that would not do, and the last one that nothing
/// was said about. Who has several keys asks for each, so one by itself says nothing; who leaves without having logged in
/// has tried and failed.
#[derive(Debug, Default)]
pub(super) struct Declined(Mutex<HashMap<SocketAddr, Option<Offer>>>);

/// A key that would not do.
#[derive(Debug)]
pub(super) struct Offer {
    /// For whom, escaped.
    pub(super) user: String,
    /// Why it would not do.
    pub(super) reason: String,
}

impl Declined {
    /// Takes one down, in the place of one before it.
    pub(super) fn note(&self, from: SocketAddr, user: String, reason: String) {
        self.lock().insert(from, Some(Offer { user, reason }));
    }

    /// Takes one down about which everything has been said.
    pub(super) fn note_told(&self, from: SocketAddr) {
        self.lock().entry(from).or_default();
    }

    /// What was taken down about a connection, which is then forgotten; `None` if there was nothing. To be called for each
    /// when its login is over.
    pub(super) fn take(&self, from: SocketAddr) -> Option<Option<Offer>> {
        self.lock().remove(&from)
    }

    /// There are no more entries than connections that are not logged in.
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Option<Offer>>> {
        // What is inside is right after every statement, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
