//! Sessions that wait for their client to come back.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use super::Principal;
use super::guesses::{Guesses, Source};
use crate::connection_info::ConnectionInfo;
use crate::driver::{Keeper, Shared, now};
use crate::error::{Error, ReconnectFailure};
use crate::protocol::{ReconnectOffer, SessionIndex};

/// The sessions of one or several servers that their clients may resume over another connection, with or without a stream
/// at the moment. Clones are the same set. A session joins it once it is authenticated, and leaves it when it ends.
///
/// An Adit client says where its session is, so the set is not searched. Other clients only prove which one is theirs, and
/// each has to be tried; that is a MAC of some 100 bytes for each.
#[derive(Clone)]
pub struct DetachedSessions {
    set: Arc<Set>,
}

/// Bounds of a [`DetachedSessions`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DetachedLimits {
    /// What is offered to clients, and how long a session is kept.
    pub offer: ReconnectOffer,
    /// Sessions without a stream; for another the oldest ends. 1024.
    pub count: usize,
    /// The same for each user. 8.
    pub count_per_user: usize,
    /// The same for each source, as far as addresses are known: an IPv4 address, or an IPv6 network of 64 bits. 16.
    pub count_per_source: usize,
    /// Sessions that a source may ask for in a minute without being able to prove that they are its own; after that it is
    /// told of none. Loopback is spared, behind which there may be many. 10.
    pub wrong_tokens_per_minute: u32,
    /// What those hold, in bytes, for their peers and of what came from them and was not read; the oldest end. It is looked
    /// at whenever one joins them, or has grown by 128 KiB. 256 MiB.
    pub bytes: usize,
}

impl Default for DetachedLimits {
    fn default() -> Self {
        Self {
            offer: ReconnectOffer::default(),
            count: 1024,
            count_per_user: 8,
            count_per_source: 16,
            wrong_tokens_per_minute: 10,
            bytes: 256 * 1024 * 1024,
        }
    }
}

/// Is asked whenever a session is to be resumed.
pub trait ResumePolicy: Send + Sync + fmt::Debug {
    /// Whether who was authenticated when the session began may still come in. A no ends the session.
    fn may_resume<'a>(&'a self, attempt: ResumeAttempt<'a>) -> BoxFuture<'a, bool>;
}

/// Somebody has proved that a session is theirs, and wants to go on with it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ResumeAttempt<'a> {
    /// The user name of the session's login.
    pub user: &'a str,
    /// Whom the authenticator let in then.
    pub principal: Option<&'a Principal>,
    /// The connection on which the session is to go on, which is not the one that it began on.
    pub connection: &'a ConnectionInfo,
}

struct Set {
    limits: DetachedLimits,
    policy: Option<Arc<dyn ResumePolicy>>,
    sessions: DashMap<SessionIndex, Entry>,
    /// Those without a stream, the oldest first.
    waiting: Mutex<VecDeque<Waiting>>,
    guesses: Guesses,
}

#[derive(Clone)]
struct Entry {
    session_id: Arc<Zeroizing<Vec<u8>>>,
    user: Arc<str>,
    principal: Option<Arc<Principal>>,
    source: Option<Source>,
    shared: Weak<Shared>,
}

struct Waiting {
    index: SessionIndex,
    entry: Entry,
}

impl Entry {
    /// Ends the session, unless it has ended or its client has come back meanwhile. Not to be called under the lock: the
    /// end of a session comes back to the set.
    fn evict(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else { return false };
        shared.with(|engine| {
            let waits = engine.detached().is_some() && engine.ended().is_none();
            if waits {
                engine.end(Error::Reconnect(ReconnectFailure::Evicted));
            }
            waits
        })
    }
}

/// Session ids stay out of logs.
impl fmt::Debug for DetachedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetachedSessions")
            .field("sessions", &self.len())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Default for DetachedSessions {
    fn default() -> Self {
        Self::new(DetachedLimits::default())
    }
}

impl DetachedSessions {
    /// An empty set. Users may resume as long as their sessions are kept.
    #[must_use]
    pub fn new(limits: DetachedLimits) -> Self {
        Self::with(limits, None)
    }

    /// An empty set that asks `policy` before a session is resumed.
    #[must_use]
    pub fn with_policy(limits: DetachedLimits, policy: impl ResumePolicy + 'static) -> Self {
        Self::with(limits, Some(Arc::new(policy)))
    }

