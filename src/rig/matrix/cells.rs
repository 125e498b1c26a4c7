//! The list of all cells.

mod dmabuf;
pub mod judged;
mod m2m;
mod output;
mod scheduled;

use super::name::{CellName, Pinning};
use crate::agent::cell::{Given, Hazard, Kind, Point};

/// Offsets of the buffer in its first page, and lengths of its frame beyond
/// whole pages: the start of a page, a cache line into it, an address to which
/// no structure is aligned, and lengths that end inside a page.
const PLACES: [(u32, u32); 5] = [(0, 0), (64, 0), (1234, 0), (0, 1000), (2055, 2056)];

/// Kinds with which every hazard is tried, pinned by the driver.
const STEADY: [Kind; 2] = [Kind::AnonTouched, Kind::MemfdShared];

/// With which of them a memory model of the kernel's is tried: the two take turns, as
/// they differ in what they do before and after the pin, and not in what a hazard can
/// do to it.
const STEADY_OF: [(Pinning, Kind); 2] = [
    (Pinning::Sg, Kind::AnonTouched),
    (Pinning::Vmalloc, Kind::MemfdShared),
];

/// Further kinds with which every hazard is tried, pinned by the driver: the
/// kernel forks, moves, reclaims and unmaps each in its own way, or replaces it
/// when it is pinned.
const STEADY_TOO: [Kind; 7] = [
    Kind::Thp,
    Kind::Hugetlb,
    Kind::Heap,
    Kind::TmpfsPrivate,
    Kind::Ext4Private,
    Kind::Mlocked,
    Kind::Swapped,
];

/// Hazards that are tried, besides [`STEADY`], with these kinds in the place of
/// [`STEADY_TOO`], and pinned by the driver alone: the kernel does not get at the
/// memory of the others in another way.
const INSTEAD: &[(Hazard, &[Kind])] = &[
    (Hazard::MapFixed, &[Kind::Hugetlb, Kind::ThpPart]),
    (Hazard::MremapDontunmap, &[Kind::Thp, Kind::Mlocked]),
    (Hazard::MprotectNone, &[Kind::ThpPart]),
    (Hazard::Munlock, &[Kind::Mlocked, Kind::ThpPteMapped]),
    (
        Hazard::MadviseRemove,
        &[Kind::TmpfsHuge, Kind::Ext4Shared, Kind::XfsShared],
    ),
    (
        Hazard::MadviseFree,
        &[Kind::ThpPart, Kind::Swapped, Kind::Droppable],
    ),
    (
        Hazard::DamonPageout,
        &[Kind::ThpPart, Kind::Swapped, Kind::Ext4Private],
    ),
    (Hazard::Swapoff, &[Kind::Swapped, Kind::ThpSwapped]),
    (
        Hazard::ThpSplit,
        &[Kind::Thp, Kind::ThpPart, Kind::ThpPartlyShared, Kind::Mthp],
    ),
    (Hazard::DeviceTakes, &[Kind::ThpPart, Kind::Swapped]),
    (
        Hazard::NumaBalancing,
        &[
            Kind::ThpPart,
            Kind::Hugetlb,
            Kind::TmpfsHuge,
            Kind::Ext4Private,
        ],
    ),
    (Hazard::UffdioMove, &[Kind::AnonForked, Kind::Swapped]),
    (Hazard::SoftOffline, &[Kind::ThpPart, Kind::Hugetlb]),
    (Hazard::ODirect, &[Kind::ThpPart, Kind::AnonForked]),
    (Hazard::IoUring, &[Kind::Hugetlb, Kind::ThpPteMapped]),
    (Hazard::Vmsplice, &[Kind::Hugetlb, Kind::ThpPart]),
    (Hazard::ProcessVmWritev, &[Kind::AnonForked]),
    (Hazard::ProcMem, &[Kind::AnonForked]),
    (Hazard::Signal, &[]),
    (Hazard::Execve, &[Kind::Hugetlb, Kind::ThpPart]),
    (Hazard::Suspend, &[Kind::Hugetlb, Kind::ThpPart]),
    (Hazard::QueuedTwice, &[]),
];

