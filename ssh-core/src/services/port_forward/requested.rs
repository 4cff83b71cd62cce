//! What we asked the peer to listen on.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::event::Target;
use super::hooks::PortChange;

/// What we asked the peer to listen on.
#[derive(Debug)]
pub(super) struct Requested {
    table: Mutex<Table>,
    /// Told when a request has been answered.
    answered: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    next_id: u64,
}

/// A forward, from before its request is sent to its cancel.
#[derive(Debug)]
struct Entry {
    id: u64,
    bind: Target,
    /// 0 until the peer has chosen.
    port: u16,
    is_answered: bool,
    target: Target,
}

/// A forward that the peer has granted and that is no more to be.
#[derive(Debug)]
pub(super) struct Gone {
    /// What it was asked to listen on.
    pub(super) bind: Target,
    /// The port that it chose; 0 for a Unix socket.
    pub(super) port: u16,
    /// Whether other forwards of the port are left.
    pub(super) change: PortChange,
}

impl Default for Requested {
    fn default() -> Self {
        Self { table: Mutex::default(), answered: watch::Sender::new(()) }
    }
}

impl Requested {
    /// Notes a forward that is about to be asked for; its number. `None` if there is such a one.
    pub(super) fn add(&self, bind: &Target, target: Target) -> Option<u64> {
        let mut table = self.table.lock();
        if table.entries.iter().any(|entry| entry.is_at(bind)) {
            return None;
        }
        let id = table.next_id;
        table.next_id = id.wrapping_add(1);
        let (bind, port) = (bind.clone(), bind.port());
        table.entries.push(Entry { id, bind, port, is_answered: false, target });
        Some(id)
    }

    /// The peer has granted it on this port: what changes, and where.
    pub(super) fn grant(&self, id: u64, port: u16) -> Option<(PortChange, Target)> {
        let mut table = self.table.lock();
        let is_there = table.entries.iter().any(|entry| entry.id != id && entry.is_port(port));
        let entry = table.entries.iter_mut().find(|entry| entry.id == id);
        let place = entry.map(|entry| {
            entry.port = port;
            entry.is_answered = true;
            entry.place()
        });
        drop(table);
        self.answered.send_replace(());
        Some((if is_there { PortChange::Updated } else { PortChange::Added }, place?))
    }

    /// Whether it has not been forgotten.
    pub(super) fn has(&self, id: u64) -> bool {
        self.table.lock().entries.iter().any(|entry| entry.id == id)
    }

    /// Forgets it; what the peer listens on no more, if it did.
    pub(super) fn remove(&self, id: u64) -> Option<Gone> {
        let mut table = self.table.lock();
        let gone = table.remove(|entry| entry.id == id);
        drop(table);
        self.answered.send_replace(());
        gone
    }

    /// Forgets one of those that the peer has granted, as long as there are any. Those that it has not answered yet stay
    /// with whoever waits for that.
    pub(super) fn remove_granted(&self) -> Option<Gone> {
        self.table.lock().remove(|entry| entry.is_answered)
    }

    /// What the peer listens on for us.
    pub(super) fn ports(&self) -> Vec<Target> {
        self.table.lock().entries.iter().filter(|entry| entry.is_answered).map(Entry::place).collect()
    }

    /// Where connections to a port of the peer go. A connection may overtake the answer that names its port, so as
    /// long as requests are unanswered an unknown port is waited for.
    pub(super) async fn target_of(&self, bind: &Target) -> Option<Target> {
        let mut answered = self.answered.subscribe();
        let find = async {
            loop {
                answered.mark_unchanged();
                match self.find(bind) {
                    Found::Target(target) => return Some(target),
                    Found::MayCome => answered.changed().await.ok()?,
                    Found::Nothing => return None,
                }
            }
        };
        tokio::time::timeout(ANSWER_DEADLINE, find).await.ok().flatten()
    }

    /// Peers spell hosts in many ways, so the host only decides between forwards of the same port.
    fn find(&self, bind: &Target) -> Found {
        let table = self.table.lock();
        let exact = table.entries.iter().find(|entry| entry.is_at(bind));
        match exact.or_else(|| table.entries.iter().find(|entry| entry.is_port(bind.port()))) {
            Some(entry) => Found::Target(entry.target.clone()),
            None if table.entries.iter().any(|entry| !entry.is_answered) => Found::MayCome,
            None => Found::Nothing,
        }
    }
}

impl Table {
    fn remove(&mut self, which: impl Fn(&Entry) -> bool) -> Option<Gone> {
        let at = self.entries.iter().position(which)?;
        let gone = self.entries.remove(at);
        let is_left = self.entries.iter().any(|entry| entry.is_answered && entry.is_port(gone.port));
        let change = if is_left { PortChange::Updated } else { PortChange::Removed };
        gone.is_answered.then_some(Gone { bind: gone.bind, port: gone.port, change })
    }
}

impl Gone {
    /// What the peer listened on, with the port that it chose.
    pub(super) fn place(&self) -> Target {
        place(&self.bind, self.port)
    }
}

/// What the peer listens on, with the port that it chose.
fn place(bind: &Target, port: u16) -> Target {
    match bind.socket_path() {
        Some(_) => bind.clone(),
        None => Target::new(bind.host(), port),
    }
}

impl Entry {
    /// Whether it was asked for by these words.
    fn is_at(&self, bind: &Target) -> bool {
        match bind.socket_path() {
            Some(path) => self.bind.socket_path() == Some(path),
            None => self.is_port(bind.port()) && self.bind.host() == bind.host(),
        }
    }

    fn place(&self) -> Target {
        place(&self.bind, self.port)
    }

    /// Whether it is a forward of this port, on whatever address.
    fn is_port(&self, port: u16) -> bool {
        port != 0 && self.port == port && self.bind.socket_path().is_none()
    }
}

enum Found {
    Target(Target),
    MayCome,
    Nothing,
}

/// How long a connection waits for the answer that names its port.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
