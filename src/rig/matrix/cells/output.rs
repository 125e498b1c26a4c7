//! The cells of an output, whose card reads the memory.

use super::{FAILING, PLACES, STEADY};
use crate::agent::cell::{Hazard, Kind, Point};
use crate::rig::matrix::name::{CellName, Pinning};

/// Kinds that the kernel's memory models pin, too: what vb2_create_framevec() meets in
/// other ways when it pins for reading, once by vb2_dma_sg, and of these by the other two
/// what tells their errors, and what they mark or synchronise. One piece is for
/// vb2_dma_contig.
const COMPARED: [(Pinning, &[Kind]); 3] = [
    (Pinning::Sg, &BY_SG),
    (
        Pinning::Contig,
        &[
            Kind::ThpPart,
            Kind::ThpPartlyShared,
            Kind::HugeZeroPage,
            Kind::Hugetlb,
            Kind::ReadOnly,
            Kind::PciBar,
            Kind::DeviceDax,
        ],
    ),
    (
        Pinning::Vmalloc,
        &[
            Kind::AnonTouched,
            Kind::AnonUntouched,
            Kind::Ext4Shared,
            Kind::ReadOnlyShared,
            Kind::ProtNone,
            Kind::PciBar,
            Kind::FsDax,
        ],
    ),
];

const BY_SG: [Kind; 15] = [
    Kind::AnonTouched,
    Kind::AnonUntouched,
    Kind::AnonForked,
    Kind::MemfdShared,
    Kind::MemfdSealed,
    Kind::IoUringRing,
    Kind::TmpfsPrivate,
    Kind::Ext4Shared,
    Kind::ReadOnly,
    Kind::ReadOnlyShared,
    Kind::ProtNone,
    Kind::Ksm,
    Kind::UffdMissing,
    Kind::UffdWp,
    Kind::FsDax,
];

/// Hazards of kinds besides those with which each hazard is tried: who writes
/// after a fork when the page that was pinned is not the process's alone, and
/// what the kernel does to pages that it could have back, or that it keeps
/// otherwise.
const PARTICULAR: &[(Kind, &[Hazard])] = &[
    (Kind::AnonForked, FORKS),
    (Kind::AnonUntouched, FORKS),
    (Kind::Ksm, FORKS),
    (Kind::TmpfsPrivate, FORKS),
    (Kind::Ext4Private, FORKS),
    (Kind::Hugetlb, FORKS),
    (Kind::Thp, FORKS),
    (Kind::ThpPartlyShared, FORKS),
    (Kind::HugeZeroPage, FORKS),
    (Kind::TmpfsHuge, FORKS),
    (
        Kind::Ext4Shared,
        &[
            Hazard::ForkChildWrites,
            Hazard::MadvisePageout,
            Hazard::DropCaches,
            Hazard::Writeback,
            Hazard::MemoryPressure,
        ],
    ),
    (Kind::XfsShared, &[Hazard::Writeback, Hazard::MadviseRemove]),
    (Kind::BtrfsShared, &[Hazard::Writeback, Hazard::DropCaches]),
    (Kind::OverlayfsShared, &[Hazard::Writeback]),
    (
        Kind::VirtiofsShared,
        &[Hazard::Writeback, Hazard::MadviseRemove],
    ),
    (
        Kind::ReadOnlyShared,
        &[Hazard::MadvisePageout, Hazard::DropCaches],
    ),
    (Kind::Ext4Private, &[Hazard::DropCaches]),
    (
        Kind::Swapped,
        &[Hazard::MadvisePageout, Hazard::MemoryPressure],
    ),
    (Kind::Mlocked, &[Hazard::MadviseDontneed]),
];

/// The hazards in which a process writes after a fork.
const FORKS: &[Hazard] = &[Hazard::ForkParentWrites, Hazard::ForkChildWrites];

/// Returns the cells, in the order in which they are run.
pub fn all() -> Vec<CellName> {
    let cells = [kinds(), hazards(), failing()].concat();
    cells.into_iter().map(CellName::of_output).collect()
}

/// Returns each kind at the start of a page and at the place that is hardest, and
/// there by the kernel's memory models, too.
fn kinds() -> Vec<CellName> {
    let [easy, .., hard] = PLACES;
    let at = |kind: &Kind, (offset, tail), pinning| CellName {
        offset,
        tail,
        pinning,
        ..CellName::plain(*kind)
    };
    let own = Kind::ALL.iter().flat_map(|kind| {
        let places = [easy, hard].into_iter();
        places.map(move |place| at(kind, place, Pinning::FrameVector))
    });
    let compared = COMPARED.iter().flat_map(|(model, kinds)| {
        let kinds = kinds.iter();
        kinds.map(move |kind| at(kind, hard, *model))
    });
    own.chain(compared).collect()
}

/// Returns each hazard with two kinds, and those with other kinds.
fn hazards() -> Vec<CellName> {
    let all = Hazard::ALL.iter().filter(|hazard| hazard.is_on_memory());
    let steady = all.flat_map(|hazard| STEADY.map(|kind| (kind, *hazard)));
    let particular = PARTICULAR
        .iter()
        .flat_map(|(kind, hazards)| hazards.iter().map(|hazard| (*kind, *hazard)));
    let cells = steady.chain(particular).flat_map(|(kind, hazard)| {
        hazard.points().iter().map(move |point| CellName {
            hazard,
            point: *point,
            ..CellName::plain(kind)
        })
    });
    cells.collect()
}

/// Returns the cells in which the call that pins has allocations that fail.
fn failing() -> Vec<CellName> {
    let cell = |kind, pinning| CellName {
        hazard: Hazard::FailNth,
        point: Point::Qbuf,
        pinning,
        ..CellName::plain(kind)
    };
    let own = FAILING.map(|kind| cell(kind, Pinning::FrameVector));
    let compared = [cell(Kind::AnonTouched, Pinning::Sg)];
    own.into_iter().chain(compared).collect()
}
