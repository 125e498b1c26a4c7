//! The cells of a device that is judged without a witness.

use crate::agent::cell::{Given, Hazard, Kind, Scope};
use crate::card::CardKind;
use crate::rig::matrix::name::CellName;

/// Returns the cells of the matrix that may be run in such a scope, in the order in
/// which they are run: those of captures, of outputs, and of mem-to-mem devices.
pub fn all(scope: Scope) -> Vec<CellName> {
    let mut cells: Vec<CellName> = Vec::new();
    for cell in super::all() {
        let cell = match cell.card() {
            CardKind::M2m => at_its_length(cell),
            CardKind::Capture | CardKind::Output => cell,
        };
        if unsuitable(&cell, scope).is_none() && !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}

/// Returns that cell with frames as long as the device makes them. Where two buffers shared
/// a page because the frame ended in it, they do so because it begins in one.
pub fn at_its_length(cell: CellName) -> CellName {
    let (inside, _) = super::PLACES[2];
    let offset = match (cell.tail, cell.card()) {
        (1.., CardKind::M2m) if cell.offset == 0 => inside,
        _ => cell.offset,
    };
    CellName {
        offset,
        tail: 0,
        ..cell
    }
}

/// Returns why a cell cannot be run on a device of any driver in such a scope, a part
/// of a sentence; `None` if it can.
pub fn unsuitable(cell: &CellName, scope: Scope) -> Option<&'static str> {
    let is_here = scope == Scope::Machine;
    match cell {
        CellName { tail: 1.., .. } => Some("the length of a frame is the device's to choose"),
        CellName {
            schedule: Some(_), ..
        } => Some("only Pinhole's card holds back its steps"),
        CellName {
            hazard: Hazard::FailNth,
            ..
        } => Some("it is for Pinhole's own driver"),
        CellName {
            hazard: Hazard::MmapContention,
            ..
        }
        | CellName {
            kind: Kind::CardMmap,
            ..
        } => Some("it is for Pinhole's own card"),
        CellName {
            hazard: Hazard::QueuedTwice,
            ..
        } => Some("the device's further buffers have memory of their own"),
        CellName {
            hazard: Hazard::Suspend,
            ..
        } => Some("whether a stream goes on when the system has slept is its driver's to choose"),
        CellName { .. } if cell.kind.given() == Given::Dmabuf => {
            Some("a device is judged by what it does with the process's own memory")
        }
        CellName { .. } if cell.pinning != CellName::plain(cell.kind).pinning => {
            Some("another driver pins in its own way only")
        }
        CellName { .. } if is_here && cell.hazard.is_to_the_machine() => {
            Some("it would harm a machine that is no guest of Pinhole's")
        }
        CellName { .. } if is_here && needs_setup(cell.kind) => {
            Some("a machine that is no guest of Pinhole's is not changed for it")
        }
        CellName { .. } => None,
    }
}

