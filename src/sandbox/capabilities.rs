//! The privileges of root that the sandbox gives up: Linux's capabilities(7).

use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::{Sandbox, SandboxError};

impl Sandbox {
    /// Gives up the capabilities of this thread and of the threads that it will
    /// start, except those that the sandbox's paths need. Returns the
    /// capabilities that it keeps: a card that root starts may have to read
    /// another user's files, or to remove its socket from that user's
    /// directory.
    pub(super) fn give_up_capabilities(&self) -> Result<CapabilitySet, SandboxError> {
        let had = capabilities(None).map_err(SandboxError::Capabilities)?;
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: had.permitted,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(SandboxError::Capabilities)?;
        let needs = |paths: &[PathBuf], access| {
            let refused = |path: &PathBuf| accessat(CWD, path, access, AtFlags::EACCESS).is_err();
            paths.iter().any(refused)
        };
        let mut kept = CapabilitySet::empty();
        kept.set(
            CapabilitySet::DAC_READ_SEARCH,
            needs(&self.readable, Access::READ_OK),
        );
        kept.set(
            CapabilitySet::DAC_OVERRIDE,
            needs(&self.removable, Access::WRITE_OK | Access::EXEC_OK),
        );
        let kept = kept & had.effective;
        let left = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, left).map_err(SandboxError::Capabilities)?;
        Ok(kept)
    }
}
