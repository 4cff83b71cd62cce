//! What outlives the process: tunnels, signing keys, revoked tokens. One file, or memory alone.

mod record;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use dashmap::DashMap;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, backends::InMemoryBackend};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::database::Healing;

pub use record::Record;

/// Holds everything in memory, so that reading never waits for a disk; changes are on disk before they are seen.
///
/// The methods that change something wait for the disk: call them where blocking is allowed.
///
/// After an error of the disk the file is opened again at the next use, once a second at most; meanwhile changes fail, and what is
/// in memory holds.
pub struct Store {
    database: Healing,
    tunnels: DashMap<String, Arc<Record>>,
    /// By token id: when the token expires, in seconds since 1970.
    revoked: DashMap<String, u64>,
}

/// A key that signs tokens.
#[derive(Clone, Serialize, Deserialize)]
pub struct StoredKey {
    /// Names it in a token's header.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The secret, base64.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be opened: it is in use, or it is no store.
    #[error("cannot open the relay's store")]
    Open(#[source] redb::DatabaseError),
    /// A later version of the program has written it.
    #[error("the relay's store has schema {found}, this program knows up to {SCHEMA}; use a newer version")]
    TooNew {
        /// What it has.
        found: u64,
    },
    /// The disk or the file failed.
    #[error("the relay's store failed")]
    Failed(#[source] Box<redb::Error>),
    /// It failed before, and is not tried again yet.
    #[error("the relay's store does not work; it is tried again within a second")]
    Down,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
    /// A tunnel has too much to it: texts, options, rules.
    #[error("a tunnel may have {MAX_RECORD} bytes with all its ports and rules")]
    TooLarge,
    /// A row does not hold what it should.
    #[error("the relay's store holds a broken row in {0}")]
    Broken(&'static str),
}

impl StoreError {
    /// Tells the operator, with every cause.
    pub fn log(&self) {
        tracing::error!(error = crate::with_causes(self), "the store failed");
    }
}

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TUNNELS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("tunnels");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("signing_keys");
const REVOKED: TableDefinition<'_, &str, u64> = TableDefinition::new("revoked_tokens");
/// The layout of the tables. A change that older programs cannot read counts it up.
const SCHEMA: u64 = 1;
/// A tunnel with everything that belongs to it, as JSON in bytes: all of them are held in memory.
const MAX_RECORD: usize = 128 * 1024;

impl Store {
    /// Opens or makes the file.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(file: &Path) -> Result<Self, StoreError> {
        make_private(file).map_err(|error| StoreError::Open(redb::StorageError::Io(error).into()))?;
        let database = Database::create(file).map_err(StoreError::Open)?;
        // A file that is gone by then is no empty store.
        let file = file.to_owned();
        Self::load(Healing::new(database, move || Database::open(&file)))
    }

    /// A store that goes with the process.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn in_memory() -> Result<Self, StoreError> {
        let database = Database::builder().create_with_backend(InMemoryBackend::new());
        Self::load(Healing::mortal(database.map_err(StoreError::Open)?))
    }

    fn load(database: Healing) -> Result<Self, StoreError> {
        let store = Self { database, tunnels: DashMap::new(), revoked: DashMap::new() };
        store.database.with(|_| Ok(()), |database| store.read(database))?;
        Ok(store)
    }

    /// Takes over what the file holds. Revocations that it does not hold yet are written, so this proves too that it takes
    /// something.
    fn read(&self, database: &Database) -> Result<(), StoreError> {
        let write = database.begin_write().map_err(failed)?;
        {
            let mut meta = write.open_table(META).map_err(failed)?;
            let found = meta.get("schema").map_err(failed)?.map(|value| value.value());
            match found {
                Some(found) if found > SCHEMA => return Err(StoreError::TooNew { found }),
                _ => meta.insert("schema", SCHEMA).map_err(failed)?,
            };
            let mut tunnels = HashMap::new();
            for row in write.open_table(TUNNELS).map_err(failed)?.iter().map_err(failed)? {
                let (id, value) = row.map_err(failed)?;
                let record: Record =
                    serde_json::from_slice(value.value()).map_err(|_| StoreError::Broken("tunnels"))?;
                tunnels.insert(id.value().to_owned(), Arc::new(record));
            }
            let mut revoked = write.open_table(REVOKED).map_err(failed)?;
            for entry in &self.revoked {
                revoked.insert(entry.key().as_str(), *entry.value()).map_err(failed)?;
            }
            for row in revoked.iter().map_err(failed)? {
                let (id, expires) = row.map_err(failed)?;
                self.revoked.insert(id.value().to_owned(), expires.value());
            }
            write.open_table(KEYS).map_err(failed)?;
            // A change that was answered with an error may be in the file all the same.
            self.tunnels.retain(|id, _| tunnels.contains_key(id));
            for (id, record) in tunnels {
                self.tunnels.insert(id, record);
            }
        }
        write.commit().map_err(failed)
    }

    /// Does something with the database, which is opened again if it has failed.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.database.with(|database| self.read(database), work)
    }

