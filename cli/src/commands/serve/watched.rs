//! Files that are read again when they have changed, so that to take a key away needs no restart.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error::CliError;

/// What a file says, as of now.
pub(super) struct Watched<T> {
    path: PathBuf,
    /// Reads the file; has a limit for its size.
    read: Box<dyn Fn(&Path) -> Result<T, CliError> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    stamp: Option<Stamp>,
    /// `None` if the file cannot be used: nobody comes in by it until it can.
    content: Option<Arc<T>>,
}

/// What tells one content from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: SystemTime,
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

/// What has happened to a file since it was last asked for.
#[derive(Debug)]
pub(super) enum Change<'a, T> {
    /// It says something else now.
    New(&'a T),
    /// It cannot be used any more.
    Broken(CliError),
}

impl<T> Watched<T> {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// What `read` says.
    pub(super) fn load(
        path: &Path,
        read: impl Fn(&Path) -> Result<T, CliError> + Send + Sync + 'static,
    ) -> Result<Self, CliError> {
        let stamp = Stamp::of(path);
        let content = read(path)?;
        let state = State { stamp, content: Some(Arc::new(content)) };
        Ok(Self { path: path.to_owned(), read: Box::new(read), state: Mutex::new(state) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now; `None` if it cannot be used. `changed` is told when that is not what it was. This reads a file,
    /// so it is not for a thread that serves connections.
    pub(super) fn current(&self, changed: impl FnOnce(Change<'_, T>)) -> Option<Arc<T>> {
        // The lock is held while reading: one reads, the others wait for what it finds.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path);
        if stamp.is_some() && stamp == state.stamp {
            return state.content.clone();
        }
        let was_usable = state.content.is_some();
        let was_stamp = std::mem::replace(&mut state.stamp, stamp);
        match (self.read)(&self.path) {
            Ok(content) => {
                let content = Arc::new(content);
                state.content = Some(Arc::clone(&content));
                if was_stamp.is_some() || !was_usable {
                    changed(Change::New(&content));
                }
                Some(content)
            }
            Err(error) => {
                state.content = None;
                // A file that is missing has no stamp, so it is tried each time but complained about once.
                if was_usable || was_stamp != stamp {
                    changed(Change::Broken(error));
                }
                None
            }
        }
    }
}

impl Stamp {
    /// `None` if the file cannot be asked, or was written so recently that another writing might leave the same stamp.
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        let modified = metadata.modified().ok()?;
        let age = SystemTime::now().duration_since(modified);
        if age.is_ok_and(|age| age < SETTLED_AFTER) || !metadata.is_file() {
            return None;
        }
        Some(Self {
            len: metadata.len(),
            modified,
            #[cfg(unix)]
            inode: inode(&metadata),
        })
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

/// Coarser than the clock of any file system.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
