//! The expected outcome of a cell of a device that has no witness: what is expected of
//! any driver, as far as the process can tell one outcome from another.

use std::ops::Range;

use super::m2m::both;
use super::models::is_one_piece;
use super::{Expectation, REFUSALS, expect_of_any_driver};
use crate::agent::cell::{Ends, Flow};
use crate::card::Direction;
use crate::rig::kernel::Version;
use crate::rig::matrix::name::CellName;
use crate::rig::matrix::observation::{Observation, Reads, Sent};

/// What is known of a device that has no witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwitnessed {
    /// Whether it shows a still picture, or makes the same of one frame each time, so that
    /// what it writes is known.
    pub still: bool,
    /// Whether it takes memory that lies in several pieces. A driver of
    /// vb2_dma_contig without an IOMMU does not.
    pub scatters: bool,
    /// Length in bytes of a buffer that it reads.
    pub read: usize,
    /// Length in bytes of a buffer that it writes to.
    pub written: usize,
}

impl Unwitnessed {
    /// Returns where the buffers of a cell that have its kind of memory lie, in bytes from
    /// the start of its first page: of each memory that is laid out for itself.
    fn buffers(&self, cell: &CellName) -> Vec<Range<usize>> {
        let offset = cell.offset as usize;
        let side_by_side = |first: usize, second: usize| {
            let middle = offset + first;
            vec![offset..middle, middle..middle + second]
        };
        let apart = |lengths: &[usize]| {
            let buffers = lengths.iter().map(|length| offset..offset + length);
            buffers.collect()
        };
        match cell.flow {
            Flow::Output | Flow::M2m(Ends::Read) => apart(&[self.read]),
            Flow::Capture | Flow::M2m(Ends::Written) => apart(&[self.written]),
            Flow::M2m(Ends::InPlace | Ends::TwoFiles) => apart(&[self.read, self.written]),
            Flow::M2m(Ends::Adjacent) => side_by_side(self.read, self.written),
            Flow::M2m(Ends::Turned) => side_by_side(self.written, self.read),
        }
    }
}

const ONE_PIECE: &str =
    "the device takes memory in one piece only, and this may lie in several (vb2_dma_contig)";

const LATER: &str = "the process wrote to the memory after QBUF, and nobody knows whether the device read it before or after that";

const OVER_ITSELF: &str = "the device writes over what it reads, perhaps before it has read it: nobody knows what it makes of it";

/// Returns the expectation of a cell on a kernel of that version.
pub fn expect_unwitnessed(cell: &CellName, kernel: Version, device: Unwitnessed) -> Expectation {
    let mut expectation = expect_of_any_driver(cell, kernel);
    let mut outcomes = Vec::new();
    for outcome in &expectation.outcomes {
        outcomes.extend(alike(*outcome, device.still));
    }
    if cell.flow == Flow::M2m(Ends::InPlace) {
        expectation.reason = expectation.reason.or(Some(OVER_ITSELF));
    }
    let later = Observation::Sent(Sent::Later);
    if expectation.outcomes.contains(&later) {
        expectation.reason = Some(LATER);
    }
    // A refusal ends the cell, whatever comes later.
    if !device.scatters && !are_one_piece(cell, kernel, device) {
        outcomes.extend(REFUSALS.map(Observation::Refused));
        expectation.reason = expectation.reason.or(Some(ONE_PIECE));
    }
    let mut distinct: Vec<Observation> = Vec::new();
    for outcome in outcomes {
        if !distinct.contains(&outcome) {
            distinct.push(outcome);
        }
    }
    Expectation {
        outcomes: distinct,
        ..expectation
    }
}

