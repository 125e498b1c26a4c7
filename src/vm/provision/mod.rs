//! Things that are built once on a machine and then kept: guests' trees and
//! images, drivers, a QEMU.
//!
//! [`cache`] keeps them, each under a key of what it is made of, and lets
//! nothing half-made be taken for whole. [`process`] runs what builds them,
//! [`bootstrap`] unpacks Debian packages, [`tree`] looks into what they made.

pub mod bootstrap;
pub mod cache;
pub mod process;
pub mod tree;

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why something could not be provided. Each is one sentence for the user.
#[derive(Debug, Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// There is nowhere to keep anything.
    #[error("there is no cache directory: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCache,
    /// A program is missing that a package would bring.
    #[error("{tool} is not installed: run `apt-get install {package}`")]
    MissingTool {
        /// The program.
        tool: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// Not a Debian, nor anything like it.
    #[error(
        "this system has no apt, and guests are made of Debian packages: use Debian, or a \
         distribution made from it"
    )]
    NoApt,
    /// apt is set up for something else than Debian.
    #[error("this system's apt knows no Debian archive: set PINHOLE_MIRROR to the address of one")]
    NoMirror,
    /// A program ran and failed.
    #[error("{what} failed: {line} (the whole log is {})", log.display())]
    Failed {
        /// What was being done.
        what: String,
        /// The line of its output that says most.
        line: String,
        /// Where all its output is.
        log: PathBuf,
    },
    /// Packages could not be had.
    #[error(
        "cannot get the packages of {what}: {line}; is there a network, and a Debian mirror at \
         the other end (PINHOLE_MIRROR)? (the whole log is {})", log.display()
    )]
    Fetch {
        /// For what.
        what: String,
        /// apt's own words.
        line: String,
        /// Where all its output is.
        log: PathBuf,
    },
    /// Neither root nor user namespaces.
    #[error(
        "building the driver takes a mount namespace, and the system refuses one ({line}): run \
         as root, or allow unprivileged user namespaces"
    )]
    Namespaces {
        /// unshare's own words.
        line: String,
    },
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// No such guest.
    #[error("there is no guest named {id}: there are {known}")]
    UnknownGuest {
        /// What was asked for.
        id: String,
        /// All there are.
        known: String,
    },
    /// The packages are not what the recipe takes them for.
    #[error("the packages of {what} are not as expected: {why}")]
    Contents {
        /// Whose.
        what: String,
        /// What is missing or too much.
        why: String,
    },
    /// The QEMU that was asked for will not do.
    #[error("{} cannot be used: {why}", path.display())]
    Qemu {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file of the user's own kernel will not do.
    #[error("{} cannot be used: {why}", path.display())]
    Own {
        /// Which, or which folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Error {
    /// Whether it is this system that lacks something, whatever was to be
    /// provided.
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

/// What all of this returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says for an I/O error what was tried on what.
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
