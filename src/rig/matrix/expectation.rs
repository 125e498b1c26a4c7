//! The expected outcome of a cell on a kernel, and the reason if it is unusual.

mod dmabuf;
mod during_pin;
pub mod fail_nth;
mod m2m;
mod models;
mod output;
mod unwitnessed;

use self::fail_nth::Failing;
pub use self::unwitnessed::{Unwitnessed, expect_unwitnessed};
use super::name::{CellName, Pinning};
use super::observation::{Observation, Reads, Sent};
use crate::agent::cell::{Flow, Given, Hazard, Kind, Point};
use crate::rig::kernel::Version;

/// The expected outcome of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The accepted observations.
    pub outcomes: Vec<Observation>,
    /// The reason, if the expectation is unusual.
    pub reason: Option<&'static str>,
    /// Whether the memory itself holds pins as long as it exists.
    pub holds_pins: bool,
    /// Whether the kernel never gives back the dma-buf, nor what pins that holds.
    pub leaks_dmabuf: bool,
    /// Whether the kernel does not note that the device has written to the pages.
    pub leaves_clean: bool,
    /// Whether several frames are captured or sent, one after the other.
    pub many_frames: bool,
    /// Whether memory that is no single piece is refused (EFAULT), and no other.
    pub in_pieces: bool,
    /// The expectation of a call in which a failure is injected.
    pub failing: Failing,
}

impl Expectation {
    /// Returns the usual expectation: the application reads what the card wrote, or
    /// the card what the application wrote.
    pub fn data(flow: Flow) -> Self {
        let outcome = match flow {
            Flow::Capture | Flow::Output => Observation::data(flow.subject()),
            Flow::M2m(_) => Observation::Converted(Sent::Written, Reads::Written),
        };
        Self::of(&[outcome], None)
    }

    fn of(outcomes: &[Observation], reason: Option<&'static str>) -> Self {
        Self {
            outcomes: outcomes.to_vec(),
            reason,
            holds_pins: false,
            leaks_dmabuf: false,
            leaves_clean: false,
            many_frames: false,
            in_pieces: false,
            failing: Failing::default(),
        }
    }

    fn refused(errno: i32, reason: &'static str) -> Self {
        Self::of(&[Observation::Refused(errno)], Some(reason))
    }

    fn captured(reads: Reads, reason: &'static str) -> Self {
        Self::of(&[Observation::Captured(reads)], Some(reason))
    }
}

/// Returns the expectation of a cell on a kernel of that version.
/// A cell with a schedule has two expectations, each of a cell without one
/// ([`CellName::first_alone`], [`CellName::second_alone`]).
pub fn expect(cell: &CellName, kernel: Version) -> Expectation {
    let is_dmabuf = cell.kind.given() == Given::Dmabuf;
    match cell.flow {
        Flow::Capture | Flow::Output if is_dmabuf => dmabuf::expect(cell, kernel),
        _ if cell.point == Point::DuringPin => during_pin::expect(cell, kernel),
        Flow::Capture => models::of_one_piece(cell, kernel, capture(cell, kernel)),
        Flow::Output => models::of_one_piece(cell, kernel, output::expect(cell, kernel)),
        Flow::M2m(ends) => m2m::of(ends, cell, |one| expect(one, kernel)),
    }
}

