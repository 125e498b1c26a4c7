//! How calls wait.

use super::kernel::{Expectation, FAST, Kernel};

/// Why a kernel does not wait for memory that somebody else fills.
const NO_WAIT: &str =
    "a long-term pin keeps the mmap lock, so the fault may not be retried (until 6.3)";

/// The answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "userfaultfd" if kernel.holds_lock() => ("EFAULT; 0 filled, 0 intact", NO_WAIT),
        "userfaultfd" => (
            "8 of 8 pages, pinned; 8 filled, 8 intact",
            "the fault may be retried, so the call waits for whoever fills the page",
        ),
        "mmap-lock" if kernel.holds_lock() => ("it does not wait: EFAULT", NO_WAIT),
        "mmap-lock" => (
            "yes, 8 times",
            "the caller holds no mmap lock, and the call lets go of it while it waits",
        ),
        "signal" if kernel.holds_lock() => ("EFAULT; 0 handled", NO_WAIT),
        "signal" => (
            "8 of 8 pages, pinned; 1 handled",
            "the wait is killable and not interruptible; the signal is handled after the call",
        ),
        "kill" if kernel.holds_lock() => ("it does not wait: EFAULT", NO_WAIT),
        "kill" => (
            "yes, with EINTR; pins: +0 after it",
            "a fatal signal ends the wait",
        ),
        "kill-midway" if kernel.holds_lock() => ("it does not wait: 4 of 8 pages, pinned", NO_WAIT),
        "kill-midway" => (
            "yes, with 4 pages; pins: +0 after it",
            "what is pinned is told, not the error, so that the caller can put it",
        ),
        "unmap-ahead" | "protect-ahead" if kernel.holds_lock() => ("EFAULT", NO_WAIT),
        "unmap-ahead" | "protect-ahead" => (
            "4 of 8 pages, pinned",
            "the lock was let go of, and mappings are looked up anew behind the fault",
        ),
        "unmap-behind" if kernel.holds_lock() => {
            ("4 of 8 pages, pinned; pins: +4, +0 after put", NO_WAIT)
        }
        "unmap-behind" => (
            "8 of 8 pages, pinned; pins: +8, +0 after put",
            "a pin outlives the mapping: the vector is of pages, not of addresses",
        ),
        "unmap-movable-behind" if kernel.holds_lock() => {
            ("4 of 8 pages, pinned; pins: +4, +0 after put", NO_WAIT)
        }
        "unmap-movable-behind" if kernel.version < FAST => (
            "8 of 8 pages, pinned; pins: +8, +0 after put",
            "it is not moved, and a pin outlives the mapping",
        ),
        "unmap-movable-behind" => (
            "EFAULT; pins: +0, +0 after put",
            "what has to be moved is unpinned once more, and the range is gone through anew",
        ),
        "discard-behind" if kernel.holds_lock() => (
            "4 of 8 pages, pinned; then 0 of 4 are the process's",
            "a pin keeps the page, not the process's hold of it",
        ),
        "discard-behind" => (
            "8 of 8 pages, pinned; then 4 of 8 are the process's",
            "a pin keeps the page, not the process's hold of it",
        ),
        "fork-midway" if kernel.holds_lock() => (
            "4 of 8 pages, pinned; then 4 of 4 are the process's",
            "fork gives the child copies of pinned pages",
        ),
        "fork-midway" => (
            "8 of 8 pages, pinned; then 8 of 8 are the process's",
            "fork gives the child copies of pinned pages, and a pin for writing breaks copy-on-write",
        ),
        "fork-then-read" if kernel.version < FAST => (
            "8 of 8 pages, pinned; then 0 of 8 are the process's",
            "a pin for reading is of the shared page, and the write breaks copy-on-write away from it",
        ),
        "fork-then-read" if kernel.forces() => (
            "8 of 8 pages, pinned; then 8 of 8 are the process's",
            "always for writing, which breaks copy-on-write first",
        ),
        "fork-then-read" => (
            "8 of 8 pages, pinned; then 8 of 8 are the process's",
            "a long-term pin for reading breaks copy-on-write, too (FAULT_FLAG_UNSHARE, 6.2)",
        ),
        _ => return None,
    })
}
