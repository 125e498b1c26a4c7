//! What the memory models of the kernel's videobuf2 do otherwise than the driver's own
//! operations.
//!
//! All three pin by vb2_create_framevec(). vb2_dma_sg answers ENOMEM to whatever that
//! says, and the other two pass it on. vb2_dma_contig then takes only what is one piece for
//! the device (vb2_dc_get_contiguous_size() in videobuf2-dma-contig.c): without an IOMMU
//! pages that follow one another.

use std::ops::Range;

use super::{Expectation, NO_MEMORY};
use crate::agent::cell::{FrameSize, HUGE_PAGE, Kind, PART_OF_HUGE_PAGE};
use crate::rig::kernel::Version;
use crate::rig::matrix::name::{CellName, Pinning};
use crate::rig::matrix::observation::Observation;

const ENOMEM: &str = "vb2_dma_sg's get_userptr() answers ENOMEM to every failure to pin";

const OVERFLOW: &str = "no such memory: the kernel answers EOVERFLOW to a range that wraps (gup_fast_fallback() in mm/gup.c), and vb2_dma_contig and vb2_vmalloc pass it on, though V4L2 does not document it";

const IN_PIECES: &str = "vb2_dma_contig takes memory that is one piece for the device: whether pages follow one another is chance here";

/// Returns the expectation of memory that is refused with an error of the kernel's.
pub fn refused(cell: &CellName, errno: i32, reason: &'static str) -> Expectation {
    match cell.pinning {
        Pinning::Sg => Expectation::refused(libc::ENOMEM, ENOMEM),
        _ => Expectation::refused(errno, reason),
    }
}

/// Returns the expectation of a range that wraps. The driver's own operations look at
/// the range before the kernel does.
pub fn wrapping(cell: &CellName, kernel: Version) -> Expectation {
    match cell.pinning {
        Pinning::Contig | Pinning::Vmalloc if overflows(kernel) => {
            Expectation::refused(libc::EOVERFLOW, OVERFLOW)
        }
        _ => refused(cell, libc::EFAULT, NO_MEMORY),
    }
}

/// Adds to the expectation of a driver of which nobody knows the memory model what that
/// may be: a process cannot tell, and a module may be made for several, as vivid is. An
/// error that the kernel has two models of three give is none of a driver's bugs, and
/// its author can do nothing about it; so it is expected, with the reason.
pub fn of_any_model(cell: &CellName, kernel: Version, expectation: &mut Expectation) {
    if cell.kind == Kind::WrappingLength && overflows(kernel) {
        let outcome = Observation::Refused(libc::EOVERFLOW);
        expectation.outcomes.push(outcome);
        expectation.reason = Some(OVERFLOW);
    }
}

/// Returns whether the kernel has an error of its own for a range that wraps:
/// internal_get_user_pages_fast() in mm/gup.c returns 0 for it before 6.4.
fn overflows(kernel: Version) -> bool {
    kernel >= Version(6, 4)
}

/// Returns the expectation of a cell whose memory would otherwise come to that.
pub fn of_one_piece(cell: &CellName, kernel: Version, expectation: Expectation) -> Expectation {
    let is_refusal = |outcome: &Observation| matches!(outcome, Observation::Refused(_));
    let offset = cell.offset as usize;
    let length = FrameSize::new(cell.kind, cell.tail).map_or(0, FrameSize::bytes);
    let is_one_piece = is_one_piece(cell.kind, kernel, offset..offset + length);
    if cell.pinning != Pinning::Contig
        || is_one_piece
        || expectation.outcomes.iter().all(is_refusal)
    {
        return expectation;
    }
    let mut expectation = Expectation {
        reason: Some(IN_PIECES),
        in_pieces: true,
        ..expectation
    };
    let refused = Observation::Refused(libc::EFAULT);
    if !expectation.outcomes.contains(&refused) {
        expectation.outcomes.push(refused);
    }
    expectation
}

