//! Files that are read again when they have changed, so that to take a key or a port away needs no restart.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::commands::session::now;
use crate::error::CliError;

/// What a file says, as of now.
pub(crate) struct Watched<T> {
    path: PathBuf,
    /// Reads the file; has a limit for its size.
    read: Read<T>,
    state: Mutex<State<T>>,
}

type Read<T> = Box<dyn Fn(&Path) -> Result<T, CliError> + Send + Sync>;

struct State<T> {
    /// `None` if there was no file.
    stamp: Option<Stamp>,
    /// Whether another writing would surely have left another stamp.
    is_settled: bool,
    /// `None` if the file cannot be used: nobody comes in by it until it can.
    content: Option<Arc<T>>,
}

/// What tells one content from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: SystemTime,
    /// Device, number and change of the inode, where there are any.
    inode: (u64, u64, i64, i64),
}

/// What has happened to a file since it was last asked for.
#[derive(Debug)]
pub(crate) enum Change<'a, T> {
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
    pub(crate) fn load(
        path: &Path,
        read: impl Fn(&Path) -> Result<T, CliError> + Send + Sync + 'static,
    ) -> Result<Self, CliError> {
        let (stamp, is_settled) = Stamp::of(path);
        let content = Some(Arc::new(read(path)?));
        let state = Mutex::new(State { stamp, is_settled, content });
        Ok(Self { path: path.to_owned(), read: Box::new(read), state })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now; `None` if it cannot be used. `changed` is told when that is not what it was. This reads a file,
    /// so it is not for a thread that serves connections.
    pub(crate) fn current(&self, changed: impl FnOnce(Change<'_, T>)) -> Option<Arc<T>> {
        // The lock is held while reading: one reads, the others wait for what it finds.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, is_settled) = Stamp::of(&self.path);
        if state.is_settled && stamp == state.stamp {
            return state.content.clone();
        }
        let was_usable = state.content.is_some();
        let is_other = std::mem::replace(&mut state.stamp, stamp) != stamp;
        state.is_settled = is_settled;
        match (self.read)(&self.path) {
            Ok(content) => {
                if is_other || !was_usable {
                    changed(Change::New(&content));
                }
                state.content = Some(Arc::new(content));
            }
            Err(error) => {
                if is_other || was_usable {
                    changed(Change::Broken(error));
                }
                state.content = None;
            }
        }
        state.content.clone()
    }
}

impl Stamp {
    /// The stamp, and whether it is old enough to tell this content from any later one. What is no file, such as a pipe,
    /// can be read only once, so it counts as settled.
    fn of(path: &Path) -> (Option<Self>, bool) {
        let Ok(metadata) = std::fs::metadata(path) else { return (None, false) };
        if !metadata.is_file() {
            return (
                Some(Self { len: 0, modified: SystemTime::UNIX_EPOCH, inode: Default::default() }),
                true,
            );
        }
        // Without a time it is read each time.
        let modified = metadata.modified().unwrap_or_else(|_| now());
        let age = now().duration_since(modified);
        let stamp = Self { len: metadata.len(), modified, inode: inode(&metadata) };
        (Some(stamp), age.is_ok_and(|age| age >= SETTLED_AFTER))
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> (u64, u64, i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> (u64, u64, i64, i64) {
    Default::default()
}

/// Coarser than the clock of any file system.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::error::Code;

    fn read(path: &Path) -> Result<String, CliError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| CliError::new(Code::File, error.to_string()))?;
        if text.contains("broken") { Err(CliError::new(Code::File, "broken")) } else { Ok(text) }
    }

    #[test]
    fn changes_are_seen_at_once_and_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let file = Watched::load(&path, read).unwrap();
        let said = RefCell::new(Vec::new());
        let current = || {
            let found = file.current(|change| {
                said.borrow_mut().push(match change {
                    Change::New(text) => text.clone(),
                    Change::Broken(error) => error.message,
                });
            });
            found.map(|text| text.to_string())
        };
        assert_eq!((current().as_deref(), current().as_deref()), (Some("one"), Some("one")));
        for (text, expected) in [("two", Some("two")), ("broken", None), ("six", Some("six"))] {
            // As long as the one before, and most likely in the same tick.
            std::fs::write(&path, text).unwrap();
            assert_eq!(current().as_deref(), expected);
            assert_eq!(current().as_deref(), expected);
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!((current(), current()), (None, None));
        std::fs::write(&path, "seven").unwrap();
        assert_eq!(current().as_deref(), Some("seven"));
        let said = said.into_inner();
        assert_eq!(said.len(), 5, "{said:?}");
        assert_eq!([&said[0], &said[1], &said[2], &said[4]], ["two", "broken", "six", "seven"]);
    }

    #[test]
    fn a_settled_file_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let old = now() - Duration::from_secs(60);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let reads = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&reads);
        let file = Watched::load(&path, move |path| {
            *counted.lock().unwrap() += 1;
            read(path)
        })
        .unwrap();
        for _ in 0..10 {
            assert!(file.current(|_| ()).is_some());
        }
        assert_eq!(*reads.lock().unwrap(), 1);
    }
}
