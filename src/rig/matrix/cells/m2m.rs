//! The cells of a mem-to-mem card, which reads one buffer and writes to another.
//!
//! What memory can be pinned, and what becomes of it, is the business of the cells
//! of captures and outputs. Here are the kinds and hazards in which the two
//! directions differ, at either end, and what takes two buffers to go wrong.

use super::PLACES;
use crate::agent::cell::{Ends, Hazard, Kind, Point};
use crate::rig::matrix::name::{CellName, Pinning};

/// Kinds of the memory that is read.
const READ: [Kind; 16] = [
    Kind::AnonTouched,
    Kind::AnonUntouched,
    Kind::AnonForked,
    Kind::Thp,
    Kind::Hugetlb,
    Kind::MemfdShared,
    Kind::Ext4Shared,
    Kind::Ext4Private,
    Kind::TmpfsPrivate,
    Kind::ReadOnly,
    Kind::ReadOnlyShared,
    Kind::ProtNone,
    Kind::Hole,
    Kind::Ksm,
    Kind::Swapped,
    Kind::UffdWp,
];

/// Kinds of the memory that is written to; plain memory is the other end of those
/// above.
const WRITTEN: [Kind; 10] = [
    Kind::AnonUntouched,
    Kind::AnonForked,
    Kind::Thp,
    Kind::Hugetlb,
    Kind::MemfdShared,
    Kind::Ext4Shared,
    Kind::Ext4Private,
    Kind::ReadOnly,
    Kind::ReadOnlyShared,
    Kind::Hole,
];

/// Both buffers in one mapping of a kind, with the bytes of a frame beyond whole
/// pages: without any the buffers share no page.
const TOGETHER: [(Ends, Kind, u32); 14] = [
    (Ends::Adjacent, Kind::AnonTouched, 0),
    (Ends::Adjacent, Kind::AnonTouched, 1000),
    (Ends::Adjacent, Kind::AnonUntouched, 1000),
    (Ends::Adjacent, Kind::MemfdShared, 1000),
    (Ends::Adjacent, Kind::Hugetlb, 1000),
    (Ends::Adjacent, Kind::Thp, 0),
    (Ends::Turned, Kind::AnonTouched, 1000),
    (Ends::Turned, Kind::MemfdShared, 1000),
    (Ends::InPlace, Kind::AnonTouched, 0),
    (Ends::InPlace, Kind::AnonUntouched, 0),
    (Ends::InPlace, Kind::MemfdShared, 0),
    (Ends::InPlace, Kind::ReadOnly, 0),
    (Ends::TwoFiles, Kind::AnonTouched, 0),
    (Ends::TwoFiles, Kind::MemfdShared, 1000),
];

/// Hazards to anonymous memory, with the ends and the points at which they come.
const HAZARDS: &[(Ends, Hazard, &[Point])] = &[
    (Ends::Read, Hazard::Munmap, Point::DMA),
    (Ends::Read, Hazard::MunmapMmap, BEFORE),
    (Ends::Read, Hazard::ForkParentWrites, Point::DMA),
    (Ends::Read, Hazard::ForkChildWrites, BEFORE),
    (Ends::Read, Hazard::MovePages, BEFORE),
    (Ends::Read, Hazard::NumaBalancing, BEFORE),
    (Ends::Read, Hazard::Streamoff, Point::DMA),
    (Ends::Read, Hazard::Suspend, Point::DMA),
    (Ends::Read, Hazard::Close, Point::DMA),
    (Ends::Read, Hazard::Sigkill, Point::DMA),
    (Ends::Written, Hazard::Munmap, Point::DMA),
    (Ends::Written, Hazard::MunmapMmap, BEFORE),
    (Ends::Written, Hazard::ForkParentWrites, BEFORE),
    (Ends::Written, Hazard::MovePages, BEFORE),
    (Ends::Written, Hazard::Streamoff, Point::DMA),
    (Ends::Written, Hazard::Suspend, BEFORE),
    (Ends::InPlace, Hazard::ForkParentWrites, BEFORE),
    (Ends::TwoFiles, Hazard::Streamoff, BEFORE),
    (Ends::TwoFiles, Hazard::Close, BEFORE),
];

const BEFORE: &[Point] = &[Point::BeforeDma];

/// Returns the cells, in the order in which they are run.
pub fn all() -> Vec<CellName> {
    [kinds(), together(), hazards()].concat()
}

/// Returns each kind at each end, and plain memory at the place that is hardest,
/// there by two of the kernel's memory models, too: it lies in pieces.
fn kinds() -> Vec<CellName> {
    let of = |ends, kind| CellName::plain(kind).of_m2m(ends);
    let read = READ.iter().map(|kind| of(Ends::Read, *kind));
    let written = WRITTEN.iter().map(|kind| of(Ends::Written, *kind));
    let (offset, tail) = PLACES[4];
    let pinnings = [Pinning::FrameVector, Pinning::Sg, Pinning::Vmalloc];
    let hard = pinnings.map(|pinning| CellName {
        offset,
        tail,
        pinning,
        ..of(Ends::Read, Kind::AnonTouched)
    });
    read.chain(written).chain(hard).collect()
}

fn together() -> Vec<CellName> {
    let cells = TOGETHER.iter().map(|(ends, kind, tail)| CellName {
        tail: *tail,
        ..CellName::plain(*kind).of_m2m(*ends)
    });
    cells.collect()
}

fn hazards() -> Vec<CellName> {
    let cells = HAZARDS.iter().flat_map(|(ends, hazard, points)| {
        points.iter().map(|point| CellName {
            hazard: *hazard,
            point: *point,
            ..CellName::plain(Kind::AnonTouched).of_m2m(*ends)
        })
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agent::cell::PAGE;

    #[test]
    fn there_are_cells_of_every_arrangement_and_both_points() {
        let cells = all();
        assert!((50..=70).contains(&cells.len()), "{}", cells.len());
        for ends in Ends::ALL {
            let of_it = |cell: &&CellName| **cell == cell.of_m2m(*ends);
            assert!(cells.iter().any(|cell| of_it(&cell)), "{ends}");
        }
        let points: BTreeSet<_> = cells.iter().map(|cell| cell.point).collect();
        assert_eq!(points.len(), 2);
        // Two buffers in one page, one of them behind the other.
        let share = |cell: &&CellName| !cell.tail.is_multiple_of(PAGE as u32);
        let shared = cells.iter().filter(share);
        let shared: BTreeSet<_> = shared.map(|cell| cell.flow).collect();
        assert!(shared.len() >= 3, "{shared:?}");
    }
}