    /// Whether changes are kept, as far as is known.
    #[must_use]
    pub fn works(&self) -> bool {
        self.database.works()
    }

    /// Tries whether a store that has failed works again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn heal(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    // ---- Tunnels ------------------------------------------------------------------------------------

    /// The tunnel with this id, or else with this name.
    #[must_use]
    pub fn tunnel(&self, id_or_name: &str) -> Option<Arc<Record>> {
        if let Some(record) = self.tunnels.get(id_or_name) {
            return Some(Arc::clone(&record));
        }
        self.tunnels
            .iter()
            .find(|entry| entry.tunnel.name.as_deref() == Some(id_or_name))
            .map(|entry| Arc::clone(&entry))
    }

    /// All tunnels, by id.
    #[must_use]
    pub fn tunnels(&self) -> Vec<Arc<Record>> {
        let mut all: Vec<_> = self.tunnels.iter().map(|entry| Arc::clone(&entry)).collect();
        all.sort_by(|a, b| a.tunnel.tunnel_id.cmp(&b.tunnel.tunnel_id));
        all
    }

    /// Keeps a new tunnel. `false` if there is one with its id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create(&self, record: Record) -> Result<bool, StoreError> {
        self.create_if(record, |_| true).map(|record| record.is_some())
    }

    /// Keeps a new tunnel of which that is true; `None` if it is not, or there is one with its id. `condition` sees the newest
    /// state, and no other change comes in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create_if(
        &self,
        record: Record,
        condition: impl FnOnce(&Record) -> bool,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let id = record.tunnel.tunnel_id.clone();
        self.change(&id, |old| (old.is_none() && condition(&record)).then_some(record))
    }

    /// Changes a tunnel; `None` if there is none or `change` gives none. `change` sees the newest state, and no other change
    /// comes in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update(
        &self,
        id: &str,
        change: impl FnOnce(&Record) -> Option<Record>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        self.change(id, |old| old.and_then(change))
    }

    /// The same for the tunnel that `known` is a state of: one that has got its id since is left alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn update_same(
        &self,
        known: &Record,
        change: impl FnOnce(&Record) -> Option<Record>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        self.update(&known.tunnel.tunnel_id, |old| if old.is_same_tunnel(known) { change(old) } else { None })
    }

    /// One writer at a time: the database's own write lock orders them.
    fn change(
        &self,
        id: &str,
        change: impl FnOnce(Option<&Record>) -> Option<Record>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        self.with(|database| self.change_in(database, id, change))
    }

    fn change_in(
        &self,
        database: &Database,
        id: &str,
        change: impl FnOnce(Option<&Record>) -> Option<Record>,
    ) -> Result<Option<Arc<Record>>, StoreError> {
        let write = database.begin_write().map_err(failed)?;
        let old = self.tunnels.get(id).map(|entry| Arc::clone(&entry));
        let Some(record) = change(old.as_deref()) else { return Ok(None) };
        {
            let bytes = serde_json::to_vec(&record).map_err(|_| StoreError::Broken("tunnels"))?;
            if bytes.len() > MAX_RECORD {
                return Err(StoreError::TooLarge);
            }
            let mut table = write.open_table(TUNNELS).map_err(failed)?;
            table.insert(id, bytes.as_slice()).map_err(failed)?;
        }
        let record = Arc::new(record);
        // Seen before the write lock is given up, so that the next writer starts from it.
        self.tunnels.insert(id.to_owned(), Arc::clone(&record));
        if let Err(error) = write.commit() {
            match old {
                Some(old) => self.tunnels.insert(id.to_owned(), old),
                None => self.tunnels.remove(id).map(|(_, record)| record),
            };
            return Err(failed(error));
        }
        Ok(Some(record))
    }

    /// Forgets a tunnel; whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, id: &str) -> Result<bool, StoreError> {
        self.delete_if(id, |_| true)
    }

    /// Forgets a tunnel of which that is true; whether there was one. `condition` sees the newest state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete_if(&self, id: &str, condition: impl FnOnce(&Record) -> bool) -> Result<bool, StoreError> {
        self.with(|database| {
            let write = database.begin_write().map_err(failed)?;
            let old = self.tunnels.get(id).map(|entry| Arc::clone(&entry));
            if !old.is_some_and(|old| condition(&old)) {
                return Ok(false);
            }
            let found = {
                let mut table = write.open_table(TUNNELS).map_err(failed)?;
                table.remove(id).map_err(failed)?.is_some()
            };
            // Before the write lock is given up, as for a change.
            let old = self.tunnels.remove(id);
            if let Err(error) = write.commit() {
                if let Some((id, old)) = old {
                    self.tunnels.insert(id, old);
                }
                return Err(failed(error));
            }
            Ok(found)
        })
    }

    // ---- Tokens -------------------------------------------------------------------------------------

    /// The signing keys, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keys(&self) -> Result<Vec<StoredKey>, StoreError> {
        self.with(|database| {
            let read = database.begin_read().map_err(failed)?;
            let mut keys = Vec::new();
            for row in read.open_table(KEYS).map_err(failed)?.iter().map_err(failed)? {
                let (_, value) = row.map_err(failed)?;
                let key: StoredKey =
                    serde_json::from_slice(value.value()).map_err(|_| StoreError::Broken("signing_keys"))?;
                keys.push(key);
            }
            keys.sort_by_key(|key| key.created);
            Ok(keys)
        })
    }

    /// Keeps these signing keys and no others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_keys(&self, keys: &[StoredKey]) -> Result<(), StoreError> {
        self.with(|database| {
            let write = database.begin_write().map_err(failed)?;
            {
                let mut table = write.open_table(KEYS).map_err(failed)?;
                table.retain(|_, _| false).map_err(failed)?;
                for key in keys {
                    let bytes = serde_json::to_vec(key).map_err(|_| StoreError::Broken("signing_keys"))?;
                    table.insert(key.id.as_str(), Zeroizing::new(bytes).as_slice()).map_err(failed)?;
                }
            }
            write.commit().map_err(failed)
        })
    }

    /// Whether the token with this id has been revoked.
    #[must_use]
    pub fn is_revoked(&self, token: &str) -> bool {
        self.revoked.contains_key(token)
    }

    /// Revokes a token, and forgets those that nobody would take any more at `now`. Both in seconds since 1970.
    ///
    /// # Errors
    /// [`StoreError`]. The token is revoked all the same, but only for as long as the process lasts, unless the file takes
    /// something again before.
    pub fn revoke(&self, token: &str, expires: u64, now: u64) -> Result<(), StoreError> {
        self.revoked.insert(token.to_owned(), expires);
        self.with(|database| {
            let write = database.begin_write().map_err(failed)?;
            {
                let mut table = write.open_table(REVOKED).map_err(failed)?;
                table.retain(|_, expires| is_of_use(expires, now)).map_err(failed)?;
                table.insert(token, expires).map_err(failed)?;
            }
            write.commit().map_err(failed)
        })?;
        self.revoked.retain(|id, expires| is_of_use(*expires, now) || id == token);
        Ok(())
    }
}