fn capture(cell: &CellName, kernel: Version) -> Expectation {
    use Kind::*;
    let by_force = captures_by_force(cell, kernel);
    let refused = |reason| refused(cell, reason);
    match cell.kind {
        ReadOnly if by_force => Expectation::captured(
            Reads::Written,
            "pinned with FOLL_FORCE, which breaks copy-on-write of a private mapping that cannot be written",
        ),
        ReadOnly | ReadOnlyShared | MemfdSealed => refused("write access to a read-only mapping"),
        PerfRing => refused("of a perf event's ring a process may write to the first page only"),
        ProtNone if by_force => Expectation::captured(Reads::Nothing, FORCED),
        ProtNoneTail if by_force => Expectation::captured(Reads::Partly, FORCED),
        ProtNone | ProtNoneTail => refused("the process itself has no access"),
        UffdMissing | UffdMinor | UffdWp if keeps_lock(kernel) => refused(KEEPS_LOCK),
        Ext4Shared | XfsShared | BtrfsShared | OverlayfsShared | VirtiofsShared
            if kernel >= Version(6, 5) =>
        {
            refused(
                "a shared mapping of a file whose filesystem tracks dirty pages cannot be pinned for long",
            )
        }
        _ => unpinnable(cell, kernel).unwrap_or_else(|| after(cell, kernel)),
    }
}

/// Returns whether the kernel pins for writing against the mapping's own permissions:
/// get_vaddr_frames() itself does from 5.12 to 6.1, vb2_create_framevec() does before 6.2.
fn captures_by_force(cell: &CellName, kernel: Version) -> bool {
    match cell.pinning {
        Pinning::FrameVector => (Version(5, 12)..Version(6, 2)).contains(&kernel),
        Pinning::Sg | Pinning::Contig | Pinning::Vmalloc => kernel < Version(6, 2),
    }
}

/// Returns the expectation of memory that no kernel pins, whatever the card is to
/// do with it.
fn unpinnable(cell: &CellName, kernel: Version) -> Option<Expectation> {
    use Kind::*;
    let refused = |reason| refused(cell, reason);
    Some(match cell.kind {
        Hole => refused("a page of the range is not mapped"),
        Hwpoison => refused("a page of the range has failed"),
        GuardRegion => refused("a guard region faults like a hole"),
        FsDax => models::refused(
            cell,
            libc::EOPNOTSUPP,
            "a long-term pin would keep the filesystem from moving its blocks",
        ),
        IoUringRing if kernel < Version(6, 10) => {
            let mut expectation =
                refused("an io_uring is mapped by its page frames (VM_PFNMAP) before 6.10");
            if kernel >= Version(6, 1) {
                // Stable kernels from 6.1 on have taken over what is otherwise in 6.10.
                let data = Observation::data(cell.flow.subject());
                expectation.outcomes.push(data);
            }
            expectation
        }
        PciBar | Ivshmem | CardMmap | DmaHeap => refused("a VM_PFNMAP mapping has no pages to pin"),
        // udmabuf pins the pages that it exports as a dma-buf.
        Udmabuf => Expectation {
            holds_pins: true,
            ..refused("the mapping of a dma-buf has no pages to pin")
        },
        Secretmem => refused("secret memory is not the kernel's to reach"),
        WrappingLength => models::wrapping(cell, kernel),
        Null | KernelAddress | AddressSpaceEnd => refused(NO_MEMORY),
        _ => return None,
    })
}

const NO_MEMORY: &str = "no such memory";

/// Returns the expectation of memory that is refused.
fn refused(cell: &CellName, reason: &'static str) -> Expectation {
    models::refused(cell, libc::EFAULT, reason)
}

/// Returns whether a long-term pin holds the mmap lock from beginning to end on
/// this kernel.
fn keeps_lock(kernel: Version) -> bool {
    (Version(5, 12)..Version(6, 3)).contains(&kernel)
}

const KEEPS_LOCK: &str = "a long-term pin keeps the mmap lock from 5.12 to 6.2, so that a fault cannot wait for another thread";

/// Error numbers with which memory is refused: those of user pointers in V4L2's
/// documentation of QBUF and in gen-errors.rst, and that of memory that cannot be
/// pinned for long (pin_user_pages(), FOLL_LONGTERM).
const REFUSALS: [i32; 4] = [libc::EFAULT, libc::EINVAL, libc::ENOMEM, libc::EOPNOTSUPP];

