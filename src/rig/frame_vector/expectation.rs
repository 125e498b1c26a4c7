//! What the answers should be, and why.

/// The first two numbers of a kernel's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Reads them off a release such as `6.12.107+deb13-amd64`.
    pub fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|end: char| !end.is_ascii_digit());
        Some(Self(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }
}

/// What of a kernel decides an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Its version.
    pub version: Version,
    /// It checks the callers of its memory management (CONFIG_DEBUG_VM).
    pub debug_vm: bool,
}

/// Since then `get_vaddr_frames()` asks for a long-term pin, first by GUP's fast
/// path, which reads page tables without a lock. Before, it looked at the mapping
/// first.
const FAST: Version = Version(5, 12);

/// It is told whether the memory is written to. From [`FAST`] until then it
/// always asked for write access, by force.
const TOLD_WRITE: Version = Version(6, 2);

/// A long-term pin may let go of the mmap lock. From [`FAST`] until then it could
/// not, as the FIXME in `__gup_longterm_unlocked()` said.
const LETS_GO: Version = Version(6, 3);

/// GUP does not pin the pages of a file for long that the file system has to
/// know of when they are written to.
const KEEPS_OFF_FILES: Version = Version(6, 5);

/// GUP's fast path takes pages of no file and no process again where they are
/// only read. It came after 6.12, and is in 7.3.
const TRUSTS_READERS: Version = Version(6, 13);

/// An overflow is an error of its own. It came after 6.1, and is in 6.12.
const TELLS_OVERFLOW: Version = Version(6, 2);