/// Revocations are kept for so long after their tokens' end, in seconds: past the leeway, and for a clock that was a day ahead
/// by mistake and is set back.
const KEPT: u64 = 2 * 24 * 3600;

/// Whether a revocation may still make a difference.
fn is_of_use(expires: u64, now: u64) -> bool {
    expires.saturating_add(KEPT) >= now
}

/// It will hold keys: nobody else reads it, whatever the mask of the process.
fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(file)?;
    // A copy from elsewhere may have any mode.
    #[cfg(unix)]
    opened.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    drop(opened);
    Ok(())
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("tunnels", &self.tunnels.len()).finish_non_exhaustive()
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(Box::new(error.into()))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    use parking_lot::Mutex;
    use redb::StorageBackend;

    use super::*;
    use crate::model::Tunnel;

    /// A disk that can be full.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        is_full: Arc<AtomicBool>,
    }

    impl Disk {
        pub(crate) fn full(&self, is_full: bool) {
            self.is_full.store(is_full, Ordering::Relaxed);
        }

        /// A store on it, which is tried again without a pause.
        pub(crate) fn store(&self) -> Store {
            Store::load(self.database().without_pause()).unwrap()
        }

        fn database(&self) -> Healing {
            let disk = self.clone();
            let open = move || Database::builder().create_with_backend(disk.clone());
            Healing::new(open().unwrap(), open)
        }

        fn take(&self) -> io::Result<()> {
            match self.is_full.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let start = usize::try_from(offset).unwrap();
            out.copy_from_slice(&self.bytes.lock()[start..start + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.take()?;
            self.bytes.lock().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.take()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.take()?;
            let start = usize::try_from(offset).unwrap();
            self.bytes.lock()[start..start + data.len()].copy_from_slice(data);
            Ok(())
        }
    }

    fn record(id: &str, name: &str) -> Record {
        let tunnel = Tunnel { tunnel_id: id.into(), name: Some(name.into()), ..Tunnel::default() };
        Record::new(tunnel, "ada".into(), 0).unwrap()
    }

    #[test]
    fn everything_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.redb");
        let key =
            |id: &str, created| StoredKey { id: id.into(), created, secret: "c2VjcmV0".to_owned().into() };
        {
            let store = Store::open(&file).unwrap();
            assert!(store.create(record("abc", "web")).unwrap());
            assert!(!store.create(record("abc", "other")).unwrap(), "an id is taken once");
            store.update("abc", |old| Some(Record { used: 7, ..old.clone() })).unwrap().unwrap();
            assert!(store.update("xyz", |old| Some(old.clone())).unwrap().is_none());
            store.set_keys(&[key("old", 1), key("new", 2)]).unwrap();
            store.revoke("t1", 100, 50).unwrap();
            store.revoke("t2", 200, 101 + KEPT).unwrap();
        }
        let store = Store::open(&file).unwrap();
        assert_eq!(store.tunnel("web").unwrap().used, 7);
        assert_eq!(store.tunnel("abc").unwrap().owner, "ada");
        assert_eq!(
            store.keys().unwrap().iter().map(|key| key.id.as_str()).collect::<Vec<_>>(),
            ["old", "new"]
        );
        assert!(store.is_revoked("t2") && !store.is_revoked("t1"));
        assert!(store.delete("abc").unwrap() && !store.delete("abc").unwrap());
        assert!(store.tunnel("abc").is_none() && store.tunnels().is_empty());
    }

    #[test]
    fn a_full_disk_is_survived() {
        let disk = Disk::default();
        let store = disk.store();
        store.create(record("abc", "web")).unwrap();
        disk.full(true);
        // Whichever write notices first: from then on the database refuses everything.
        let error = store.create(record("new", "new")).unwrap_err();
        assert!(matches!(error, StoreError::Failed(_)));
        let (logged, cause) = (crate::with_causes(&error), io::Error::from(io::ErrorKind::StorageFull));
        assert!(logged.starts_with("the relay's store failed: "), "{logged}");
        assert_eq!(logged.matches(&cause.to_string()).count(), 1, "{logged}");
        assert!(!store.works());
        assert!(store.revoke("t1", 100, 50).is_err() && store.heal().is_err());
        assert!(store.is_revoked("t1"), "whoever has asked for it does not meet the token again");
        assert!(store.tunnel("abc").is_some() && store.tunnel("new").is_none());
        disk.full(false);
        store.heal().unwrap();
        assert!(store.works());
        assert!(store.create(record("new", "new")).unwrap());
        store.revoke("t2", 100, 50).unwrap();
        drop(store);
        let store = disk.store();
        assert!(store.is_revoked("t1") && store.is_revoked("t2"));
        assert_eq!(store.tunnels().len(), 2);
    }

    #[test]
    fn a_store_that_failed_is_not_tried_again_at_once() {
        let disk = Disk::default();
        let store = Store::load(disk.database()).unwrap();
        disk.full(true);
        assert!(store.create(record("abc", "web")).is_err());
        assert!(!matches!(store.heal(), Ok(()) | Err(StoreError::Down)), "the first time it is");
        disk.full(false);
        assert!(matches!(store.heal(), Err(StoreError::Down)));
    }

    #[test]
    fn a_later_schema_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.redb");
        drop(Store::open(&file).unwrap());
        {
            let database = Database::create(&file).unwrap();
            let write = database.begin_write().unwrap();
            write.open_table(META).unwrap().insert("schema", SCHEMA + 1).unwrap();
            write.commit().unwrap();
        }
        assert!(matches!(Store::open(&file), Err(StoreError::TooNew { found }) if found == SCHEMA + 1));
    }
}
