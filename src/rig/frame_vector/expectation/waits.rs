//! Expectations of calls that wait.

use super::kernel::{Expectation, FAST, Kernel};
use crate::rig::frame_vector::answer::{Answer, Got};

/// The reason for which a kernel does not wait for memory that another thread
/// fills.
const NO_WAIT: &str =
    "a long-term pin keeps the mmap lock, so the fault may not be retried (until 6.3)";

/// Returns the expected answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "userfaultfd" if kernel.holds_lock() => (
            Answer::Filled {
                got: Got::error(libc::EFAULT),
                pages: 0,
                intact: 0,
            },
            NO_WAIT,
        ),
        "userfaultfd" => (
            Answer::Filled {
                got: Got::pinned(8, 8),
                pages: 8,
                intact: 8,
            },
            "the fault may be retried, so the call waits for whoever fills the page",
        ),
        "mmap-lock" if kernel.holds_lock() => {
            (Answer::NoWait(Some(Got::error(libc::EFAULT))), NO_WAIT)
        }
        "mmap-lock" => (
            Answer::Mapped(8),
            "the caller holds no mmap lock, and the call lets go of it while it waits",
        ),
        "signal" if kernel.holds_lock() => (
            Answer::Signalled {
                got: Got::error(libc::EFAULT),
                handled: 0,
            },
            NO_WAIT,
        ),
        "signal" => (
            Answer::Signalled {
                got: Got::pinned(8, 8),
                handled: 1,
            },
            "the wait is killable and not interruptible; the signal is handled after the call",
        ),
        "kill" if kernel.holds_lock() => (Answer::NoWait(Some(Got::error(libc::EFAULT))), NO_WAIT),
        "kill" => (
            Answer::Killed {
                returned: -libc::EINTR,
                pins: 0,
            },
            "a fatal signal ends the wait",
        ),
        "kill-midway" if kernel.holds_lock() => (Answer::NoWait(Some(Got::pinned(4, 8))), NO_WAIT),
        "kill-midway" => (
            Answer::Killed {
                returned: 4,
                pins: 0,
            },
            "what is pinned is told, not the error, so that the caller can put it",
        ),
        "unmap-ahead" | "protect-ahead" if kernel.holds_lock() => {
            (Answer::Got(Got::error(libc::EFAULT)), NO_WAIT)
        }
        "unmap-ahead" | "protect-ahead" => (
            Answer::Got(Got::pinned(4, 8)),
            "the lock was let go of, and mappings are looked up anew behind the fault",
        ),
        "unmap-behind" if kernel.holds_lock() => (
            Answer::Kept {
                got: Got::pinned(4, 8),
                pins: [4, 0],
            },
            NO_WAIT,
        ),
        "unmap-behind" => (
            Answer::Kept {
                got: Got::pinned(8, 8),
                pins: [8, 0],
            },
            "a pin outlives the mapping: the vector is of pages, not of addresses",
        ),
        "unmap-movable-behind" if kernel.holds_lock() => (
            Answer::Kept {
                got: Got::pinned(4, 8),
                pins: [4, 0],
            },
            NO_WAIT,
        ),
        "unmap-movable-behind" if kernel.version < FAST => (
            Answer::Kept {
                got: Got::pinned(8, 8),
                pins: [8, 0],
            },
            "it is not moved, and a pin outlives the mapping",
        ),
        "unmap-movable-behind" => (
            Answer::Kept {
                got: Got::error(libc::EFAULT),
                pins: [0, 0],
            },
            "what has to be moved is unpinned once more, and the range is gone through anew",
        ),
        "discard-behind" if kernel.holds_lock() => (
            Answer::Written {
                got: Got::pinned(4, 8),
                own: 0,
                frames: 4,
            },
            "a pin keeps the page, not the process's hold of it",
        ),
        "discard-behind" => (
            Answer::Written {
                got: Got::pinned(8, 8),
                own: 4,
                frames: 8,
            },
            "a pin keeps the page, not the process's hold of it",
        ),
        "fork-midway" if kernel.holds_lock() => (
            Answer::Written {
                got: Got::pinned(4, 8),
                own: 4,
                frames: 4,
            },
            "fork gives the child copies of pinned pages",
        ),
        "fork-midway" => (
            Answer::Written {
                got: Got::pinned(8, 8),
                own: 8,
                frames: 8,
            },
            "fork gives the child copies of pinned pages, and a pin for writing breaks copy-on-write",
        ),
        "fork-then-read" if kernel.version < FAST => (
            Answer::Written {
                got: Got::pinned(8, 8),
                own: 0,
                frames: 8,
            },
            "a pin for reading is of the shared page, and the write breaks copy-on-write away from it",
        ),
        "fork-then-read" if kernel.forces() => (
            Answer::Written {
                got: Got::pinned(8, 8),
                own: 8,
                frames: 8,
            },
            "always for writing, which breaks copy-on-write first",
        ),
        "fork-then-read" => (
            Answer::Written {
                got: Got::pinned(8, 8),
                own: 8,
                frames: 8,
            },
            "a long-term pin for reading breaks copy-on-write, too (FAULT_FLAG_UNSHARE, 6.2)",
        ),
        _ => return None,
    })
}
