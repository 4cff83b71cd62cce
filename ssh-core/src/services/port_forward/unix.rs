//! Unix sockets as places to listen on and to connect to (OpenSSH PROTOCOL §2.4).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};
use tokio::net::{UnixListener, UnixStream};

use super::event::{ForwardEvent, Target};
use super::listener::{Accept, Listening, listen};
use super::socket::Socket;
use super::{ForwardError, Shared};

/// A local forward whose connections come through a Unix socket, from
/// [`PortForwarding::local_socket`](super::PortForwarding::local_socket). Dropping it stops the listening and removes the
/// socket; connections go on.
#[derive(Debug)]
pub struct SocketForward {
    path: PathBuf,
    listening: Listening,
}

impl SocketForward {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops the listening and waits until the socket is gone. Connections go on.
    ///
    /// # Cancel safety
    /// A dropped future has stopped the listening all the same; the socket may be gone a moment later.
    pub async fn stop(self) {
        self.listening.stop().await;
    }
}

pub(super) fn start(
    shared: &Arc<Shared>,
    path: &Path,
    target: Target,
) -> Result<SocketForward, ForwardError> {
    let failed = |source| ForwardError::Bind { bind: path.display().to_string(), source };
    let listener = SocketListener::bind(path).map_err(failed)?;
    let listening =
        listen(shared, listener, move |shared, socket, from| forward(shared, socket, from, target.clone()));
    let listening = listening.ok_or_else(|| shared.over())?;
    Ok(SocketForward { path: path.to_owned(), listening })
}

async fn forward(shared: Arc<Shared>, socket: UnixStream, from: String, target: Target) {
    // Whoever came has no address, and some servers refuse an originator that is none.
    match shared.open_direct(&target, "127.0.0.1", 0).await {
        Ok(channel) => {
            shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
            Socket::from(socket).run(channel, &target).await;
        }
        Err(error) => shared.report_unopened(&from, &target, &error),
    }
}

/// A listening socket that removes its file with itself, unless that has become another's.
#[derive(Debug)]
pub(super) struct SocketListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    file: Option<(u64, u64)>,
}

impl SocketListener {
    /// Listens on a path where there is nothing yet, like an OpenSSH with `StreamLocalBindUnlink no`: a socket that
    /// somebody left behind is not ours to remove. Only this user can connect.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let file = fs::File::from(OwnedFd::from(socket));
        // Where the system lets one, the file is born with its mode; where not, nobody can connect before the listen.
        let _ = file.set_permissions(fs::Permissions::from_mode(MODE));
        let socket = socket2::Socket::from(OwnedFd::from(file));
        socket.bind(&address)?;
        let found = fs::symlink_metadata(path)?;
        let mut listener = Guard { path, file: Some((found.dev(), found.ino())) };
        if found.mode() & 0o777 != MODE && found.file_type().is_socket() {
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        }
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = UnixListener::from_std(socket.into())?;
        Ok(Self { listener: socket, path: path.to_owned(), file: listener.file.take() })
    }
}

/// Removes the file if the listening does not come about.
struct Guard<'a> {
    path: &'a Path,
    file: Option<(u64, u64)>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        remove(self.path, self.file);
    }
}

impl Drop for SocketListener {
    fn drop(&mut self) {
        remove(&self.path, self.file);
    }
}

fn remove(path: &Path, file: Option<(u64, u64)>) {
    let found = fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if found.is_some()
        && found == file
        && let Err(error) = fs::remove_file(path)
    {
        tracing::debug!(path = %path.display(), %error, "cannot remove the socket");
    }
}

impl Accept for SocketListener {
    type Stream = UnixStream;
    type From = String;

    async fn accept(&self) -> io::Result<(UnixStream, String)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, format!("{}", self.path.display())))
    }
}

/// Connects to a socket.
pub(super) async fn connect(path: &str) -> io::Result<UnixStream> {
    // It waits as long as the queue of the listener is full.
    let connected = tokio::time::timeout(DEADLINE, UnixStream::connect(path)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// For this user only.
const MODE: u32 = 0o600;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// From the path to the connection.
const DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_for_its_user_only_and_goes_with_its_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = SocketListener::bind(&path).unwrap();
        assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
        let taken = SocketListener::bind(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        let text = path.to_str().unwrap();
        let (connected, accepted) = tokio::join!(connect(text), Accept::accept(&listener));
        assert!(connected.is_ok() && accepted.is_ok());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_others_left_or_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let stale = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(stale);
        assert_eq!(SocketListener::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        fs::remove_file(&path).unwrap();
        let listener = SocketListener::bind(&path).unwrap();
        fs::rename(&path, folder.path().join("t")).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(listener);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        let long = folder.path().join("x".repeat(200));
        assert_eq!(SocketListener::bind(&long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
