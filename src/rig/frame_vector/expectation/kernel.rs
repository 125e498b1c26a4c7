//! The properties of a kernel on which the answers depend.

use crate::rig::frame_vector::answer::Answer;
use crate::rig::kernel::Version;

/// The properties of a kernel on which the answers depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Version of the kernel.
    pub version: Version,
    /// Whether it checks the callers of its memory management
    /// (CONFIG_DEBUG_VM).
    pub debug_vm: bool,
}

impl Kernel {
    /// Returns whether `get_vaddr_frames()` always requests write access, and
    /// by force.
    pub fn forces(self) -> bool {
        (FAST..TOLD_WRITE).contains(&self.version)
    }

    /// Returns whether a long-term pin keeps the mmap lock whatever it waits
    /// for.
    pub fn holds_lock(self) -> bool {
        (FAST..LETS_GO).contains(&self.version)
    }
}

/// First version in which `get_vaddr_frames()` requests a long-term pin, first
/// by GUP's fast path, which reads page tables without a lock. Earlier kernels
/// examined the mapping first.
pub const FAST: Version = Version(5, 12);

/// First version in which the caller says whether it writes to the memory. From
/// [`FAST`] until then the function always requested write access, by force.
pub const TOLD_WRITE: Version = Version(6, 2);

/// First version in which a long-term pin may release the mmap lock. From
/// [`FAST`] until then it could not, as the FIXME in
/// `__gup_longterm_unlocked()` said.
pub const LETS_GO: Version = Version(6, 3);

/// First version in which GUP refuses a long-term pin of pages of a file whose
/// file system must be notified of writes.
pub const KEEPS_OFF_FILES: Version = Version(6, 5);

/// First version in which GUP's fast path accepts read-only pages that belong
/// to no file and no process again. The change came after 6.12, and is in 7.3.
pub const TRUSTS_READERS: Version = Version(6, 13);

/// First version in which hugetlb pages can be moved out of `ZONE_MOVABLE` to
/// be pinned. The change came after 6.1, and is in 6.12.
pub const PINS_MOVABLE_HUGE: Version = Version(6, 2);

/// First version in which an overflow has its own error. The change came after
/// 6.1, and is in 6.12.
pub const TELLS_OVERFLOW: Version = Version(6, 2);

/// The expected answer, and the reason.
pub type Expectation = (Answer, &'static str);