/// Returns whether a buffer in memory of that kind is one piece of physical memory, if
/// there is such memory at all; `buffer` is where it lies, in bytes from the start of the
/// first page. Huge pages follow one another by chance.
///
/// Before 5.19, which knows of pages that they are one process's alone (PG_anon_exclusive),
/// a write to a write-protected page of a huge page that is mapped by PTEs copies it
/// (do_wp_page() in mm/memory.c): the pin has a piece less there.
pub fn is_one_piece(kind: Kind, kernel: Version, buffer: Range<usize>) -> bool {
    let begin = match kind {
        Kind::Thp => 0,
        Kind::ThpPart | Kind::ThpPartlyMapped | Kind::ThpMremapped => PART_OF_HUGE_PAGE,
        Kind::ThpPteMapped if kernel >= Version(5, 19) => PART_OF_HUGE_PAGE,
        Kind::DeviceDax | Kind::Hugetlb1g => return true,
        _ => return false,
    };
    let huge_page = |at: usize| (begin + at) / HUGE_PAGE;
    huge_page(buffer.start) == huge_page(buffer.end.saturating_sub(1).max(buffer.start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::matrix::expectation::tests::expected;

    #[test]
    fn a_buffer_is_one_piece_within_a_huge_page() {
        const HALF: usize = HUGE_PAGE / 2;
        let is_one = |kind, buffer| is_one_piece(kind, Version(6, 12), buffer);
        assert!(is_one(Kind::Thp, 0..HUGE_PAGE));
        assert!(is_one(Kind::Thp, HUGE_PAGE..2 * HUGE_PAGE));
        assert!(is_one(Kind::Thp, 64..HUGE_PAGE));
        assert!(!is_one(Kind::Thp, 0..HUGE_PAGE + 1));
        assert!(!is_one(Kind::Thp, 64..HUGE_PAGE + 64));
        for kind in [
            Kind::ThpPart,
            Kind::ThpPteMapped,
            Kind::ThpPartlyMapped,
            Kind::ThpMremapped,
        ] {
            assert!(is_one(kind, 0..HALF), "{kind}");
            assert!(!is_one(kind, 0..HALF + 1), "{kind}");
            assert!(!is_one(kind, 100..HALF + 100), "{kind}");
            assert!(is_one(kind, HALF..HALF + HUGE_PAGE), "{kind}");
        }
        assert!(is_one(Kind::DeviceDax, 0..4 * HUGE_PAGE));
        assert!(is_one(Kind::Hugetlb1g, 64..4 * HUGE_PAGE));
        assert!(!is_one(Kind::HugetlbHvo, 0..4096));
        assert!(!is_one(Kind::Hugetlb, 0..4096) && !is_one(Kind::Heap, 0..1));
        assert!(!is_one_piece(Kind::ThpPteMapped, Version(5, 10), 0..1));
    }

    #[test]
    fn each_model_has_its_own_errors() {
        assert_eq!(expected("hole/sg"), ["ENOMEM"; 4]);
        assert_eq!(expected("hole/contig"), ["EFAULT"; 4]);
        assert_eq!(expected("hole/vmalloc"), ["EFAULT"; 4]);
        assert_eq!(expected("fs-dax/sg"), ["ENOMEM"; 4]);
        assert_eq!(expected("fs-dax/vmalloc"), ["EOPNOTSUPP"; 4]);
        let wraps = ["EFAULT", "EFAULT", "EOVERFLOW", "EOVERFLOW"];
        assert_eq!(expected("wrapping-length/contig"), wraps);
        assert_eq!(expected("wrapping-length/vmalloc"), wraps);
        assert_eq!(expected("wrapping-length/sg"), ["ENOMEM"; 4]);
        assert_eq!(expected("wrapping-length"), ["EFAULT"; 4]);
    }

    #[test]
    fn each_model_pins_by_force_before_6_2() {
        for model in ["contig", "vmalloc", "sg"] {
            let read = expected(&format!("output/prot-none/{model}"));
            assert!(read[0].starts_with("zeros"), "{model}: {read:?}");
            assert!(read[1].starts_with("zeros"), "{model}: {read:?}");
            assert!(!read[2].contains("zeros"), "{model}: {read:?}");
        }
        let forced = ["data", "data", "EFAULT", "EFAULT"];
        assert_eq!(expected("read-only/vmalloc"), forced);
    }

    #[test]
    fn contig_takes_one_piece() {
        assert_eq!(expected("heap/contig"), ["data or EFAULT"; 4]);
        assert_eq!(expected("heap/vmalloc"), ["data"; 4]);
        assert_eq!(expected("thp-part@2055+2056/contig"), ["data"; 4]);
        assert_eq!(expected("thp/contig"), ["data"; 4]);
        assert_eq!(expected("thp@64/contig"), ["data or EFAULT"; 4]);
        assert_eq!(expected("thp-part/munmap/contig"), ["unreadable"; 4]);
        assert_eq!(
            expected("output/heap/streamoff/contig"),
            ["taken back or EFAULT"; 4]
        );
        assert_eq!(expected("device-dax/contig"), ["data"; 4]);
        let by_ptes = ["data or EFAULT", "data", "data", "data"];
        assert_eq!(expected("thp-pte-mapped/contig"), by_ptes);
        // What is refused anyway is so for its own reason.
        assert_eq!(expected("secretmem/contig"), ["EFAULT"; 4]);
        let on_disk = ["data or EFAULT", "data or EFAULT", "EFAULT", "EFAULT"];
        assert_eq!(expected("ext4-shared/contig"), on_disk);
    }
}