/// Returns the expectation of a cell on a kernel of that version, for a driver
/// that is not Pinhole's. It may refuse memory with any documented error, and pin
/// it with another of the kernel's functions than Pinhole's own does.
pub fn expect_of_any_driver(cell: &CellName, kernel: Version) -> Expectation {
    use Kind::{
        MemfdSealed, ProtNone, ProtNoneTail, ReadOnly, ReadOnlyShared, UffdMinor, UffdMissing,
        UffdWp,
    };
    if let Flow::M2m(ends) = cell.flow {
        return m2m::of(ends, cell, |one| expect_of_any_driver(one, kernel));
    }
    let is_refusal = |outcome: &Observation| matches!(outcome, Observation::Refused(_));
    let mut expectation = expect(cell, kernel);
    // get_vaddr_frames() pins these in a way of its own on some kernels, and
    // vb2_create_framevec() on others; so it is when rights go in the middle of a pin.
    let is_halted = cell.point == Point::DuringPin;
    let differs = matches!(
        cell.kind,
        MemfdSealed
            | ReadOnly
            | ReadOnlyShared
            | ProtNone
            | ProtNoneTail
            | UffdMissing
            | UffdMinor
            | UffdWp
    );
    if differs || is_halted {
        let newest = expect(cell, Version(u32::MAX, 0));
        let kernels_own = CellName {
            pinning: Pinning::Sg,
            ..*cell
        };
        let kernels_own = expect(&kernels_own, kernel);
        for other in newest.outcomes.into_iter().chain(kernels_own.outcomes) {
            if !expectation.outcomes.contains(&other) {
                expectation.outcomes.push(other);
            }
        }
        let refused = expectation.outcomes.iter().filter(|one| is_refusal(one));
        if (1..expectation.outcomes.len()).contains(&refused.count()) {
            expectation.reason = Some(EITHER);
        }
    }
    if cell.flow == Flow::Output {
        output::of_any_driver(cell, &mut expectation);
    }
    if expectation.outcomes.iter().any(is_refusal) {
        expectation.outcomes.retain(|outcome| !is_refusal(outcome));
        let refusals = REFUSALS.map(Observation::Refused);
        expectation.outcomes.extend(refusals);
        models::of_any_model(cell, kernel, &mut expectation);
    }
    if cell.point == Point::Qbuf {
        expectation.failing.documented = &REFUSALS;
    }
    expectation
}

const EITHER: &str = "some of this kernel's functions pin such memory, by force (FOLL_FORCE) or because they can wait for it, and others refuse it";

const FORCED: &str = "pinned with FOLL_FORCE although the process itself has no access";

/// Returns the expectation after the hazard, for memory that can be captured
/// into.
fn after(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    let shared = cell.kind == Kind::MemfdShared;
    let hugetlb = cell.kind == Kind::Hugetlb;
    match cell.hazard {
        MprotectNone => Expectation::captured(
            Reads::Nothing,
            "the device wrote to pages that the process cannot access any more",
        ),
        MremapDontunmap if !shared => Expectation::captured(
            Reads::Other,
            "the pages that the device has are at another address now, and the process reads zeros",
        ),
        MadviseRemove if cell.kind == Kind::TmpfsHuge => {
            let reads = match cell.point {
                Point::AfterDma => Reads::Other,
                _ => Reads::Written,
            };
            Expectation::captured(
                reads,
                "a pinned huge page cannot be split: the hole is made of zeros, and the page stays the file's",
            )
        }
        MadviseRemove if is_file(cell.kind) => Expectation::captured(
            Reads::Other,
            "the pages that the device has are the file's no more, and the process reads zeros",
        ),
        Munmap => Expectation::captured(
            Reads::Nothing,
            "the device wrote to the pages that it was given, which nobody maps any more",
        ),
        MunmapMmap | MapFixed => Expectation::captured(
            Reads::Other,
            "the device has the pages that were there when the buffer was queued, not those that are there now",
        ),
        MadviseDontneed if cell.kind == Kind::Mlocked => {
            Expectation::captured(Reads::Written, "locked memory cannot be given up")
        }
        MadviseDontneed if hugetlb && kernel < Version(5, 18) => Expectation::captured(
            Reads::Written,
            "pages of hugetlb cannot be given up so before 5.18",
        ),
        MadviseDontneed if !shared => Expectation::captured(
            Reads::Other,
            "the process gave up the pages that the device has, and reads zeros",
        ),
        ForkParentWrites
            if hugetlb && kernel < Version(5, 12) && cell.point == Point::BeforeDma =>
        {
            Expectation::captured(
                Reads::Other,
                "before 5.12 fork() shares pinned pages of hugetlb: whoever writes next, here the parent, gets copies",
            )
        }
        ForkChildWrites if shared && cell.point == Point::AfterDma => {
            Expectation::captured(Reads::Other, "parent and child share the pages")
        }
        Close | Execve | Exit | Sigkill | Streamoff | Suspend => taken_back(),
        _ => undisturbed(cell, kernel),
    }
}