    fn with(limits: DetachedLimits, policy: Option<Arc<dyn ResumePolicy>>) -> Self {
        let (sessions, waiting) = (DashMap::new(), Mutex::new(VecDeque::new()));
        let guesses = Guesses::default();
        Self { set: Arc::new(Set { limits, policy, sessions, waiting, guesses }) }
    }

    /// Sessions that can be resumed, with or without a stream.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.sessions.is_empty()
    }

    /// Sessions that have no stream.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.set.waiting.lock().len()
    }

    /// Ends the session that has been without a stream for the longest time, to make room for another. Whether there was
    /// one.
    pub fn end_oldest(&self) -> bool {
        loop {
            // Not under the lock: the end of a session comes back here.
            let Some(oldest) = self.set.waiting.lock().pop_front() else { return false };
            if oldest.entry.evict() {
                return true;
            }
        }
    }

    /// How long sessions are kept without a stream.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.set.limits.offer.lifetime
    }

    pub(super) fn offer(&self) -> ReconnectOffer {
        self.set.limits.offer.clone()
    }

    /// A session has been authenticated.
    pub(super) fn add(&self, shared: &Arc<Shared>, user: &Arc<str>, principal: Option<&Principal>) {
        let Some((index, session_id)) = shared.with(|engine| engine.resume_key()) else { return };
        let entry = Entry {
            session_id: Arc::new(session_id),
            user: Arc::clone(user),
            principal: principal.cloned().map(Arc::new),
            source: source_of(shared),
            shared: Arc::downgrade(shared),
        };
        self.set.sessions.insert(index, entry.clone());
        shared.set_keeper(Box::new(Member { set: Arc::downgrade(&self.set), index, entry }));
        // It may have ended, or lost its stream, before anybody was told.
        if shared.end_reason().is_some() {
            self.set.remove(&index);
        } else if shared.with(|engine| engine.detached().is_some()) {
            self.set.park(&index);
        }
    }

    /// Gives the stream of `connection` to the session that its client has asked for.
    pub(super) async fn resume(
        &self,
        connection: &Arc<Shared>,
        index: Option<SessionIndex>,
    ) -> Result<(), ReconnectFailure> {
        let (source, most) = (source_of(connection), self.set.limits.wrong_tokens_per_minute);
        if source.is_some_and(|source| !self.set.guesses.may_guess(source, most, now())) {
            tracing::warn!(
                "a source asks for too many sessions that are not its own (limit wrong_tokens_per_minute)"
            );
            return Err(ReconnectFailure::SessionNotFound);
        }
        let found = match index {
            Some(index) => self.set.sessions.get(&index).map(|entry| entry.clone()),
            None => self.search(connection),
        };
        let Some(entry) = found.filter(|entry| connection.with(|engine| engine.claims(&entry.session_id)))
        else {
            if let Some(source) = source {
                self.set.guesses.was_wrong(source, now());
            }
            return Err(ReconnectFailure::SessionNotFound);
        };
        if let Some(policy) = &self.set.policy {
            let info = connection.with(|engine| engine.connection_info());
            let principal = entry.principal.as_deref();
            let attempt = ResumeAttempt { user: &entry.user, principal, connection: &info };
            if !policy.may_resume(attempt).await {
                if let Some(shared) = entry.shared.upgrade() {
                    shared.with(|engine| engine.end(Error::Reconnect(ReconnectFailure::Revoked)));
                }
                return Err(ReconnectFailure::Revoked);
            }
        }
        let session = entry.shared.upgrade().ok_or(ReconnectFailure::SessionNotFound)?;
        session.hand_over(connection)
    }

    /// Tries all of them, so that the time does not tell which one it was.
    fn search(&self, connection: &Shared) -> Option<Entry> {
        let all: Vec<Entry> = self.set.sessions.iter().map(|entry| entry.clone()).collect();
        let proved = |entry: &Entry| connection.with(|engine| engine.claims(&entry.session_id));
        all.into_iter().filter(proved).last()
    }
}

fn source_of(shared: &Shared) -> Option<Source> {
    let addresses = shared.with(|engine| engine.connection_info()).addresses;
    addresses.peer.map(|peer| Source::of(peer.ip()))
}

/// A session's place in the set.
struct Member {
    set: Weak<Set>,
    index: SessionIndex,
    entry: Entry,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("user", &self.entry.user).finish_non_exhaustive()
    }
}

impl Keeper for Member {
    fn lost(&self) {
        if let Some(set) = self.set.upgrade() {
            set.park(&self.index);
        }
    }

