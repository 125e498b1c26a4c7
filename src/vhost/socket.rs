//! The listening socket.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error("another process listens on {0} already; end it or choose another path")]
    InUse(PathBuf),
    /// Something that is not a socket has that name.
    #[error("{0} exists and is not a socket; remove it or choose another path")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {path}: {error}")]
    Bind {
        /// The path.
        path: PathBuf,
        /// Its answer.
        error: io::Error,
    },
}

/// A listening socket at a path, which is removed with it.
#[derive(Debug)]
pub struct ListeningSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: by now another daemon's socket may have the name.
    identity: Option<(u64, u64)>,
}

impl ListeningSocket {
    /// Listens at `path`. A socket there that nobody listens on, left by a
    /// daemon that was killed, is replaced.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(|error| ListenError::Bind {
            path: path.to_owned(),
            error,
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: identity(path),
        })
    }

    /// The socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for ListeningSocket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
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
        assert!(matches!(
            ListeningSocket::bind(&path),
            Err(ListenError::InUse(_))
        ));
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
