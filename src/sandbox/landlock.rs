//! Restriction of file access: Linux's landlock(7).

use std::fmt;

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::{Sandbox, SandboxError};

/// The requested version of landlock's interface. A kernel with an older
/// version restricts less.
const WANTED: ABI = ABI::V6;

/// The restriction of file access that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    /// Landlock restricts access, with that version of its interface.
    InForce {
        /// The version.
        abi: i32,
        /// Whether the kernel supports less than was requested.
        partly: bool,
    },
    /// Nothing restricts access.
    Missing {
        /// Whether the kernel has landlock, but it was not enabled at boot.
        disabled: bool,
    },
}

impl Landlock {
    /// Returns whether landlock restricts access.
    pub fn is_in_force(self) -> bool {
        matches!(self, Self::InForce { .. })
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InForce { abi, partly: false } => write!(f, "landlock ABI {abi}"),
            Self::InForce { abi, partly: true } => {
                write!(f, "landlock ABI {abi} (in part: a newer kernel has more)")
            }
            Self::Missing { disabled: false } => f.write_str("no landlock (not in this kernel)"),
            Self::Missing { disabled: true } => f.write_str("no landlock (disabled at boot)"),
        }
    }
}

impl Sandbox {
    /// Restricts this thread, and the threads that it will start, to the
    /// allowed files. TCP is forbidden as well, and so are signals to other
    /// processes and their abstract sockets.
    pub(super) fn restrict_files(&self) -> Result<Landlock, SandboxError> {
        let mut rules = Ruleset::default()
            .handle_access(AccessFs::from_all(WANTED))?
            .handle_access(AccessNet::from_all(WANTED))?
            .scope(Scope::from_all(WANTED))?
            .create()?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let remove = BitFlags::from(AccessFs::RemoveFile);
        for (paths, access) in [(&self.readable, read), (&self.removable, remove)] {
            for path in paths {
                let fd = PathFd::new(path).map_err(|error| SandboxError::Path {
                    path: path.clone(),
                    error,
                })?;
                // A file that is not a directory does not get the access rights
                // of directories.
                let access = match path.is_dir() {
                    true => access,
                    false => access & AccessFs::from_file(WANTED),
                };
                rules = rules.add_rule(PathBeneath::new(fd, access))?;
            }
        }
        let status = rules.restrict_self()?;
        Ok(match (status.landlock, status.ruleset) {
            (LandlockStatus::NotImplemented, _) => Landlock::Missing { disabled: false },
            (LandlockStatus::NotEnabled, _) | (_, RulesetStatus::NotEnforced) => {
                Landlock::Missing { disabled: true }
            }
            (LandlockStatus::Available { effective_abi, .. }, ruleset) => Landlock::InForce {
                abi: effective_abi as i32,
                partly: ruleset == RulesetStatus::PartiallyEnforced,
            },
        })
    }
}
