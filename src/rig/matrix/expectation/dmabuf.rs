//! The expected outcome of a cell whose memory is given as a dma-buf.
//!
//! Its pages are there, and stay, as long as the dma-buf is: whoever exports it has
//! allocated or pinned them before QBUF. videobuf2 holds a reference of its own from
//! QBUF on, so that it matters no more what the process does with its descriptor, its
//! mapping or the exporter. What a process reads through its own mapping is another
//! matter.

use super::{Expectation, taken_back, undisturbed};
use crate::agent::cell::{Flow, Hazard, Kind, Point};
use crate::rig::kernel::Version;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::{Observation, Reads, Sent};

/// Returns the expectation of a cell of a capture or an output.
pub fn expect(cell: &CellName, kernel: Version) -> Expectation {
    let refused = Expectation::refused;
    match cell.kind {
        Kind::DmabufNone | Kind::DmabufClosed => refused(
            libc::EINVAL,
            "the number is that of no dma-buf, and __prepare_dmabuf() answers EINVAL to that",
        ),
        Kind::DmabufUdmabufSealed if cell.flow == Flow::Capture => refused(
            libc::EINVAL,
            "nobody may write to a memfd that is sealed against it, by a dma-buf either",
        ),
        Kind::DmabufUdmabufUntouched if cell.flow == Flow::Capture => Expectation {
            holds_pins: true,
            leaves_clean: true,
            ..explained(written(cell, kernel), CLEAN)
        },
        Kind::DmabufShort => Expectation {
            holds_pins: true,
            leaks_dmabuf: kernel >= Version(6, 12),
            ..refused(
                libc::EFAULT,
                match kernel >= Version(6, 12) {
                    true => SHORT_AND_LEAKED,
                    false => SHORT,
                },
            )
        },
        _ => Expectation {
            // udmabuf pins the pages of the memfd.
            holds_pins: cell.kind.is_udmabuf(),
            ..match cell.flow {
                Flow::Output => read(cell, kernel),
                _ => written(cell, kernel),
            }
        },
    }
}

/// Returns the expectation, with a reason if it has none.
fn explained(expectation: Expectation, reason: &'static str) -> Expectation {
    Expectation {
        reason: expectation.reason.or(Some(reason)),
        ..expectation
    }
}

const CLEAN: &str = "udmabuf does not mark pages dirty that a device has written to (unpin_all_folios() of drivers/dma-buf/udmabuf.c): once the dma-buf is gone the kernel may drop pages that nobody else has written to, and what the device wrote";

/// Returns whether the process has the memfd mapped, and not the dma-buf.
fn maps_memfd(kind: Kind) -> bool {
    kind.is_udmabuf() && kind != Kind::DmabufUdmabufMapped
}

/// Returns whether the process's mapping is of pages that were put into it when it was
/// made (VM_MIXEDMAP), and that nobody puts there again.
fn is_put(kind: Kind) -> bool {
    kind.is_of_vivid() || kind == Kind::DmabufOwn
}

/// Returns the expectation of a dma-buf that the card writes to.
fn written(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    match cell.hazard {
        Munmap | MprotectNone => Expectation::captured(
            Reads::Nothing,
            "the device wrote to the dma-buf, which the process cannot read at that address any more",
        ),
        MunmapMmap | MapFixed => Expectation::captured(
            Reads::Other,
            "the device has the dma-buf, not the memory that is at the address of its mapping now",
        ),
        MadviseDontneed if is_put(cell.kind) => Expectation::captured(
            Reads::Nothing,
            "the pages of such a mapping are put into it when it is made, and come back no more once they are given up",
        ),
        MemfdPunch | MadviseRemove if maps_memfd(cell.kind) => {
            Expectation::captured(Reads::Other, PUNCHED)
        }
        ForkChildWrites if cell.point == Point::AfterDma => {
            Expectation::captured(Reads::Other, "parent and child share the pages")
        }
        Close | Execve | Exit | Sigkill | Streamoff | Suspend => taken_back(),
        _ => undisturbed(cell, kernel),
    }
}

const SHORT: &str = "the dma-buf is shorter than the frame, and vb2_dma_sg answers EFAULT to that";

