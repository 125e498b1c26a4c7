//! The daemon's listening socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::relay::Relay;

/// Largest number of connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens on that path.
    #[error("another process listens on {0} already; end it or choose another path")]
    InUse(PathBuf),
    /// The path names something that is not a socket.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// The inherited file descriptor is not a Unix stream socket.
    #[error("file descriptor {0} is not a Unix stream socket; pass one that is, or a path")]
    NoVhostUserSocket(RawFd),
    /// The inherited connection cannot be served.
    #[error("cannot serve file descriptor {fd}: {error}")]
    Relay {
        /// The file descriptor.
        fd: RawFd,
        /// The system's error.
        error: io::Error,
    },
    /// The system refuses to bind or listen.
    #[error("cannot listen on {path}: {error}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

/// A socket to listen on. A name that was bound here is removed when the socket
/// is dropped.
#[derive(Debug)]
pub struct ListeningSocket {
    listener: UnixListener,
    bound: Option<SocketName>,
}

/// The name of a socket in the file system.
#[derive(Debug, Clone)]
pub struct SocketName {
    path: PathBuf,
    /// Device and inode number: another daemon's socket may have the name by
    /// now.
    identity: (u64, u64),
}

impl SocketName {
    /// Removes the name, if it still belongs to this socket.
    pub fn remove(&self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl ListeningSocket {
    /// Binds a socket to the name `path`. No client can connect before
    /// [`listen`](Self::listen). A socket of that name on which no process
    /// listens, left by a daemon that was killed, is replaced. The umask
    /// decides which users may connect.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        Self::bind_with(path, |_| Ok(()))
    }

    /// Binds `path` as [`bind`](Self::bind) does, for the current user alone.
    pub fn bind_private(path: &Path) -> Result<Self, ListenError> {
        // The mode is set before the socket has a name; the name inherits it.
        Self::bind_with(path, |socket| {
            rustix::fs::fchmod(socket, Mode::RUSR | Mode::WUSR)
        })
    }

    fn bind_with(
        path: &Path,
        prepare: impl FnOnce(&OwnedFd) -> rustix::io::Result<()>,
    ) -> Result<Self, ListenError> {
        remove_stale(path)?;
        let bind = || -> rustix::io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            prepare(&socket)?;
            rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
            Ok(socket)
        };
        let socket = bind().map_err(|error| ListenError::Bind {
            path: path.to_owned(),
            error: error.into(),
        })?;
        let bound = identity(path).map(|identity| SocketName {
            path: path.to_owned(),
            identity,
        });
        Ok(Self {
            listener: socket.into(),
            bound,
        })
    }

    /// Starts to accept connections.
    pub fn listen(&self) -> io::Result<()> {
        Ok(rustix::net::listen(&self.listener, BACKLOG)?)
    }

    /// Returns the name that was bound, if any.
    pub fn name(&self) -> Option<&SocketName> {
        self.bound.as_ref()
    }

    /// Returns the socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// A socket inherited from the process that started this one, which removes the
/// socket's name, if it has one.
#[derive(Debug)]
pub enum InheritedSocket {
    /// A listening socket, to which front ends will connect.
    Listening(ListeningSocket),
    /// A connected socket with a front end at the other end.
    Connected(Relay),
}

impl InheritedSocket {
    /// Returns the socket if it is a listening one.
    pub fn listening(&self) -> Option<&ListeningSocket> {
        match self {
            Self::Listening(socket) => Some(socket),
            Self::Connected(_) => None,
        }
    }

    /// Takes over a socket, which may be listening or connected.
    ///
    /// # Safety
    /// If the file descriptor is open, no other code in this process uses it.
    pub unsafe fn take(fd: RawFd) -> Result<Self, ListenError> {
        // A file descriptor that is not open must not become an OwnedFd.
        if fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err() {
            return Err(ListenError::NoVhostUserSocket(fd));
        }
        // SAFETY: the descriptor is open, and the caller promises that no other
        // code uses it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let is_stream = socket_domain(&socket) == Ok(AddressFamily::UNIX)
            && socket_type(&socket) == Ok(SocketType::STREAM);
        match socket_acceptconn(&socket) {
            Ok(true) if is_stream => Ok(Self::Listening(ListeningSocket {
                listener: socket.into(),
                bound: None,
            })),
            Ok(false) if is_stream => Relay::new(socket.into())
                .map(Self::Connected)
                .map_err(|error| ListenError::Relay { fd, error }),
            _ => Err(ListenError::NoVhostUserSocket(fd)),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        if let Some(bound) = &self.bound {
            bound.remove();
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    let removed = match UnixStream::connect(path) {
        Ok(_) => return Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.map_err(|error| ListenError::Bind {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.sock");
        // Dropping a UnixListener leaves its name behind.
        drop(UnixListener::bind(&path).unwrap());
        let socket = ListeningSocket::bind(&path).unwrap();
        // A front end that connects too early is refused, and tries again.
        let early = UnixStream::connect(&path).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        socket.listen().unwrap();
        assert!(matches!(
            ListeningSocket::bind(&path),
            Err(ListenError::InUse(_))
        ));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_private_socket_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let socket = ListeningSocket::bind_private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        socket.listen().unwrap();
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_but_a_socket_of_its_own_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("card.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            ListeningSocket::bind(&path),
            Err(ListenError::NotASocket(_))
        ));
        fs::remove_file(&path).unwrap();

        let socket = ListeningSocket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
