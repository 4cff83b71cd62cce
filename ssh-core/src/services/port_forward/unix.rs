//! Unix sockets as places to listen on and to connect to (OpenSSH PROTOCOL §2.4).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdListener;
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
/// [`PortForwarding::local_socket`](super::PortForwarding::local_socket), where dropping it stops the listening and removes
/// the socket, or from [`local_socket_on`](super::PortForwarding::local_socket_on), where dropping it takes no more
/// connections. Those that there are go on.
#[derive(Debug)]
pub struct SocketForward {
    path: PathBuf,
    listening: Listening,
}

impl SocketForward {
    /// Where it listens; empty for a socket that has no path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops the listening and waits until the socket is gone, if it is this forward's. Connections go on.
    ///
    /// # Cancel safety
    /// A dropped future has stopped the listening all the same; the socket may be gone a moment later.
    pub async fn stop(self) {
        self.listening.stop().await;
    }
}

/// A Unix socket that is listened on, and that only this user can connect to. It is there from one session to the next:
/// connections wait in the system's queue for a forward [on it](super::PortForwarding::local_socket_on). Dropping it
/// removes its file, unless that has become another's.
#[derive(Debug)]
pub struct SocketListener {
    listener: StdListener,
    file: SocketFile,
}

impl SocketListener {
    /// Listens on a path where there is nothing yet, like an OpenSSH with `StreamLocalBindUnlink no`: a socket that
    /// somebody left behind is not ours to remove.
    ///
    /// # Errors
    /// If the system does not let us listen there, or the path is too long for it, which is somewhat above a hundred bytes.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let address = SockAddr::unix(path)?;
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        let file = fs::File::from(OwnedFd::from(socket));
        // Where the system lets one, the file is born with its mode; where not, nobody can connect before the listen.
        let _ = file.set_permissions(fs::Permissions::from_mode(MODE));
        let socket = socket2::Socket::from(OwnedFd::from(file));
        socket.bind(&address)?;
        let found = fs::symlink_metadata(path)?;
        // From here on it goes with whatever fails.
        let file = SocketFile { path: path.to_owned(), inode: (found.dev(), found.ino()) };
        if found.mode() & 0o777 != MODE && found.file_type().is_socket() {
            fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        }
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(Self { listener: socket.into(), file })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Another handle to the same socket, for the forward of one session. It needs a tokio runtime.
    ///
    /// # Errors
    /// If the system has no descriptors left.
    pub fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }

    /// To take its connections here and now.
    pub(super) fn into_accepting(self) -> io::Result<Accepting> {
        let listener = UnixListener::from_std(self.listener)?;
        Ok(Accepting { listener, path: self.file.path.clone(), _file: Some(self.file) })
    }
}

/// What is removed with the listener.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and number.
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).ok().map(|found| (found.dev(), found.ino()));
        if found == Some(self.inode)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

pub(super) fn start(
    shared: &Arc<Shared>,
    path: &Path,
    target: Target,
) -> Result<SocketForward, ForwardError> {
    let listener = SocketListener::bind(path).and_then(SocketListener::into_accepting);
    start_with(shared, listener.map_err(|source| failed(path, source))?, target)
}

pub(super) fn start_on(
    shared: &Arc<Shared>,
    listener: UnixListener,
    target: Target,
) -> Result<SocketForward, ForwardError> {
    let address = listener.local_addr().map_err(|source| failed(Path::new("a socket"), source))?;
    let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
    start_with(shared, Accepting { listener, path, _file: None }, target)
}

fn start_with(
    shared: &Arc<Shared>,
    listener: Accepting,
    target: Target,
) -> Result<SocketForward, ForwardError> {
    let path = listener.path.clone();
    let listening =
        listen(shared, listener, move |shared, socket, from| forward(shared, socket, from, target.clone()));
    Ok(SocketForward { path, listening: listening.ok_or_else(|| shared.over())? })
}

fn failed(path: &Path, source: io::Error) -> ForwardError {
    ForwardError::Bind { bind: path.display().to_string(), source }
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

/// A listening socket, with its file if that goes with it.
#[derive(Debug)]
pub(super) struct Accepting {
    listener: UnixListener,
    path: PathBuf,
    _file: Option<SocketFile>,
}

impl Accept for Accepting {
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
        let listener = SocketListener::bind(&path).unwrap().into_accepting().unwrap();
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