/// Kinds that vb2_dma_contig is tried with: those that are one piece of memory, those
/// that are a few, or can be by chance, and one for each reason of a refusal. It pins
/// the others as vb2_vmalloc does, and then refuses them.
const CONTIGUOUS: [Kind; 34] = [
    Kind::AnonTouched,
    Kind::AnonUntouched,
    Kind::AnonForked,
    Kind::Thp,
    Kind::ThpPart,
    Kind::ThpPteMapped,
    Kind::ThpPartlyMapped,
    Kind::ThpMremapped,
    Kind::ThpPartlyShared,
    Kind::ThpSwapped,
    Kind::Mthp,
    Kind::HugeZeroPage,
    Kind::Hugetlb,
    Kind::Hugetlb1g,
    Kind::MemfdShared,
    Kind::MemfdHugetlb,
    Kind::TmpfsHuge,
    Kind::Ext4Shared,
    Kind::ReadOnly,
    Kind::ProtNone,
    Kind::Hole,
    Kind::Ksm,
    Kind::Secretmem,
    Kind::Vb2Mmap,
    Kind::Udmabuf,
    Kind::DmaHeap,
    Kind::IoUringRing,
    Kind::PacketRing,
    Kind::PciBar,
    Kind::Ivshmem,
    Kind::CardMmap,
    Kind::DeviceDax,
    Kind::FsDax,
    Kind::WrappingLength,
];

/// Hazards to one piece of memory that vb2_dma_contig has: what splits or moves a huge
/// page, takes it away, or ends the stream.
const TO_ONE_PIECE: [Hazard; 7] = [
    Hazard::ThpSplit,
    Hazard::MovePages,
    Hazard::Munmap,
    Hazard::MadviseDontneed,
    Hazard::ForkParentWrites,
    Hazard::Streamoff,
    Hazard::Sigkill,
];

/// Kinds for which some hazards mean something that they mean for no other kind.
const PARTICULAR: &[(Kind, &[Hazard])] = &[
    (
        Kind::ThpPteMapped,
        &[Hazard::ForkParentWrites, Hazard::MovePages],
    ),
    (
        Kind::ThpPartlyMapped,
        &[Hazard::MadvisePageout, Hazard::MemoryPressure],
    ),
    (
        Kind::ThpPartlyShared,
        &[Hazard::ForkParentWrites, Hazard::ForkChildWrites],
    ),
    // A page that was written back is written to once more: xfs has it in a large folio,
    // and btrfs, which has checksums, was not asked for the room.
    (Kind::XfsShared, &[Hazard::Writeback]),
    (Kind::BtrfsShared, &[Hazard::Writeback, Hazard::DropCaches]),
    // Before 6.16 FUSE copies a page to write it back.
    (Kind::VirtiofsShared, &[Hazard::Writeback]),
    (Kind::HugetlbHvo, &[Hazard::ForkParentWrites]),
    (
        Kind::Droppable,
        &[
            Hazard::ForkChildWrites,
            Hazard::MadvisePageout,
            Hazard::MemoryPressure,
        ],
    ),
];

/// Kinds for which user pointers are queued while allocations fail. Pinning
/// allocates their pages, reads them from swap or a file, or breaks
/// copy-on-write, each in its own way.
const FAILING: [Kind; 6] = [
    Kind::AnonTouched,
    Kind::AnonUntouched,
    Kind::Hugetlb,
    Kind::MemfdShared,
    Kind::Ext4Private,
    Kind::Swapped,
];

/// Returns all cells, in the order in which they are run.
pub fn all() -> Vec<CellName> {
    let pinned = [captures(), output::all(), m2m::all(), scheduled::all()].concat();
    let pinned = pinned.into_iter();
    let pinned =
        pinned.filter(|cell| cell.kind.given() == Given::UserPointer && cell.check().is_ok());
    pinned.chain(dmabuf::all()).collect()
}

/// Returns the cells of captures.
fn captures() -> Vec<CellName> {
    let mut cells = Vec::new();
    let hazards = || Hazard::ALL.iter().filter(|hazard| hazard.is_on_memory());
    for kind in Kind::ALL {
        cells.extend(PLACES.map(|place| placed(*kind, place, Pinning::FrameVector)));
    }
    for hazard in hazards() {
        let instead = INSTEAD.iter().find(|(other, _)| other == hazard);
        let too = instead.map_or(&STEADY_TOO[..], |(_, kinds)| *kinds);
        for kind in STEADY.iter().chain(too) {
            cells.extend(at_each_point(*kind, *hazard, Pinning::FrameVector));
        }
    }
    for (kind, hazards) in PARTICULAR {
        let cells_of = |hazard: &Hazard| at_each_point(*kind, *hazard, Pinning::FrameVector);
        cells.extend(hazards.iter().flat_map(cells_of));
    }
    // The kernel's memory models are run for comparison.
    cells.extend(compared());
    for hazard in hazards().filter(|hazard| INSTEAD.iter().all(|(other, _)| other != *hazard)) {
        let cells_of = |(model, kind)| at_each_point(kind, *hazard, model);
        cells.extend(STEADY_OF.into_iter().flat_map(cells_of));
    }
    let cells_of = |hazard| at_each_point(Kind::ThpPart, hazard, Pinning::Contig);
    cells.extend(TO_ONE_PIECE.into_iter().flat_map(cells_of));
    cells.extend(failing());
    cells
}