/// Returns that outcome, and those which the process cannot tell from it; `known` is
/// whether it knows what the device writes.
fn alike(outcome: Observation, known: bool) -> Vec<Observation> {
    match outcome {
        // Nobody knows what the device read; of what the process cannot read it does
        // not even know what was there.
        Observation::Sent(_) => [Sent::Written, Sent::Partly, Sent::Other]
            .map(Observation::Sent)
            .into(),
        // Other memory than the device had has other bytes than before, too.
        Observation::Captured(Reads::Other) if !known => vec![
            outcome,
            Observation::Captured(Reads::Partly),
            Observation::data(Direction::Capture),
        ],
        // What was read shows in what was made of it, if that is known.
        Observation::Converted(Sent::Written | Sent::Later, _) if known => vec![outcome],
        Observation::Converted(sent, reads) => {
            let of_each = [Observation::Sent(sent), Observation::Captured(reads)];
            let [read, made] = of_each.map(|of_end| alike(of_end, false));
            both(&read, &made)
        }
        _ => vec![outcome],
    }
}

/// Returns whether each buffer of a cell is one piece of physical memory, if there is
/// such memory at all. The end that a cell is not about has plain memory.
fn are_one_piece(cell: &CellName, kernel: Version, device: Unwitnessed) -> bool {
    let is_one = |buffer| is_one_piece(cell.kind, kernel, buffer);
    let has_plain = matches!(cell.flow, Flow::M2m(Ends::Read | Ends::Written));
    !has_plain && device.buffers(cell).into_iter().all(is_one)
}

#[cfg(test)]
mod tests {
    use super::super::EITHER;
    use super::*;

    const USUAL: Unwitnessed = Unwitnessed {
        still: true,
        scatters: true,
        read: 115_200,
        written: 115_200,
    };

    fn said(name: &str, device: Unwitnessed) -> String {
        let cell: CellName = name.parse().unwrap();
        let outcomes = expect_unwitnessed(&cell, Version(6, 12), device).outcomes;
        let said = outcomes.iter().map(ToString::to_string);
        said.collect::<Vec<_>>().join(" or ")
    }

    #[test]
    fn what_cannot_be_told_apart_is_expected_alike() {
        let moving = Unwitnessed {
            still: false,
            ..USUAL
        };
        assert_eq!(said("heap", USUAL), "data");
        assert_eq!(said("heap", moving), "data");
        let replaced = "heap/munmap-mmap";
        assert_eq!(said(replaced, USUAL), "other pages");
        assert_eq!(
            said(replaced, moving),
            "other pages or part of the data or data"
        );
        assert_eq!(said("heap/munmap", moving), "unreadable");
        assert_eq!(said("heap/close", moving), "taken back");
        let read = "data or part of the data or other data";
        assert_eq!(said("output/heap", USUAL), read);
        let writes = "output/heap/fork-parent-writes";
        assert_eq!(said(writes, USUAL), read);
        let reason = expect_unwitnessed(&writes.parse().unwrap(), Version(6, 12), USUAL).reason;
        assert_eq!(reason, Some(LATER));
    }

    #[test]
    fn what_a_mem_to_mem_device_read_is_known_by_what_it_made() {
        let unknown = Unwitnessed {
            still: false,
            ..USUAL
        };
        assert_eq!(said("m2m/read/heap", USUAL), "data");
        let writes = "m2m/read/heap/fork-parent-writes";
        assert_eq!(said(writes, USUAL), "later data or data");
        let replaced = "m2m/written/heap/munmap-mmap";
        assert_eq!(said(replaced, USUAL), "other pages");
        assert_eq!(said("m2m/read/heap/streamoff", USUAL), "taken back");
        let any = "data or part of the data or other data";
        assert_eq!(said("m2m/read/heap", unknown), any);
        assert_eq!(said(writes, unknown), any);
        let outcomes = |name: &str| {
            let cell: CellName = name.parse().unwrap();
            expect_unwitnessed(&cell, Version(6, 12), unknown).outcomes
        };
        let replaced = outcomes(replaced);
        assert!(replaced.contains(&Observation::Converted(Sent::Written, Reads::Other)));
        assert!(replaced.contains(&Observation::Converted(Sent::Written, Reads::Written)));
        assert_eq!(said("m2m/in-place/heap", USUAL), "data");
        let over: CellName = "m2m/in-place/heap".parse().unwrap();
        let reason = expect_unwitnessed(&over, Version(6, 12), USUAL).reason;
        assert_eq!(reason, Some(OVER_ITSELF));
    }

