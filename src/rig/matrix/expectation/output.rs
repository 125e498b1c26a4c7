//! The expected outcome of a cell of an output: the card only reads, and its pin
//! need not allow more.
//!
//! Before 6.2 memory cannot be pinned for reading: from 5.12 on
//! `get_vaddr_frames()` has no parameter for it and asks for write access, by force
//! (`FOLL_FORCE`); the driver, and vb2_create_framevec(), ask for the same on 5.10.
//! Since 6.2 a pin for reading breaks copy-on-write, too (`FAULT_FLAG_UNSHARE`), so
//! that the process gets a page of its own first on every kernel.

use super::{
    Expectation, FORCED, KEEPS_LOCK, is_file, keeps_lock, refused, taken_back, undisturbed,
    unpinnable,
};
use crate::agent::cell::{Hazard, Kind, Point};
use crate::rig::kernel::Version;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::{Observation, Sent};

/// Returns whether memory is pinned for writing, and by force, although the card
/// only reads.
pub fn by_force(kernel: Version) -> bool {
    kernel < Version(6, 2)
}

/// Returns the expectation of a cell on a kernel of that version.
pub fn expect(cell: &CellName, kernel: Version) -> Expectation {
    use Kind::*;
    let by_force = by_force(kernel);
    match cell.kind {
        ReadOnlyShared | MemfdSealed if by_force => refused(
            cell,
            "before 6.2 a pin asks for write access, and force is for private mappings",
        ),
        PerfRing if by_force => refused(
            cell,
            "before 6.2 a pin asks for write access, which nobody has to a perf event's ring",
        ),
        PerfRing if kernel >= Version(6, 14) => refused(
            cell,
            "a perf event's ring is mapped by its page frames (VM_PFNMAP) since 6.14",
        ),
        ProtNone if by_force => sent(Sent::Zeros, FORCED),
        ProtNoneTail if by_force => sent(Sent::Written, FORCED),
        ProtNone | ProtNoneTail => refused(cell, "the process itself has no access"),
        UffdMissing | UffdMinor if keeps_lock(kernel) => refused(cell, KEEPS_LOCK),
        // A pin for reading does not meet the protection.
        UffdWp if keeps_lock(kernel) && by_force => refused(cell, KEEPS_LOCK),
        _ => unpinnable(cell, kernel).unwrap_or_else(|| after(cell, kernel)),
    }
}

/// Accepts what a driver may do that pins pages which the process shares with
/// others, copy-on-write: the process writes next to pages of its own.
pub fn of_any_driver(cell: &CellName, expectation: &mut Expectation) {
    let (written, later) = (
        Observation::Sent(Sent::Written),
        Observation::Sent(Sent::Later),
    );
    let copies = cell.hazard == Hazard::ForkParentWrites && !is_file(cell.kind);
    if copies && expectation.outcomes == [later] {
        expectation.outcomes.push(written);
    }
}

fn sent(what: Sent, reason: &'static str) -> Expectation {
    Expectation::of(&[Observation::Sent(what)], Some(reason))
}

/// Returns the expectation after the hazard, for memory that can be pinned.
fn after(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    match cell.hazard {
        Close | Execve | Exit | Sigkill | Streamoff | Suspend => taken_back(),
        // What comes after the DMA is too late for the card.
        _ if cell.point == Point::AfterDma => undisturbed(cell, kernel),
        ForkParentWrites if cell.kind == Kind::Hugetlb && kernel < Version(5, 12) => sent(
            Sent::Written,
            "before 5.12 fork() shares pinned pages of hugetlb: the parent, who writes next, gets copies",
        ),
        ForkParentWrites => sent(
            Sent::Later,
            "the process writes to the page that the card has, which is its own",
        ),
        MadviseRemove if has_large_folios(cell.kind, kernel) => sent(
            Sent::Later,
            "a large folio that is pinned cannot be split: the hole is made of zeros in it (truncate_inode_partial_folio()), and the card reads them",
        ),
        ForkChildWrites if is_file(cell.kind) => {
            sent(Sent::Later, "parent and child share the pages")
        }
        Ksm => sent(
            Sent::Later,
            "to make its pages alike the process writes to those that the card has",
        ),
        _ => undisturbed(cell, kernel),
    }
}