/// Returns whether a kind of memory has to be set up, by mounts, modules or settings of
/// the kernel.
fn needs_setup(kind: Kind) -> bool {
    kind.needs_file_system()
        || matches!(
            kind,
            Kind::HugetlbHvo
                | Kind::Hugetlb1g
                | Kind::Ksm
                | Kind::Swapped
                | Kind::ThpSwapped
                | Kind::MemfdSwapped
                | Kind::Mthp
                | Kind::TmpfsHuge
                | Kind::Hwpoison
                | Kind::Vb2Mmap
                | Kind::PciBar
                | Kind::Ivshmem
                | Kind::DevicePrivate
                | Kind::DeviceExclusive
                | Kind::DeviceDax
        )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::agent::cell::{Ends, Flow};

    #[test]
    fn every_kind_and_hazard_that_any_device_can_have_is_in_a_cell() {
        let cells = all(Scope::Guest);
        let names: BTreeSet<_> = cells.iter().collect();
        assert_eq!(names.len(), cells.len());
        for card in [CardKind::Capture, CardKind::Output] {
            let of_it = cells.iter().filter(|cell| cell.card() == card);
            let of_it: Vec<_> = of_it.collect();
            for kind in Kind::ALL {
                let offsets = of_it.iter().filter(|cell| cell.kind == *kind);
                let offsets: BTreeSet<_> = offsets.map(|cell| cell.offset).collect();
                let is_known = *kind != Kind::CardMmap && kind.given() == Given::UserPointer;
                assert_eq!(offsets.is_empty(), !is_known, "{kind}");
            }
            for hazard in Hazard::ALL {
                let points = of_it.iter().filter(|cell| cell.hazard == *hazard);
                let points: BTreeSet<_> = points.map(|cell| cell.point).collect();
                let expected = match hazard {
                    Hazard::None => 1,
                    Hazard::FailNth
                    | Hazard::MmapContention
                    | Hazard::QueuedTwice
                    | Hazard::Suspend => 0,
                    hazard if !hazard.suits(Kind::AnonTouched) => 0,
                    hazard => hazard.points().len(),
                };
                assert_eq!(points.len(), expected, "{hazard}");
            }
        }
        assert!(
            cells
                .iter()
                .any(|cell| cell.to_string() == "anon-touched@1234")
        );
    }

    #[test]
    fn two_buffers_of_a_mem_to_mem_device_share_a_page() {
        let cells = all(Scope::Guest);
        for ends in Ends::ALL {
            let of_it = cells.iter().filter(|cell| cell.flow == Flow::M2m(*ends));
            assert!(of_it.count() > 0, "{ends}");
        }
        for ends in [Ends::Adjacent, Ends::Turned] {
            let shares = CellName {
                offset: 1234,
                ..CellName::plain(Kind::AnonTouched).of_m2m(ends)
            };
            assert!(cells.contains(&shares), "{shares}");
            assert!(all(Scope::Machine).contains(&shares));
        }
        let of = |name: &str| at_its_length(name.parse().unwrap()).to_string();
        assert_eq!(of("m2m/adjacent/heap+1000"), "m2m/adjacent/heap@1234");
        assert_eq!(of("m2m/read/heap@2055+2056"), "m2m/read/heap@2055");
        assert_eq!(of("heap+1000"), "heap");
    }

    #[test]
    fn a_machine_in_use_is_neither_harmed_nor_changed() {
        let guest: BTreeSet<_> = all(Scope::Guest).into_iter().collect();
        let machine: BTreeSet<_> = all(Scope::Machine).into_iter().collect();
        assert!(machine.is_subset(&guest));
        let is_there = |name: &str| machine.contains(&name.parse().unwrap());
        for name in [
            "heap",
            "thp@64",
            "anon-touched/munmap",
            "output/anon-touched/exit:after-dma",
        ] {
            assert!(is_there(name), "{name}");
        }
        for name in [
            "swapped",
            "ext4-shared@64",
            "heap/memory-offline",
            "output/heap/drop-caches",
            "heap/memory-pressure:after-dma",
            "device-private",
            "hugetlb-hvo",
            "heap/device-takes",
        ] {
            assert!(!is_there(name), "{name}");
        }
    }

    #[test]
    fn a_cell_for_pinholes_card_alone_is_told_from_others() {
        let why = |name: &str| unsuitable(&name.parse().unwrap(), Scope::Guest);
        for name in [
            "heap+16",
            "heap/sg",
            "card-mmap",
            "m2m/adjacent/heap+1000",
            "heap/mmap-contention",
            "heap/fail-nth:qbuf",
            "heap/suspend",
        ] {
            assert!(why(name).is_some(), "{name}");
        }
        assert_eq!(why("heap/compaction"), None);
        assert_eq!(why("heap/munmap:during-pin"), None);
        let harmful = "heap/compaction".parse().unwrap();
        assert!(unsuitable(&harmful, Scope::Machine).is_some());
    }
}