    #[test]
    fn a_device_without_scatter_lists_may_refuse_what_lies_in_pieces() {
        let contiguous = Unwitnessed {
            scatters: false,
            ..USUAL
        };
        let refused = "EFAULT or EINVAL or ENOMEM or EOPNOTSUPP";
        assert_eq!(said("heap", contiguous), format!("data or {refused}"));
        assert_eq!(
            said("heap/munmap", contiguous),
            format!("unreadable or {refused}")
        );
        assert_eq!(said("hole", contiguous), refused);
        assert_eq!(said("thp", contiguous), "data");
        assert_eq!(said("m2m/adjacent/thp", contiguous), "data");
        assert_eq!(
            said("m2m/read/thp", contiguous),
            format!("data or {refused}")
        );
        let reason = |name: &str| {
            let cell: CellName = name.parse().unwrap();
            expect_unwitnessed(&cell, Version(6, 12), contiguous).reason
        };
        assert_eq!((reason("heap"), reason("thp")), (Some(ONE_PIECE), None));
    }

    #[test]
    fn long_frames_are_in_pieces_where_a_huge_page_ends() {
        let is_one = |name: &str, read: usize, written: usize| {
            let device = Unwitnessed {
                scatters: false,
                read,
                written,
                ..USUAL
            };
            let cell: CellName = name.parse().unwrap();
            let outcomes = expect_unwitnessed(&cell, Version(6, 12), device).outcomes;
            !outcomes.contains(&Observation::Refused(libc::EFAULT))
        };
        const MIB: usize = 1 << 20;
        assert!(is_one("thp-part", 0, MIB) && !is_one("thp-part", 0, MIB + 1));
        assert!(is_one("thp", 0, 2 * MIB) && !is_one("thp", 0, 2 * MIB + 1));
        assert!(!is_one("thp@64", 0, 2 * MIB) && is_one("thp@64", 0, MIB));
        // A capture has no buffer that is read, and an output none that is written.
        assert!(is_one("thp-part", 4 * MIB, 4096) && is_one("output/thp-part", 4096, 4 * MIB));
        assert!(!is_one("output/thp-part", 2 * MIB, 4096));
        for ends in ["adjacent", "turned"] {
            let thp = format!("m2m/{ends}/thp");
            assert!(is_one(&thp, MIB, MIB) && is_one(&thp, 2 * MIB, 2 * MIB));
        }
        assert!(!is_one("m2m/adjacent/thp", MIB, 2 * MIB - 4096));
        assert!(is_one("m2m/adjacent/thp", 2 * MIB, 4096));
        assert!(!is_one("m2m/turned/thp", 2 * MIB, 4096));
        assert!(is_one("m2m/two-files/thp-part", MIB, MIB));
        assert!(!is_one("m2m/in-place/thp-part", 4096, MIB + 1));
    }

    #[test]
    fn another_kernel_function_may_pin_by_force() {
        let cell: CellName = "read-only".parse().unwrap();
        let on = |kernel| expect_unwitnessed(&cell, kernel, USUAL).outcomes;
        let data = Observation::data(Direction::Capture);
        // vb2_create_framevec() asks for force before 6.2, get_vaddr_frames() itself
        // from 5.12 on.
        assert!(on(Version(5, 10)).contains(&data));
        assert!(on(Version(6, 1)).contains(&data));
        assert!(!on(Version(6, 12)).contains(&data));
        let reason = |kernel| expect_unwitnessed(&cell, kernel, USUAL).reason;
        assert_eq!(reason(Version(5, 10)), Some(EITHER));
        assert_ne!(reason(Version(6, 12)), Some(EITHER));
    }
}
