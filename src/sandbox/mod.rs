//! The sandbox of the running card: what is left to a guest, or to a file, that
//! has taken it over.
//!
//! The process keeps what it has opened. From then on it may read the files
//! that it was allowed, and remove its own sockets; it may start threads and
//! map memory that is not executable, and talk over sockets that exist. It can
//! open nothing for writing, make no socket, start no process, signal nobody
//! else, and gain no privilege.
//!
//! A system call that is not allowed fails with EPERM rather than kill the
//! process: it has no effect in either case, and a library that tries
//! something new on another machine costs what it tried, not a running
//! guest's card. It is said on stderr, once for each, so that an attempt is
//! noticed.

mod capabilities;
mod landlock;
mod refusal;
mod seccomp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use rustix::thread::CapabilitySet;
use rustix::time::{ClockId, clock_gettime};

pub use self::landlock::Landlock;

/// What a process will need to reach once it is in the sandbox.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// Files that may be read, and folders of such files.
    pub readable: Vec<PathBuf>,
    /// Folders that files may be removed from: those of the sockets.
    pub removable: Vec<PathBuf>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A path that is to be allowed cannot be opened.
    #[error("cannot allow the sandbox {path}: {error}", path = .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        error: ::landlock::PathFdError,
    },
    /// Landlock is there, and refuses.
    #[error("cannot restrict access to files: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    /// Capabilities cannot be given up.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(rustix::io::Errno),
    /// Refused calls cannot be noticed.
    #[error("cannot handle system calls that are refused: {0}")]
    Handler(std::io::Error),
    /// The kernel refuses the filter of system calls.
    #[error("cannot restrict system calls: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The filter cannot be made for this machine.
    #[error("cannot restrict system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// How many system calls are allowed.
    pub system_calls: usize,
    /// What restricts access to files.
    pub landlock: Landlock,
    /// Capabilities that the paths of the sandbox need.
    pub capabilities: CapabilitySet,
}

impl Sandbox {
    /// Enters the sandbox, for good: this thread with those it starts, and as
    /// far as system calls are concerned all others, too.
    ///
    /// # Errors
    /// Where the kernel refuses. That it has no landlock is no error, since
    /// not every kernel has.
    pub fn enter(&self) -> Result<InForce, SandboxError> {
        // Finds the kernel's clock that needs no system call, which takes a
        // file that cannot be opened later.
        let _ = clock_gettime(ClockId::Monotonic);
        // In this order: no call that restricts further is allowed then.
        let landlock = self.restrict_files()?;
        let capabilities = self.give_up_capabilities()?;
        let system_calls = seccomp::restrict()?;
        Ok(InForce {
            system_calls,
            landlock,
            capabilities,
        })
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            system_calls,
            landlock,
            capabilities,
        } = self;
        write!(f, "seccomp ({system_calls} system calls), {landlock}, ")?;
        match capabilities.is_empty() {
            true => write!(f, "no capabilities, no new privileges"),
            false => {
                let names: Vec<_> = capabilities.iter_names().map(|(name, _)| name).collect();
                write!(f, "capabilities {}, no new privileges", names.join(" and "))
            }
        }
    }
}
