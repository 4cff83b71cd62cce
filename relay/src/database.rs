//! The file under the store, opened again once it has failed: after an error of the disk redb refuses everything for good, and
//! a disk that was full has room again some day.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError};
use tokio::time::Instant;

use crate::store::StoreError;

/// A database that heals.
pub(crate) struct Healing {
    /// None if there is nothing to come back to.
    open: Option<Open>,
    /// None while it cannot be opened. Transactions hold the lock for reading: two openings of one file are refused.
    database: RwLock<Option<Database>>,
    has_failed: AtomicBool,
    /// When it was last tried to open it again.
    tried: Mutex<Option<Instant>>,
    /// Between two such tries, each of which may read the whole file.
    pause: Duration,
}

type Open = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// See [`Healing::pause`].
const PAUSE: Duration = Duration::from_secs(1);

impl Healing {
    /// Will be opened by `open` once it has failed.
    pub(crate) fn new(
        database: Database,
        open: impl Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Some(Box::new(open)), ..Self::mortal(database) }
    }

    /// Will not: it goes with the process.
    pub(crate) fn mortal(database: Database) -> Self {
        let (has_failed, tried) = (AtomicBool::new(false), Mutex::default());
        Self { open: None, database: RwLock::new(Some(database)), has_failed, tried, pause: PAUSE }
    }

    /// The same, tried again without a pause.
    #[cfg(test)]
    pub(crate) fn without_pause(self) -> Self {
        Self { pause: Duration::ZERO, ..self }
    }

    /// Whether it does what it is asked for, as far as is known.
    pub(crate) fn works(&self) -> bool {
        !self.has_failed.load(Ordering::Acquire)
    }

    /// Does something with the database. One that has failed is opened anew before, and `load` sees it first.
    ///
    /// # Errors
    /// Those of `work` and `load`, [`StoreError::Open`], and [`StoreError::Down`] between two tries.
    pub(crate) fn with<T>(
        &self,
        load: impl FnOnce(&Database) -> Result<(), StoreError>,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.works() {
            self.open_again(load)?;
        }
        let database = self.database.read();
        let done = match &*database {
            Some(database) => work(database),
            None => Err(StoreError::Down),
        };
        if matches!(done, Err(StoreError::Failed(_))) && self.open.is_some() {
            self.has_failed.store(true, Ordering::Release);
        }
        done
    }

    fn open_again(&self, load: impl FnOnce(&Database) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut database = self.database.write();
        // Unless somebody was faster.
        let Some(open) = self.open.as_ref().filter(|_| !self.works()) else { return Ok(()) };
        let (now, mut tried) = (Instant::now(), self.tried.lock());
        if tried.is_some_and(|tried| now.saturating_duration_since(tried) < self.pause) {
            return Err(StoreError::Down);
        }
        *tried = Some(now);
        drop(tried);
        // The file has to be closed first.
        *database = None;
        let opened = open().map_err(StoreError::Open)?;
        load(&opened)?;
        *database = Some(opened);
        self.has_failed.store(false, Ordering::Release);
        tracing::warn!("the store works again");
        Ok(())
    }
}