    fn resumed(&self) {
        if let Some(set) = self.set.upgrade() {
            set.unpark(&self.index);
        }
    }

    fn grown(&self) {
        if let Some(set) = self.set.upgrade() {
            let mut evicted = Vec::new();
            set.evict_for_bytes(&mut evicted);
            evict_all(&evicted);
        }
    }

    fn ended(&self) {
        if let Some(set) = self.set.upgrade() {
            set.remove(&self.index);
        }
    }
}

impl Set {
    fn remove(&self, index: &SessionIndex) {
        self.sessions.remove(index);
        self.unpark(index);
    }

    fn unpark(&self, index: &SessionIndex) {
        self.waiting.lock().retain(|waiting| waiting.index != *index);
    }

    fn park(&self, index: &SessionIndex) {
        let Some(entry) = self.sessions.get(index).map(|entry| entry.clone()) else { return };
        let mut evicted = Vec::new();
        {
            let mut waiting = self.waiting.lock();
            waiting.retain(|other| other.index != *index);
            // The client may be back already: then there is nobody to make room for.
            if !entry.shared.upgrade().is_some_and(|shared| shared.is_without_stream()) {
                return;
            }
            let (user, source) = (&entry.user, entry.source);
            let limits = &self.limits;
            evict_oldest(&mut waiting, &mut evicted, limits.count_per_user, |other| other.user == *user);
            if source.is_some() {
                evict_oldest(&mut waiting, &mut evicted, limits.count_per_source, |other| {
                    other.source == source
                });
            }
            waiting.push_back(Waiting { index: *index, entry });
            while waiting.len() > self.limits.count {
                evicted.extend(waiting.pop_front().map(|oldest| oldest.entry));
            }
        }
        self.evict_for_bytes(&mut evicted);
        evict_all(&evicted);
    }

    fn evict_for_bytes(&self, evicted: &mut Vec<Entry>) {
        let all: Vec<Entry> = self.waiting.lock().iter().map(|waiting| waiting.entry.clone()).collect();
        let mut left = self.limits.bytes;
        // The youngest may stay as long as there is room.
        for entry in all.into_iter().rev() {
            let Some(shared) = entry.shared.upgrade() else { continue };
            match left.checked_sub(shared.held_bytes()) {
                Some(rest) => left = rest,
                None => {
                    left = 0;
                    evicted.push(entry);
                }
            }
        }
    }
}

fn evict_all(evicted: &[Entry]) {
    for entry in evicted {
        entry.evict();
    }
}

/// Makes room for one more of these, if they may be `most`.
fn evict_oldest(
    waiting: &mut VecDeque<Waiting>,
    evicted: &mut Vec<Entry>,
    most: usize,
    is_of_these: impl Fn(&Entry) -> bool,
) {
    let count = waiting.iter().filter(|other| is_of_these(&other.entry)).count();
    let mut surplus = count.saturating_add(1).saturating_sub(most);
    waiting.retain(|other| {
        let goes = surplus > 0 && is_of_these(&other.entry);
        if goes {
            surplus = surplus.saturating_sub(1);
            evicted.push(other.entry.clone());
        }
        !goes
    });
}

#[cfg(all(test, feature = "rustcrypto"))]
mod tests {
    use super::*;
    use crate::crypto::rustcrypto::PROVIDER;
    use crate::keys::{KeyKind, SigningKey};
    use crate::{client, server};

    /// As when the loss of its stream is told of when it has another already.
    #[tokio::test]
    async fn a_session_with_a_stream_is_not_one_of_those_that_wait() {
        let key = PROVIDER.signatures.generate(KeyKind::Ed25519, 0).unwrap();
        let sessions = DetachedSessions::default();
        let config = server::Config::builder(server::danger::AcceptEverybody)
            .host_key(SigningKey::new(&key, &PROVIDER).unwrap())
            .detached_sessions(sessions.clone())
            .build()
            .unwrap();
        let client_config = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .offer_reconnect(ReconnectOffer::default())
            .build()
            .unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (client, server) =
            tokio::join!(client::connect(near, client_config), server::accept(far, config));
        let (_client, server) = (client.unwrap(), server.unwrap());
        let (index, entry) = {
            let first = sessions.set.sessions.iter().next().unwrap();
            (*first.key(), first.value().clone())
        };
        sessions.set.park(&index);
        assert_eq!((sessions.len(), sessions.waiting()), (1, 0));
        assert!(!sessions.end_oldest() && !entry.evict());
        assert!(!server.is_closed());
    }
}
