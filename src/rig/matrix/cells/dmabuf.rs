//! The cells whose memory is given as a dma-buf.

use super::PLACES;
use crate::agent::cell::{Ends, Flow, Given, Hazard, Kind, Point};
use crate::rig::matrix::name::CellName;

use Hazard::*;
use Kind::{
    DmabufOwn, DmabufSystemHeap, DmabufUdmabuf, DmabufUdmabufHuge, DmabufUdmabufMapped,
    DmabufUdmabufOffset, DmabufVivid,
};

/// Kinds whose frame ends inside a page, too: each has another behind it.
const ODD: [Kind; 3] = [DmabufUdmabuf, DmabufUdmabufOffset, DmabufSystemHeap];

/// Hazards of captures. Most that a process can do to its own mapping are no affair of
/// the dma-buf's; here are those that are about dma-bufs, those that end the process or
/// its stream, and what the kernel does to a memfd's pages, which were not allocated for
/// a device.
const CAPTURES: &[(Hazard, &[Kind])] = &[
    (DmabufClose, &[DmabufUdmabuf, DmabufSystemHeap]),
    (DmabufSync, &[DmabufUdmabuf]),
    (MemfdTruncate, &[DmabufUdmabuf]),
    (MemfdPunch, &[DmabufUdmabuf, DmabufUdmabufMapped]),
    (ExporterFree, &[DmabufVivid]),
    (ExporterClose, &[DmabufUdmabuf, DmabufVivid]),
    (ExporterUnbind, &[DmabufVivid]),
    (ExporterUnload, &[DmabufVivid]),
    (QueuedTwice, &[DmabufUdmabuf]),
    (Munmap, &[DmabufSystemHeap]),
    (ForkChildWrites, &[DmabufUdmabuf]),
    (Close, &[DmabufSystemHeap]),
    (Streamoff, &[DmabufUdmabuf]),
    (Suspend, &[DmabufUdmabuf]),
    (Sigkill, &[DmabufVivid]),
    (MadvisePageout, &[DmabufUdmabuf]),
    (MovePages, &[DmabufUdmabuf]),
];

/// Hazards of outputs, before the DMA: what comes after it is too late for the card.
const OUTPUTS: &[(Hazard, &[Kind])] = &[
    (DmabufClose, &[DmabufUdmabuf]),
    (DmabufSync, &[DmabufSystemHeap]),
    (MemfdTruncate, &[DmabufUdmabuf]),
    (MemfdPunch, &[DmabufUdmabuf]),
    (ExporterFree, &[DmabufVivid]),
    (ExporterClose, &[DmabufUdmabuf, DmabufVivid]),
    (ExporterUnbind, &[DmabufVivid]),
    (ExporterUnload, &[DmabufVivid]),
    (QueuedTwice, &[DmabufUdmabuf]),
    (ForkParentWrites, &[DmabufUdmabuf]),
];

/// What a mem-to-mem card reads or writes; the other end is plain memory, given by its
/// address. In place one dma-buf is imported twice.
const M2M: [(Ends, Kind); 4] = [
    (Ends::Read, DmabufUdmabuf),
    (Ends::Written, DmabufVivid),
    (Ends::InPlace, DmabufUdmabufHuge),
    (Ends::TwoFiles, DmabufOwn),
];

/// Returns the cells, in the order in which they are run.
pub fn all() -> Vec<CellName> {
    let mut cells = kinds(Flow::Capture, &ODD);
    cells.extend(hazards(CAPTURES, Point::DMA));
    cells.extend(kinds(Flow::Output, &ODD[..1]));
    let outputs = hazards(OUTPUTS, &[Point::BeforeDma]);
    cells.extend(outputs.map(CellName::of_output));
    cells.extend(M2M.map(|(ends, kind)| CellName::plain(kind).of_m2m(ends)));
    cells
}

/// Returns each kind with a frame of whole pages, and those of `odd` with another.
fn kinds(flow: Flow, odd: &[Kind]) -> Vec<CellName> {
    let (_, tail) = PLACES[4];
    let all = Kind::ALL.iter();
    let plain = all.filter(|kind| kind.given() == Given::Dmabuf);
    let plain = plain.map(|kind| (*kind, 0));
    let cells = plain.chain(odd.iter().map(|kind| (*kind, tail)));
    let cells = cells.map(|(kind, tail)| CellName {
        flow,
        tail,
        ..CellName::plain(kind)
    });
    cells.collect()
}

fn hazards(
    table: &'static [(Hazard, &[Kind])],
    points: &'static [Point],
) -> impl Iterator<Item = CellName> {
    let pairs = table
        .iter()
        .flat_map(|(hazard, kinds)| kinds.iter().map(|kind| (*hazard, *kind)));
    pairs.flat_map(move |(hazard, kind)| {
        points.iter().map(move |point| CellName {
            hazard,
            point: *point,
            ..CellName::plain(kind)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_not_too_many_and_all_can_be() {
        let cells = all();
        assert!((75..=95).contains(&cells.len()), "{}", cells.len());
        for cell in cells {
            assert_eq!(cell.check(), Ok(()), "{cell}");
        }
    }
}
