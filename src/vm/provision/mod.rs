//! Files that are built once on a machine and then kept: guests' trees and
//! images, drivers, a QEMU.
//!
//! [`cache`] keeps them, each under a key of its ingredients, and ensures that
//! a partial build is never taken for a complete one. [`process`] runs the
//! programs that build them, [`bootstrap`] unpacks Debian packages, [`tree`]
//! reads the resulting trees.

pub mod bootstrap;
pub mod cache;
pub mod process;
pub mod tree;

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why something could not be provided. Each message is one sentence for the
/// user.
#[derive(Debug, Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The attempted action, as a verb.
        action: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// No directory for the cache is known.
    #[error("there is no cache directory: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCache,
    /// A program is not installed.
    #[error("{tool} is not installed: run `apt-get install {package}`")]
    MissingTool {
        /// Name of the program.
        tool: &'static str,
        /// Debian's package that contains it.
        package: &'static str,
    },
    /// The system has no apt: it is not Debian or a derivative.
    #[error(
        "this system has no apt, and guests are made of Debian packages: use Debian, or a \
         distribution made from it"
    )]
    NoApt,
    /// apt is configured for a distribution other than Debian.
    #[error("this system's apt knows no Debian archive: set PINHOLE_MIRROR to the address of one")]
    NoMirror,
    /// A program ran and failed.
    #[error("{what} failed: {line} (the whole log is {})", log.display())]
    Failed {
        /// The action of the program.
        what: String,
        /// The most informative line of its output.
        line: String,
        /// Path of the log with all its output.
        log: PathBuf,
    },
    /// Packages could not be fetched.
    #[error(
        "cannot get the packages of {what}: {line}; is there a network, and a Debian mirror at \
         the other end (PINHOLE_MIRROR)? (the whole log is {})", log.display()
    )]
    Fetch {
        /// Purpose of the packages.
        what: String,
        /// apt's error message.
        line: String,
        /// Path of the log with all the output.
        log: PathBuf,
    },
    /// The process is not root, and user namespaces are not allowed.
    #[error(
        "building the driver takes a mount namespace, and the system refuses one ({line}): run \
         as root, or allow unprivileged user namespaces"
    )]
    Namespaces {
        /// unshare's error message.
        line: String,
    },
    /// SIGINT or SIGTERM arrived.
    #[error("interrupted")]
    Interrupted,
    /// The catalogue has no such guest.
    #[error("there is no guest named {id}: there are {known}")]
    UnknownGuest {
        /// The requested name.
        id: String,
        /// The names of all guests.
        known: String,
    },
    /// The packages do not contain what the recipe expects.
    #[error("the packages of {what} are not as expected: {why}")]
    Contents {
        /// Purpose of the packages.
        what: String,
        /// What is missing, or too much.
        why: String,
    },
    /// The requested QEMU is not usable.
    #[error("{} cannot be used: {why}", path.display())]
    Qemu {
        /// Path of the QEMU.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// A file of the user's own kernel is not usable.
    #[error("{} cannot be used: {why}", path.display())]
    Own {
        /// Path of the file or directory.
        path: PathBuf,
        /// The reason.
        why: String,
    },
}

impl Error {
    /// Returns whether the error is a property of this system, whatever was to
    /// be provided.
    pub fn is_the_systems(&self) -> bool {
        matches!(
            self,
            Self::Io { .. }
                | Self::NoCache
                | Self::MissingTool { .. }
                | Self::Namespaces { .. }
                | Self::Interrupted
        )
    }
}

/// The result type of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Adds the attempted action and the path to an I/O error.
pub(crate) trait Context<T> {
    /// Turns the error into [`Error::Io`].
    fn context(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for Result<T, E> {
    fn context(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        })
    }
}