/// The answer to the point `name` on a kernel, and the reason; empty if there is
/// no such point.
pub fn of(name: &str, kernel: Kernel) -> (&'static str, &'static str) {
    let Kernel {
        version: kernel,
        debug_vm,
    } = kernel;
    let forced = (FAST..TOLD_WRITE).contains(&kernel);
    let holds_lock = (FAST..LETS_GO).contains(&kernel);
    match name {
        "create-none" | "create-overflow" => {
            ("NULL, 1 warning", "the argument is a caller's mistake")
        }
        "no-frames" => ("0", "nothing was asked for, so nothing is wrong"),
        "above-allocation" => (
            "4 of 8 pages, pinned, both times; 1 warning",
            "clamped to what there is room for, with WARN_ON_ONCE()",
        ),
        "touched" | "untouched" | "two-mappings" | "tmpfs-file" => {
            ("8 of 8 pages, pinned", "normal memory, whoever mapped it")
        }
        "untouched-read" if kernel < FAST => (
            "8 of 8 pages, pinned; the zero page",
            "a fault for reading maps the page of zeroes that all share, and that is pinned",
        ),
        "untouched-read" if forced => (
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
        "no-access" if forced => (
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
        "io-pages" | "io-pages-read" if kernel < FAST => (
            "EFAULT",
            "the mapping is looked at first, and the fallback to PFNs is gone from stable",
        ),
        "io-pages-read" if kernel >= TRUSTS_READERS => (
            "4 of 4 pages, pinned",
            "for reading the fast path does not ask whose pages they are, and it does not see VM_IO",
        ),
        "io-pages" | "io-pages-read" if kernel >= KEEPS_OFF_FILES => (
            "EFAULT",
            "the fast path leaves pages of no file and no process to the slow one (6.5), which refuses VM_IO",
        ),
        "io-pages" | "io-pages-read" => (
            "4 of 4 pages, pinned",
            "the fast path does not see VM_IO, which is the mapping's and not the page table's",
        ),
        "read-only-write" if forced => (
            "8 of 8 pages, pinned",
            "always FOLL_FORCE: the pages of a private mapping are pinned for writing all the same",
        ),
        "read-only-write" => ("EFAULT", "write access is not allowed"),
        "read-only-read" => ("8 of 8 pages, pinned", "read access is allowed"),
        "shared-read-only-write" => (
            "EFAULT",
            "write access is not allowed, and force is for private mappings",
        ),
        "shared-read-only-read" if forced => (
            "EFAULT",
            "always for writing, whatever the caller wants; force is for private mappings",
        ),
        "shared-read-only-read" => ("8 of 8 pages, pinned", "read access is allowed"),
        "disk" if kernel >= KEEPS_OFF_FILES => (
            "EFAULT",
            "no long-term pin for writing on pages that are written back (6.5)",
        ),
        "disk" => (
            "8 of 8 pages, pinned",
            "pinned behind the back of the code that writes them to the disk",
        ),
        "wraps" if kernel >= TELLS_OVERFLOW => (
            "EOVERFLOW",
            "the sum is checked, and has an error of its own",
        ),
        "kernel-address" | "wraps" => ("EFAULT", "it is not the process's memory"),
        "put-unpins" => (
            "pins: +8, +0 after put, +0 after another; the pages are not pinned",
            "put clears got_ref, so that it is safe to call again",
        ),
        "destroy-unpins" if debug_vm => (
            "a BUG ends the caller in Abandon, by signal 11",
            "destroy has VM_BUG_ON(vec->nr_frames > 0), which CONFIG_DEBUG_VM compiles in",
        ),
        "destroy-unpins" => (
            "pinned after destroy (+8 pins), not pinned after unpin_user_pages()",
            "destroy frees the vector and nothing else: who forgets put leaks the pins",
        ),
        "put-spares-pfns" => (
            "the page has +0 pins, the kernel +0; 0 frames left",
            "got_ref is not set, so there is nothing to release",
        ),
        "no-struct-page" => (
            "ERR_PTR(-EINVAL), still the PFNs",
            "pfn_valid() is asked of all before the first is converted",
        ),
        "there-and-back" => (
            "the same, not pinned after put",
            "the conversion is in place and loses nothing",
        ),
        "put-as-pfns" => (
            "pinned as PFNs, not pinned after put",
            "put converts them back first",
        ),
        "large-range" => (
            "by kmalloc(), 131072 of 131072 pages, pinned; pins: +131072, +0 after put",
            "one vector holds them all, in one block where there is one",
        ),
        "no-free-block" => (
            "no block: by vmalloc(), 131072 of 131072 pages, pinned",
            "kvmalloc() goes on to single pages where there is no block",
        ),
        "huge-vector" => ("by vmalloc()", "kmalloc() ends at 4 MiB"),
        "userfaultfd" if holds_lock => (
            "EFAULT; 0 filled, 0 intact",
            "a long-term pin keeps the mmap lock, so the fault may not be retried (until 6.3)",
        ),
        "userfaultfd" => (
            "8 of 8 pages, pinned; 8 filled, 8 intact",
            "the fault may be retried, so the call waits for whoever fills the page",
        ),
        "mmap-lock" if holds_lock => (
            "it does not wait: EFAULT",
            "a long-term pin keeps the mmap lock, so the fault may not be retried (until 6.3)",
        ),
        "mmap-lock" => (
            "yes, 8 times",
            "the caller holds no mmap lock, and the call lets go of it while it waits",
        ),
        _ => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_off_a_release() {
        assert_eq!(Version::parse("5.10.0-32-amd64"), Some(Version(5, 10)));
        assert_eq!(Version::parse("7.3.4+deb13-amd64"), Some(Version(7, 3)));
        assert_eq!(Version::parse("6"), None);
        assert_eq!(Version::parse("vanilla"), None);
        assert!(Version(6, 12) > Version(6, 2));
    }

    #[test]
    fn what_differs_between_kernels_differs() {
        let answer = |version| {
            let kernel = Kernel {
                version,
                debug_vm: false,
            };
            of("read-only-write", kernel).0
        };
        assert_eq!(answer(Version(5, 10)), "EFAULT");
        assert_eq!(answer(Version(6, 1)), "8 of 8 pages, pinned");
        assert_eq!(answer(Version(6, 12)), "EFAULT");
    }
}
