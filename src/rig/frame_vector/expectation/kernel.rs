//! What of a kernel decides an answer.

use crate::rig::frame_vector::answer::Answer;
use crate::rig::kernel::Version;

/// What of a kernel decides an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Its version.
    pub version: Version,
    /// It checks the callers of its memory management (CONFIG_DEBUG_VM).
    pub debug_vm: bool,
}

impl Kernel {
    /// It always asks for write access, and by force.
    pub fn forces(self) -> bool {
        (FAST..TOLD_WRITE).contains(&self.version)
    }

    /// It keeps the mmap lock whatever it has to wait for.
    pub fn holds_lock(self) -> bool {
        (FAST..LETS_GO).contains(&self.version)
    }
}

/// Since then `get_vaddr_frames()` asks for a long-term pin, first by GUP's fast
/// path, which reads page tables without a lock. Before, it looked at the mapping
/// first.
pub const FAST: Version = Version(5, 12);

/// It is told whether the memory is written to. From [`FAST`] until then it
/// always asked for write access, by force.
pub const TOLD_WRITE: Version = Version(6, 2);

/// A long-term pin may let go of the mmap lock. From [`FAST`] until then it could
/// not, as the FIXME in `__gup_longterm_unlocked()` said.
pub const LETS_GO: Version = Version(6, 3);

/// GUP does not pin the pages of a file for long that the file system has to
/// know of when they are written to.
pub const KEEPS_OFF_FILES: Version = Version(6, 5);

/// GUP's fast path takes pages of no file and no process again where they are
/// only read. It came after 6.12, and is in 7.3.
pub const TRUSTS_READERS: Version = Version(6, 13);

/// Huge pages of hugetlb can be moved out of `ZONE_MOVABLE` to be pinned. It came
/// after 6.1, and is in 6.12.
pub const PINS_MOVABLE_HUGE: Version = Version(6, 2);

/// An overflow is an error of its own. It came after 6.1, and is in 6.12.
pub const TELLS_OVERFLOW: Version = Version(6, 2);

/// What the answer should be, and why.
pub type Expectation = (Answer, &'static str);