/// Returns whether the memory is a file's, whose pages nobody gets a copy of.
const fn is_file(kind: Kind) -> bool {
    use Kind::*;
    matches!(
        kind,
        MemfdShared
            | MemfdHugetlb
            | SysvShm
            | TmpfsShared
            | TmpfsHuge
            | Ext4Shared
            | XfsShared
            | BtrfsShared
            | OverlayfsShared
            | VirtiofsShared
            | UffdMinor
    )
}

/// Returns the expectation of a stream that ends before its buffer is returned.
fn taken_back() -> Expectation {
    Expectation::of(
        &[Observation::TakenBack],
        Some("the stream ended before the buffer was dequeued"),
    )
}

/// Returns the expectation after a hazard that takes no data away.
fn undisturbed(cell: &CellName, kernel: Version) -> Expectation {
    Expectation {
        many_frames: matches!(
            cell.hazard,
            Hazard::MmapContention | Hazard::QueuedTwice | Hazard::FailNth
        ),
        failing: match cell.hazard {
            Hazard::FailNth => fail_nth::expect(cell.point, kernel),
            _ => Failing::default(),
        },
        ..Expectation::data(cell.flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::cell::Ends;

    /// The oldest and the newest kernel, and those between.
    pub(super) const KERNELS: [Version; 4] =
        [Version(5, 10), Version(6, 1), Version(6, 12), Version(7, 3)];

    /// Returns what is expected of a cell on each of them.
    pub(super) fn expected(name: &str) -> Vec<String> {
        let cell: CellName = name.parse().unwrap();
        let on = |kernel: &Version| {
            let outcomes = expect(&cell, *kernel).outcomes.into_iter();
            let said: Vec<_> = outcomes.map(|outcome| outcome.to_string()).collect();
            said.join(" or ")
        };
        KERNELS.iter().map(on).collect()
    }

    #[test]
    fn another_driver_may_refuse_memory_with_any_documented_error() {
        let cell = CellName::plain(Kind::Hole);
        let own = expect(&cell, Version(6, 12)).outcomes;
        assert_eq!(own, [Observation::Refused(libc::EFAULT)]);
        let any = |cell: &CellName, kernel| expect_of_any_driver(cell, kernel).outcomes;
        let refused = REFUSALS.map(Observation::Refused);
        assert_eq!(any(&cell, Version(6, 12)), refused);
        assert!(!refused.contains(&Observation::Refused(libc::EOVERFLOW)));
        // It may have a memory model that passes on what the kernel says of such a range.
        let wraps = CellName::plain(Kind::WrappingLength);
        let overflow = [&refused[..], &[Observation::Refused(libc::EOVERFLOW)]].concat();
        for flow in [Flow::Capture, Flow::Output, Flow::M2m(Ends::Written)] {
            let wraps = CellName { flow, ..wraps };
            assert_eq!(any(&wraps, Version(6, 1)), refused);
            assert_eq!(any(&wraps, Version(6, 12)), overflow);
        }
        let good = CellName::plain(Kind::Thp);
        let data = Observation::Captured(Reads::Written);
        assert_eq!(any(&good, Version(6, 12)), [data]);
        // Some kernels pin against the mapping's permissions, in one function.
        let forced = any(&CellName::plain(Kind::ReadOnly), Version(6, 1));
        assert_eq!(forced, [&[data][..], &refused].concat());
        let waits = any(&CellName::plain(Kind::UffdMissing), Version(6, 1));
        assert_eq!(waits, forced);
    }

    #[test]
    fn what_the_process_reads_tells_whether_it_has_the_pages_still() {
        for (name, reads) in [
            ("anon-touched/map-fixed", "other pages"),
            ("anon-touched/mremap-dontunmap", "other pages"),
            ("memfd-shared/madvise-remove", "other pages"),
            ("anon-touched/madvise-remove", "data"),
            ("anon-touched/madvise-free", "data"),
            ("thp/mprotect-none", "unreadable"),
            ("thp/execve", "taken back"),
            ("hugetlb/suspend", "taken back"),
            ("memfd-shared/numa-balancing", "data"),
            ("memfd-sealed", "EFAULT"),
            ("tmpfs-huge/madvise-remove", "data"),
            ("tmpfs-huge/madvise-remove:after-dma", "other pages"),
            ("dma-heap", "EFAULT"),
            ("hwpoison", "EFAULT"),
            ("hugetlb-hvo", "data"),
            ("hugetlb-1g", "data"),
            ("uffd-rwp", "data"),
        ] {
            assert_eq!(expected(name), [reads; 4], "{name}");
        }
        let since_mapped = ["EFAULT", "EFAULT or data", "data", "data"];
        assert_eq!(expected("io-uring-ring"), since_mapped);
        assert_eq!(expected("output/io-uring-ring"), since_mapped);
    }

    #[test]
    fn a_file_on_a_disk_is_refused_since_6_5_and_its_hole_is_no_more_the_pages() {
        for kind in [
            "ext4-shared",
            "xfs-shared",
            "btrfs-shared",
            "overlayfs-shared",
            "virtiofs-shared",
        ] {
            let on = |came: [&'static str; 2]| [came[0], came[0], came[1], came[1]];
            let hazard = |hazard: &str| expected(&format!("{kind}/{hazard}"));
            assert_eq!(expected(kind), on(["data", "EFAULT"]), "{kind}");
            let written_back = hazard("writeback");
            assert_eq!(written_back, on(["data", "EFAULT"]), "{kind}");
            let punched = hazard("madvise-remove");
            assert_eq!(punched, on(["other pages", "EFAULT"]), "{kind}");
            assert_eq!(expected(&format!("output/{kind}")), ["data"; 4], "{kind}");
            let child = expected(&format!("output/{kind}/fork-child-writes"));
            assert_eq!(child, ["later data"; 4], "{kind}");
        }
    }

    #[test]
    fn what_became_of_huge_pages_depends_on_the_kernel() {
        let hugetlb = |hazard| CellName {
            hazard,
            ..CellName::plain(Kind::Hugetlb)
        };
        let reads = |cell, kernel| expect(&cell, kernel).outcomes;
        let captured = |reads| vec![Observation::Captured(reads)];
        for (hazard, changed) in [
            (Hazard::ForkParentWrites, Version(5, 12)),
            (Hazard::MadviseDontneed, Version(5, 18)),
        ] {
            let before = reads(hugetlb(hazard), Version(5, 10));
            let since = reads(hugetlb(hazard), changed);
            assert_ne!(before, since, "{hazard}");
            assert!([captured(Reads::Other), captured(Reads::Written)].contains(&since));
        }
        let later = CellName {
            point: Point::AfterDma,
            ..hugetlb(Hazard::ForkParentWrites)
        };
        // The copies are made from pages that hold the frame.
        assert_eq!(reads(later, Version(5, 10)), captured(Reads::Written));
    }
}
