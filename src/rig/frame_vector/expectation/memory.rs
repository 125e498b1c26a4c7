//! What of memory may be pinned, and how.

use super::kernel::{
    Expectation, FAST, KEEPS_OFF_FILES, Kernel, PINS_MOVABLE_HUGE, TELLS_OVERFLOW, TRUSTS_READERS,
};

/// The answer to the point `name`, if it is one of these.
pub fn of(name: &str, kernel: Kernel) -> Option<Expectation> {
    Some(match name {
        "touched" | "untouched" | "two-mappings" | "tmpfs-file" => {
            ("8 of 8 pages, pinned", "normal memory, whoever mapped it")
        }
        "untouched-read" if kernel.version < FAST => (
            "8 of 8 pages, pinned; the zero page",
            "a fault for reading maps the page of zeroes that all share, and that is pinned",
        ),
        "untouched-read" if kernel.forces() => (
            "8 of 8 pages, pinned; pages of its own",
            "always for writing, whatever the caller wants",
        ),
        "untouched-read" => (
            "8 of 8 pages, pinned; pages of its own",
            "a long-term pin for reading breaks copy-on-write, too (FAULT_FLAG_UNSHARE, 6.2)",
        ),
        "nothing-mapped" | "null" => ("EFAULT", "there is no memory at all"),
        "hole" => (
            "3 of 8 pages, pinned",
            "what comes before the hole, not an error",
        ),
        "no-access" if kernel.forces() => (
            "8 of 8 pages, pinned",
            "FOLL_FORCE looks at what the mapping could be allowed (VM_MAYWRITE)",
        ),
        "no-access" => ("EFAULT", "the mapping allows nothing"),
        "pages-then-device" => (
            "4 of 8 pages, pinned",
            "what comes before the change of kind, not an error",
        ),
        "device-then-pages" | "device" | "uncounted-pages" => (
            "EFAULT",
            "the fallback to PFNs for VM_IO and VM_PFNMAP is gone since the end of 2022, in stable, too",
        ),
        "io-pages" | "io-pages-read" if kernel.version < FAST => (
            "EFAULT",
            "the mapping is looked at first, and the fallback to PFNs is gone from stable",
        ),
        "io-pages-read" if kernel.version >= TRUSTS_READERS => (
            "4 of 4 pages, pinned",
            "for reading the fast path does not ask whose pages they are, and it does not see VM_IO",
        ),
        "io-pages" | "io-pages-read" if kernel.version >= KEEPS_OFF_FILES => (
            "EFAULT",
            "the fast path leaves pages of no file and no process to the slow one (6.5), which refuses VM_IO",
        ),
        "io-pages" | "io-pages-read" => (
            "4 of 4 pages, pinned",
            "the fast path does not see VM_IO, which is the mapping's and not the page table's",
        ),
        "read-only-write" if kernel.forces() => (
            "8 of 8 pages, pinned",
            "always FOLL_FORCE: the pages of a private mapping are pinned for writing all the same",
        ),
        "read-only-write" => ("EFAULT", "write access is not allowed"),
        "read-only-read" => ("8 of 8 pages, pinned", "read access is allowed"),
        "shared-read-only-write" => (
            "EFAULT",
            "write access is not allowed, and force is for private mappings",
        ),
        "shared-read-only-read" if kernel.forces() => (
            "EFAULT",
            "always for writing, whatever the caller wants; force is for private mappings",
        ),
        "shared-read-only-read" => ("8 of 8 pages, pinned", "read access is allowed"),
        "disk" if kernel.version >= KEEPS_OFF_FILES => (
            "EFAULT",
            "no long-term pin for writing on pages that are written back (6.5)",
        ),
        "disk" => (
            "8 of 8 pages, pinned",
            "pinned behind the back of the code that writes them to the disk",
        ),
        "wraps" if kernel.version >= TELLS_OVERFLOW => (
            "EOVERFLOW",
            "the sum is checked, and has an error of its own",
        ),
        "kernel-address" | "wraps" => ("EFAULT", "it is not the process's memory"),
        "unaligned" => (
            "8 of 8 pages, pinned",
            "the start is rounded down, and no page is added for the rest",
        ),
        "hugetlb" if (FAST..PINS_MOVABLE_HUGE).contains(&kernel.version) => (
            "ENOMEM, 1 warning",
            "a bug: try_grab_folio() refuses a long-term pin of what is in ZONE_MOVABLE, and follow_hugetlb_page() does not reckon with that",
        ),
        "hugetlb" | "transparent-huge" => (
            "16 of 16 pages, pinned, each in its place; pins: +16, +0 after put",
            "a pin of a part of a huge page is counted by its first page, once for each page asked for",
        ),
        "movable" if kernel.version < FAST => (
            "8 of 8 pages, pinned; 8 in it before, 8 after",
            "the pin is not known to be long-term, and keeps memory from being taken away",
        ),
        "movable" => (
            "8 of 8 pages, pinned; 8 in it before, 0 after",
            "long-term pins move pages out of it first (check_and_migrate_movable_pages())",
        ),
        "limit" => (
            "mlock() is EPERM; 8 of 8 pages, pinned; VmPin 0 kB, VmLck 0 kB",
            "the function accounts to nobody and asks for no limit: that would be its caller's",
        ),
        "force-write" if kernel.version < FAST => (
            "8 of 8 pages, pinned",
            "by force write access is to the process's own copy",
        ),
        "force-read" if kernel.version < FAST => (
            "8 of 8 pages, pinned",
            "by force it counts what the mapping could be allowed (VM_MAYREAD)",
        ),
        "longterm" if kernel.version < FAST => (
            "EINVAL, 1 warning",
            "pin_user_pages_locked() does not know it, and says so with WARN_ON_ONCE()",
        ),
        "force-write" | "force-read" | "longterm" => {
            ("it takes no flags", "the kernel chooses them since 5.12")
        }
        _ => return None,
    })
}
