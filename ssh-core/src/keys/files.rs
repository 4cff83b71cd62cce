//! Reading files with a limit, and writing them whole or not at all.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::KeyFileError;

/// Whether a file that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// No: it is an error.
    Refuse,
    /// Yes.
    Allow,
}

/// Reads a private key file that nobody else may use.
pub(super) fn read_private(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let (file, metadata) = open(path, is_regular)?;
    refuse_open_to_others(path, &metadata)?;
    read_all(path, file, &metadata, limit)
}

/// Reads a file that is no secret. `None` if there is none. `/dev/null` and pipes will do, of which one waits for its
/// writer.
pub(super) fn read_public(path: &Path, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    match open(path, |metadata| !metadata.is_dir()) {
        Ok((file, metadata)) => read_all(path, file, &metadata, limit).map(Some),
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file that only its owner may read, whole or not at all: a disk that is full leaves nothing behind.
///
/// # Errors
/// [`KeyFileError::Io`], and [`KeyFileError::Exists`] with [`Overwrite::Refuse`].
pub fn write_private(path: &Path, content: &[u8], overwrite: Overwrite) -> Result<(), KeyFileError> {
    write_whole(path, content, 0o600, overwrite)
}

/// Writes a file through a temporary one beside it, so that there is never half a file under its name.
pub(super) fn write_whole(
    path: &Path,
    content: &[u8],
    mode: u32,
    overwrite: Overwrite,
) -> Result<(), KeyFileError> {
    make_parent(path)?;
    if overwrite == Overwrite::Refuse && path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists { path: path.into() });
    }
    let (temporary, mut file) = Temporary::create(path, mode)?;
    let done = file.write_all(content).and_then(|()| file.sync_all());
    done.map_err(|source| io_error("write", path, source))?;
    drop(file);
    temporary.move_to(path, overwrite)?;
    sync_parent(path);
    Ok(())
}

/// Replaces a file that exists through a temporary one beside it, and keeps its mode. Symbolic links are followed.
pub(super) fn replace_whole(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let failed = |source| io_error("replace", path, source);
    let real = fs::canonicalize(path).map_err(failed)?;
    let metadata = fs::metadata(&real).map_err(failed)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile { path: path.into() });
    }
    #[cfg(unix)]
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    #[cfg(not(unix))]
    let mode = 0o600;
    write_whole(&real, content, mode, Overwrite::Allow)
}

/// Appends a line and syncs it. A file whose last line has no end gets one first.
pub(super) fn append_line(path: &Path, line: &str, mode: u32) -> Result<(), KeyFileError> {
    let failed = |source| io_error("append to", path, source);
    make_parent(path)?;
    let mut options = OpenOptions::new();
    let mut file =
        with_mode(options.read(true).append(true).create(true), mode).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(KeyFileError::NotAFile { path: path.into() });
    }
    let mut text = String::with_capacity(line.len().saturating_add(2));
    if !ends_its_last_line(&mut file).map_err(failed)? {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
    // One write, so that others who append at the same time do not come in between.
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    sync_parent(path);
    Ok(())
}

/// Makes the directories above `path` that are missing, for their owner alone.
pub(super) fn make_parent(path: &Path) -> Result<(), KeyFileError> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(parent).map_err(|source| io_error("create the directory", parent, source))
}

/// Makes a new directory entry durable. A file system that cannot do it has no better way, so a failure is let go.
pub(super) fn sync_parent(path: &Path) {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let _ = File::open(parent).and_then(|directory| directory.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Options to create or open a file that gets `mode` if it is new.
pub(super) fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { action, path: path.into(), source }
}

/// A file that goes away unless it is moved to its place.
struct Temporary(PathBuf);

impl Temporary {
    fn create(path: &Path, mode: u32) -> Result<(Self, File), KeyFileError> {
        let failed = |source| io_error("create a temporary file beside", path, source);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{:016x}.tmp", u64::from_be_bytes(random)));
        let temporary = path.with_file_name(name);
        let file = with_mode(OpenOptions::new().write(true).create_new(true), mode)
            .open(&temporary)
            .map_err(failed)?;
        Ok((Self(temporary), file))
    }

    fn move_to(self, path: &Path, overwrite: Overwrite) -> Result<(), KeyFileError> {
        if overwrite == Overwrite::Refuse {
            // A link fails if somebody else has made the file by now; a rename would replace it.
            match fs::hard_link(&self.0, path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(KeyFileError::Exists { path: path.into() });
                }
                // Not every file system has links.
                Err(_) => {}
            }
        }
        fs::rename(&self.0, path).map_err(|source| io_error("write", path, source))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

fn ends_its_last_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0; 1];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn is_regular(metadata: &Metadata) -> bool {
    metadata.is_file()
}

fn open(path: &Path, is_right: fn(&Metadata) -> bool) -> Result<(File, Metadata), KeyFileError> {
    let failed = |source| io_error("read", path, source);
    // Asked first by name, because to open a pipe is to wait for its other end.
    if !is_right(&fs::metadata(path).map_err(failed)?) {
        return Err(KeyFileError::NotAFile { path: path.into() });
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if is_right(&metadata) { Ok((file, metadata)) } else { Err(KeyFileError::NotAFile { path: path.into() }) }
}

fn read_all(
    path: &Path,
    file: File,
    metadata: &Metadata,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let too_large = || KeyFileError::TooLarge { path: path.into(), limit };
    let len = usize::try_from(metadata.len()).ok().filter(|len| *len <= limit).ok_or_else(too_large)?;
    // One byte more than there is, so that the buffer does not move and leave a copy behind.
    let mut content = Zeroizing::new(Vec::with_capacity(len.saturating_add(1)));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut content).map_err(|source| io_error("read", path, source))?;
    if content.len() > limit { Err(too_large()) } else { Ok(content) }
}

#[cfg(unix)]
fn refuse_open_to_others(path: &Path, metadata: &Metadata) -> Result<(), KeyFileError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::OpenToOthers { path: path.into(), mode }) }
}

#[cfg(not(unix))]
fn refuse_open_to_others(_: &Path, _: &Metadata) -> Result<(), KeyFileError> {
    Ok(())
}
