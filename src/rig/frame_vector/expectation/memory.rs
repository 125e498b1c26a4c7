//! Expectations of which memory can be pinned, and how.

use super::kernel::{
    Expectation, FAST, KEEPS_OFF_FILES, Kernel, PINS_MOVABLE_HUGE, TELLS_OVERFLOW, TRUSTS_READERS,
};
use crate::rig::frame_vector::answer::{Answer, Got, Whose};

/// Returns the expected answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "touched" | "untouched" | "two-mappings" | "tmpfs-file" => (
            Answer::Got(Got::pinned(8, 8)),
            "normal memory, whoever mapped it",
        ),
        "untouched-read" if kernel.version < FAST => (
            Answer::Whose {
                got: Got::pinned(8, 8),
                whose: Whose::Zero,
            },
            "a fault for reading maps the page of zeroes that all share, and that is pinned",
        ),
        "untouched-read" if kernel.forces() => (
            Answer::Whose {
                got: Got::pinned(8, 8),
                whose: Whose::Own,
            },
            "always for writing, whatever the caller wants",
        ),
        "untouched-read" => (
            Answer::Whose {
                got: Got::pinned(8, 8),
                whose: Whose::Own,
            },
            "a long-term pin for reading breaks copy-on-write, too (FAULT_FLAG_UNSHARE, 6.2)",
        ),
        "nothing-mapped" | "null" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "there is no memory at all",
        ),
        "hole" => (
            Answer::Got(Got::pinned(3, 8)),
            "what comes before the hole, not an error",
        ),
        "no-access" if kernel.forces() => (
            Answer::Got(Got::pinned(8, 8)),
            "FOLL_FORCE looks at what the mapping could be allowed (VM_MAYWRITE)",
        ),
        "no-access" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "the mapping allows nothing",
        ),
        "pages-then-device" => (
            Answer::Got(Got::pinned(4, 8)),
            "what comes before the change of kind, not an error",
        ),
        "device-then-pages" | "device" | "uncounted-pages" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "the fallback to PFNs for VM_IO and VM_PFNMAP is gone since the end of 2022, in stable, too",
        ),
        "io-pages" | "io-pages-read" if kernel.version < FAST => (
            Answer::Got(Got::error(libc::EFAULT)),
            "the mapping is looked at first, and the fallback to PFNs is gone from stable",
        ),
        "io-pages-read" if kernel.version >= TRUSTS_READERS => (
            Answer::Got(Got::pinned(4, 4)),
            "for reading the fast path does not ask whose pages they are, and it does not see VM_IO",
        ),
        "io-pages" | "io-pages-read" if kernel.version >= KEEPS_OFF_FILES => (
            Answer::Got(Got::error(libc::EFAULT)),
            "the fast path leaves pages of no file and no process to the slow one (6.5), which refuses VM_IO",
        ),
        "io-pages" | "io-pages-read" => (
            Answer::Got(Got::pinned(4, 4)),
            "the fast path does not see VM_IO, which is the mapping's and not the page table's",
        ),
        "read-only-write" if kernel.forces() => (
            Answer::Got(Got::pinned(8, 8)),
            "always FOLL_FORCE: the pages of a private mapping are pinned for writing all the same",
        ),
        "read-only-write" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "write access is not allowed",
        ),
        "read-only-read" => (Answer::Got(Got::pinned(8, 8)), "read access is allowed"),
        "shared-read-only-write" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "write access is not allowed, and force is for private mappings",
        ),
        "shared-read-only-read" if kernel.forces() => (
            Answer::Got(Got::error(libc::EFAULT)),
            "always for writing, whatever the caller wants; force is for private mappings",
        ),
        "shared-read-only-read" => (Answer::Got(Got::pinned(8, 8)), "read access is allowed"),
        "disk" if kernel.version >= KEEPS_OFF_FILES => (
            Answer::Got(Got::error(libc::EFAULT)),
            "no long-term pin for writing on pages that are written back (6.5)",
        ),
        "disk" => (
            Answer::Got(Got::pinned(8, 8)),
            "pinned behind the back of the code that writes them to the disk",
        ),
        "wraps" if kernel.version >= TELLS_OVERFLOW => (
            Answer::Got(Got::error(libc::EOVERFLOW)),
            "the sum is checked, and has an error of its own",
        ),
        "kernel-address" | "wraps" => (
            Answer::Got(Got::error(libc::EFAULT)),
            "it is not the process's memory",
        ),
        "unaligned" => (
            Answer::Got(Got::pinned(8, 8)),
            "the start is rounded down, and no page is added for the rest",
        ),
        "hugetlb" if (FAST..PINS_MOVABLE_HUGE).contains(&kernel.version) => (
            Answer::Warned {
                got: Got::error(libc::ENOMEM),
                warnings: 1,
            },
            "a bug: try_grab_folio() refuses a long-term pin of what is in ZONE_MOVABLE, and follow_hugetlb_page() does not reckon with that",
        ),
        "hugetlb" | "transparent-huge" => (
            Answer::Huge {
                got: Got::pinned(16, 16),
                in_place: true,
                pins: [16, 0],
            },
            "a pin of a part of a huge page is counted by its first page, once for each page asked for",
        ),
        "movable" if kernel.version < FAST => (
            Answer::Movable {
                got: Got::pinned(8, 8),
                before: 8,
                after: 8,
            },
            "the pin is not known to be long-term, and keeps memory from being taken away",
        ),
        "movable" => (
            Answer::Movable {
                got: Got::pinned(8, 8),
                before: 8,
                after: 0,
            },
            "long-term pins move pages out of it first (check_and_migrate_movable_pages())",
        ),
        "limit" => (
            Answer::Limited {
                refused: libc::EPERM,
                got: Got::pinned(8, 8),
                pinned: 0,
                locked: 0,
            },
            "the function accounts to nobody and asks for no limit: that would be its caller's",
        ),
        "force-write" if kernel.version < FAST => (
            Answer::Got(Got::pinned(8, 8)),
            "by force write access is to the process's own copy",
        ),
        "force-read" if kernel.version < FAST => (
            Answer::Got(Got::pinned(8, 8)),
            "by force it counts what the mapping could be allowed (VM_MAYREAD)",
        ),
        "longterm" if kernel.version < FAST => (
            Answer::Warned {
                got: Got::error(libc::EINVAL),
                warnings: 1,
            },
            "pin_user_pages_locked() does not know it, and says so with WARN_ON_ONCE()",
        ),
        "force-write" | "force-read" | "longterm" => {
            (Answer::NoFlags, "the kernel chooses them since 5.12")
        }
        _ => return None,
    })
}