/// Returns each kind once by each of the kernel's memory models, with the offset and
/// length that are hardest; by vb2_dma_contig at the start of a page, where a buffer can
/// be one huge page or large folio.
fn compared() -> Vec<CellName> {
    let [easy, .., hard] = PLACES;
    let scattered = [Pinning::Sg, Pinning::Vmalloc].into_iter();
    let scattered = scattered.flat_map(|model| Kind::ALL.iter().map(move |kind| (*kind, model)));
    let mut cells: Vec<_> = scattered
        .map(|(kind, model)| placed(kind, hard, model))
        .collect();
    cells.extend(CONTIGUOUS.map(|kind| placed(kind, easy, Pinning::Contig)));
    cells.push(placed(Kind::ThpPart, hard, Pinning::Contig));
    cells
}

fn placed(kind: Kind, (offset, tail): (u32, u32), pinning: Pinning) -> CellName {
    CellName {
        offset,
        tail,
        pinning,
        ..CellName::plain(kind)
    }
}

/// Returns the cells of a hazard to a kind, one for each of the hazard's points.
fn at_each_point(kind: Kind, hazard: Hazard, pinning: Pinning) -> impl Iterator<Item = CellName> {
    hazard.points().iter().map(move |point| CellName {
        hazard,
        point: *point,
        pinning,
        ..CellName::plain(kind)
    })
}

/// Returns the cells with injected failures: each call once, and the call that
/// pins with every kind that makes a difference, and by the kernel's memory models.
fn failing() -> Vec<CellName> {
    let cell = |kind, point, pinning| CellName {
        hazard: Hazard::FailNth,
        point,
        pinning,
        ..CellName::plain(kind)
    };
    let own = Pinning::FrameVector;
    let calls = Point::CALLS.iter();
    let mut cells: Vec<_> = calls
        .filter(|point| **point != Point::Qbuf)
        .map(|point| cell(Kind::AnonTouched, *point, own))
        .collect();
    cells.extend(FAILING.map(|kind| cell(kind, Point::Qbuf, own)));
    let compared = [
        (Kind::AnonTouched, Pinning::Sg),
        (Kind::MemfdShared, Pinning::Sg),
        (Kind::ThpPart, Pinning::Contig),
        (Kind::AnonTouched, Pinning::Vmalloc),
    ];
    cells.extend(compared.map(|(kind, model)| cell(kind, Point::Qbuf, model)));
    cells
}

/// Returns shard `k` of `n` (1 to n) of cells or mutants: every nth, so that
/// the shards take about the same time.
pub fn shard<T>(all: Vec<T>, k: usize, n: usize) -> Vec<T> {
    all.into_iter().skip(k - 1).step_by(n).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agent::cell::Flow;

    #[test]
    fn every_cell_has_a_name_of_its_own_that_reads_back() {
        let cells = all();
        let names: BTreeSet<_> = cells.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), cells.len());
        for cell in &cells {
            assert_eq!(cell.to_string().parse(), Ok(*cell));
        }
        for kind in Kind::ALL {
            assert!(cells.contains(&CellName::plain(*kind)), "{kind}");
        }
        for flow in [Flow::Capture, Flow::Output] {
            for hazard in Hazard::ALL {
                let is_it = |cell: &&CellName| (cell.flow, cell.hazard) == (flow, *hazard);
                assert!(cells.iter().any(|cell| is_it(&cell)), "{flow:?} {hazard}");
            }
            for kind in Kind::ALL {
                let is_it = |cell: &&CellName| (cell.flow, cell.kind) == (flow, *kind);
                assert!(cells.iter().any(|cell| is_it(&cell)), "{flow:?} {kind}");
            }
        }
        let outputs = cells.iter();
        let outputs = outputs.filter(|cell| cell.flow == Flow::Output && cell.schedule.is_none());
        let outputs = outputs.count();
        assert!((300..=500).contains(&outputs), "{outputs}");
    }

    #[test]
    fn shards_part_the_cells() {
        let cells = all();
        let shards: Vec<_> = (1..=3).map(|k| shard(cells.clone(), k, 3)).collect();
        let together: BTreeSet<_> = shards.iter().flatten().collect();
        assert_eq!(together.len(), cells.len());
        assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), cells.len());
        let lengths: BTreeSet<_> = shards.iter().map(Vec::len).collect();
        assert!(lengths.last().unwrap() - lengths.first().unwrap() <= 1);
    }
}