const SHORT_AND_LEAKED: &str = "the dma-buf is shorter than the frame, and vb2_dma_sg answers EFAULT to that; a dma-buf that could not be attached is never put: since 6.12 __prepare_dmabuf() of videobuf2 notes it only once it is (03a979b74dc1, \"attach once if multiple planes share the same dbuf\"), so that its memory is lost until the next boot";

const PUNCHED: &str = "the pages that the dma-buf has are the memfd's no more, and the process reads zeros: that a memfd cannot shrink (F_SEAL_SHRINK) does not keep it from being punched";

/// Returns the expectation of a dma-buf that the card reads.
fn read(cell: &CellName, kernel: Version) -> Expectation {
    use Hazard::*;
    let later = |reason| Expectation::of(&[Observation::Sent(Sent::Later)], Some(reason));
    match cell.hazard {
        Close | Execve | Exit | Sigkill | Streamoff | Suspend => taken_back(),
        // What comes after the DMA is too late for the card.
        _ if cell.point == Point::AfterDma => undisturbed(cell, kernel),
        ForkParentWrites | ForkChildWrites => {
            later("the process, and its child, write to the pages that the dma-buf has")
        }
        Ksm => later("to make its pages alike the process writes to those that the card has"),
        _ => undisturbed(cell, kernel),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::matrix::expectation::tests::{KERNELS, expected};

    #[test]
    fn the_memory_of_a_dmabuf_is_there_whatever_becomes_of_the_process_and_the_exporter() {
        for cell in [
            "dmabuf-udmabuf",
            "dmabuf-udmabuf/dmabuf-close",
            "dmabuf-udmabuf/memfd-truncate",
            "dmabuf-udmabuf-mapped/memfd-punch",
            "dmabuf-vivid/exporter-unbind",
            "dmabuf-vivid/queued-twice",
            "dmabuf-read-only",
            "output/dmabuf-udmabuf/memfd-punch",
            "output/dmabuf-udmabuf/fork-parent-writes:after-dma",
        ] {
            assert_eq!(expected(cell), ["data"; 4], "{cell}");
        }
    }

    #[test]
    fn what_the_process_reads_is_another_matter() {
        for (cell, reads) in [
            ("dmabuf-udmabuf/memfd-punch", "other pages"),
            ("dmabuf-system-heap/munmap", "unreadable"),
            ("dmabuf-vivid/madvise-dontneed", "unreadable"),
            ("dmabuf-udmabuf/fork-child-writes:after-dma", "other pages"),
            ("output/dmabuf-udmabuf/fork-parent-writes", "later data"),
            ("dmabuf-own/sigkill", "taken back"),
            ("output/dmabuf-udmabuf/suspend", "taken back"),
        ] {
            assert_eq!(expected(cell), [reads; 4], "{cell}");
        }
    }

    #[test]
    fn what_is_no_dmabuf_for_the_frame_is_refused() {
        assert_eq!(expected("dmabuf-none"), ["EINVAL"; 4]);
        assert_eq!(expected("output/dmabuf-closed"), ["EINVAL"; 4]);
        assert_eq!(expected("dmabuf-short"), ["EFAULT"; 4]);
    }

    #[test]
    fn what_the_kernel_loses_is_known() {
        let of = |name: &str, said: fn(&Expectation) -> bool| {
            let cell: CellName = name.parse().unwrap();
            KERNELS.map(|kernel| said(&super::super::expect(&cell, kernel)))
        };
        let leaks = |name| of(name, |expectation| expectation.leaks_dmabuf);
        for name in [
            "dmabuf-short",
            "output/dmabuf-short",
            "m2m/read/dmabuf-short",
        ] {
            assert_eq!(leaks(name), [false, false, true, true], "{name}");
        }
        assert_eq!(leaks("dmabuf-udmabuf"), [false; 4]);
        let leaves_clean = |name| of(name, |expectation| expectation.leaves_clean);
        for (name, expected) in [
            ("dmabuf-udmabuf-untouched", true),
            ("m2m/written/dmabuf-udmabuf-untouched", true),
            ("m2m/read/dmabuf-udmabuf-untouched", false),
            ("output/dmabuf-udmabuf-untouched", false),
            ("dmabuf-udmabuf", false),
        ] {
            assert_eq!(leaves_clean(name), [expected; 4], "{name}");
        }
    }
}