/// Returns whether what is written to a file is in folios of several pages on this
/// kernel.
fn has_large_folios(kind: Kind, kernel: Version) -> bool {
    match kind {
        Kind::XfsShared => kernel >= Version(6, 6),
        Kind::Ext4Shared | Kind::OverlayfsShared => kernel >= Version(6, 16),
        Kind::BtrfsShared => kernel >= Version(6, 17),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::matrix::expectation::tests::{KERNELS, expected};
    use crate::rig::matrix::expectation::{expect, expect_of_any_driver};

    #[test]
    fn what_may_not_be_written_to_may_be_read() {
        for name in [
            "output/read-only",
            "output/ext4-shared",
            "output/anon-untouched",
        ] {
            assert_eq!(expected(name), ["data"; 4], "{name}");
        }
        assert_eq!(expected("ext4-shared")[2..], ["EFAULT"; 2]);
        assert_eq!(expected("output/hole"), ["EFAULT"; 4]);
        assert_eq!(expected("output/fs-dax"), ["EOPNOTSUPP"; 4]);
        assert_eq!(expected("output/fs-dax/sg"), ["ENOMEM"; 4]);
    }

    #[test]
    fn a_pin_by_force_reads_what_the_process_cannot() {
        let name = "output/prot-none";
        assert_eq!(expected(name), ["zeros", "zeros", "EFAULT", "EFAULT"]);
        let by_sg = ["zeros", "zeros", "ENOMEM", "ENOMEM"];
        assert_eq!(expected("output/prot-none/sg"), by_sg);
        let shared = ["EFAULT", "EFAULT", "data", "data"];
        assert_eq!(expected("output/read-only-shared"), shared);
        assert_eq!(expected("output/memfd-sealed"), shared);
        assert_eq!(expected("read-only-shared"), ["EFAULT"; 4]);
        let ring = ["EFAULT", "EFAULT", "data", "EFAULT"];
        assert_eq!(expected("output/perf-ring"), ring);
        assert_eq!(expected("perf-ring"), ["EFAULT"; 4]);
        let waits = ["data", "EFAULT", "data", "data"];
        assert_eq!(expected("output/uffd-missing"), waits);
        assert_eq!(expected("output/uffd-wp"), waits);
    }

    #[test]
    fn who_writes_after_a_fork_tells_whose_page_the_card_has() {
        let writes = |kind: &str| expected(&format!("output/{kind}/fork-parent-writes"));
        let own = ["later data"; 4];
        assert_eq!(writes("anon-touched"), own);
        assert_eq!(writes("memfd-shared"), own);
        for kind in ["anon-forked", "anon-untouched", "ext4-private"] {
            assert_eq!(writes(kind), own, "{kind}");
        }
        let shares = ["data", "later data", "later data", "later data"];
        assert_eq!(writes("hugetlb"), shares);
        let late = "output/anon-touched/fork-parent-writes:after-dma";
        assert_eq!(expected(late), ["data"; 4]);
        let child = "output/memfd-shared/fork-child-writes";
        assert_eq!(expected(child), own);
        assert_eq!(expected("output/heap/fork-child-writes"), ["data"; 4]);
    }

    #[test]
    fn a_hole_in_a_large_folio_is_of_zeros_that_the_card_reads() {
        let punched = |kind: &str| expected(&format!("output/{kind}/madvise-remove"));
        assert_eq!(punched("xfs-shared")[1..3], ["data", "later data"]);
        for kind in ["ext4-shared", "btrfs-shared", "overlayfs-shared"] {
            assert_eq!(punched(kind)[2..], ["data", "later data"], "{kind}");
            let late = expected(&format!("output/{kind}/madvise-remove:after-dma"));
            assert_eq!(late, ["data"; 4], "{kind}");
        }
    }

    #[test]
    fn another_driver_may_have_pages_that_are_shared() {
        let any = |name: &str| {
            let cell: CellName = name.parse().unwrap();
            let outcomes = expect_of_any_driver(&cell, Version(6, 12)).outcomes;
            let said = outcomes.iter().map(ToString::to_string);
            said.collect::<Vec<_>>().join(" or ")
        };
        let name = "output/anon-forked/fork-parent-writes";
        assert_eq!(any(name), "later data or data");
        assert_eq!(any("output/memfd-shared/fork-parent-writes"), "later data");
        assert_eq!(any("output/anon-forked"), "data");
        assert_eq!(any("output/memfd-shared/fork-child-writes"), "later data");
        let refused = "EFAULT or EINVAL or ENOMEM or EOPNOTSUPP";
        assert_eq!(any("output/hole"), refused);
    }

    #[test]
    fn what_is_taken_from_the_process_is_still_read() {
        for hazard in [
            "munmap",
            "munmap-mmap",
            "madvise-dontneed",
            "map-fixed",
            "mremap-dontunmap",
            "mprotect-none",
            "madvise-remove",
            "mmap-contention",
        ] {
            let name = format!("output/anon-touched/{hazard}");
            assert_eq!(expected(&name), ["data"; 4], "{name}");
        }
        assert_eq!(expected("output/thp/exit"), ["taken back"; 4]);
    }

    #[test]
    fn what_is_unusual_has_its_reason() {
        for cell in crate::rig::matrix::cells::all() {
            for kernel in KERNELS {
                let expectation = expect(&cell, kernel);
                let usual = Expectation::data(cell.flow).outcomes;
                let explained = expectation.reason.is_some();
                assert!(
                    explained || expectation.outcomes == usual,
                    "{cell} on {kernel:?}"
                );
            }
        }
    }
}
