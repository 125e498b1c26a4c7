//! The listening socket.

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

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error("another process listens on {0} already; end it or choose another path")]
    InUse(PathBuf),
    /// Something that is not a socket has that name.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// What was handed over is not what it should be.
    #[error("file descriptor {0} is not a Unix stream socket; pass one that is, or a path")]
    NoVhostUserSocket(RawFd),
    /// The connection that was handed over cannot be served.
    #[error("cannot serve file descriptor {fd}: {error}")]
    Relay {
        /// The file descriptor.
        fd: RawFd,
        /// The system's answer.
        error: io::Error,
    },
    /// The system refuses.
    #[error("cannot listen on {path}: {error}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
}

/// A socket to listen on. One that was bound to a path here is removed from there
/// with it.
#[derive(Debug)]
pub struct ListeningSocket {
    listener: UnixListener,
    bound: Option<SocketName>,
}

/// The name of a socket in the file system.
#[derive(Debug, Clone)]
pub struct SocketName {
    path: PathBuf,
    /// Device and inode: by now another daemon's socket may have the name.
    identity: (u64, u64),
}

impl SocketName {
    /// Removes the name, if it is still this socket's.
    pub fn remove(&self) {
        if identity(&self.path) == Some(self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl ListeningSocket {
    /// A socket with the name `path`, to which nobody can connect before
    /// [`listen`](Self::listen). One of that name that nobody listens on, left
    /// by a daemon that was killed, is replaced. Who may connect is for the
    /// umask to say.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        Self::bind_with(path, |_| Ok(()))
    }

    /// Binds `path` as [`bind`](Self::bind) does, for this user alone.
    pub fn bind_private(path: &Path) -> Result<Self, ListenError> {
        // Before there is a name to connect to; the name inherits it.
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

    /// Lets others connect.
    pub fn listen(&self) -> io::Result<()> {
        Ok(rustix::net::listen(&self.listener, BACKLOG)?)
    }

    /// The name that goes with it.
    pub fn name(&self) -> Option<&SocketName> {
        self.bound.as_ref()
    }

    /// The socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// A socket from whoever started this process, who will remove its name, if it
/// has one.
#[derive(Debug)]
pub enum InheritedSocket {
    /// Front ends will connect to it.
    Listening(ListeningSocket),
    /// A front end is at the other end.
    Connected(Relay),
}

impl InheritedSocket {
    /// The socket, if it is one to listen on.
    pub fn listening(&self) -> Option<&ListeningSocket> {
        match self {
            Self::Listening(socket) => Some(socket),
            Self::Connected(_) => None,
        }
    }

    /// Takes over a socket that is a listening or a connected one.
    ///
    /// # Safety
    /// If the file descriptor is open, nothing else in this process uses it.
    pub unsafe fn take(fd: RawFd) -> Result<Self, ListenError> {
        // What is not open must not become an OwnedFd.
        if fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_err() {
            return Err(ListenError::NoVhostUserSocket(fd));
        }
        // SAFETY: it is open, and by the caller's promise nobody else's.
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
        // A front end that comes too early is told so, and tries again.
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
