//! The sandbox of the running card. It limits what a guest, or a malicious
//! file, can do if it takes over the process.
//!
//! The process keeps the files and sockets that it has open. From then on it
//! may read the allowed files and remove its own sockets; it may start threads,
//! map memory that is not executable, and use existing sockets. It cannot open
//! a file for writing, create a socket, start a process, signal another
//! process, or gain a privilege.
//!
//! A system call that is not allowed fails with EPERM instead of killing the
//! process. It has no effect in either case, and a library that makes a new
//! system call on another machine then loses that call, not a running guest's
//! card. Each refused system call is reported once on stderr, so that an
//! attempt is noticed.

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

/// The paths that a process needs to reach once it is in the sandbox.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// Files that the process may read, and directories of such files.
    pub readable: Vec<PathBuf>,
    /// Directories from which the process may remove files: those of its
    /// sockets.
    pub removable: Vec<PathBuf>,
}

/// Why the process cannot enter the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// An allowed path cannot be opened.
    #[error("cannot allow {path}: {error}", path = .path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's error.
        error: ::landlock::PathFdError,
    },
    /// The kernel has landlock, but refuses the rules.
    #[error("cannot restrict access to files: {0}")]
    Landlock(#[from] ::landlock::RulesetError),
    /// Capabilities cannot be given up.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(rustix::io::Errno),
    /// The handler for refused system calls cannot be installed.
    #[error("cannot handle system calls that are refused: {0}")]
    Handler(std::io::Error),
    /// The kernel refuses the system call filter.
    #[error("cannot restrict system calls: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// The filter cannot be built for this machine.
    #[error("cannot restrict system calls: {0}")]
    Filter(#[from] seccompiler::BackendError),
}

/// The restrictions in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Number of allowed system calls.
    pub system_calls: usize,
    /// The restriction of file access.
    pub landlock: Landlock,
    /// The capabilities kept, which the sandbox's paths need.
    pub capabilities: CapabilitySet,
}

impl Sandbox {
    /// Enters the sandbox for good. The restrictions apply to this thread and
    /// those that it starts; the system call filter applies to all threads.
    ///
    /// # Errors
    /// The kernel refuses. A kernel without landlock is no error, since not
    /// every kernel has it.
    pub fn enter(&self) -> Result<InForce, SandboxError> {
        // This call makes rustix find the kernel's clock that needs no system
        // call. That opens a file, which would not be possible later.
        let _ = clock_gettime(ClockId::Monotonic);
        // The order matters: the system call filter allows no call that
        // restricts further.
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
